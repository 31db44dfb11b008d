"""Pickles of others whose tensors claim more than the file holds take no memory."""

import json
import zipfile

import pytest
import torch
from helpers import authors

from modeling_distilwhisper.export.authors import convert_checkpoint
from modeling_distilwhisper.export.tensor_files import read_tensors

SHAPE = (10**6, 10**7)  # terabytes
HOSTILE = {
    "expanded": lambda: torch.ones(1).expand(SHAPE),
    "overlapping": lambda: torch.ones(20).as_strided((10, 10), (1, 1)),
    "without data": lambda: torch.empty(SHAPE, device="meta"),
    "sparse": lambda: torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), torch.ones(1), SHAPE),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(4), 1.0, 0, torch.qint8),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "too large for half precision": lambda: torch.full((3,), 3e38),
}


@pytest.fixture
def theirs(whisper, tmp_path):
    authors.write_checkpoint(tmp_path / "theirs", whisper)
    return tmp_path / "theirs"


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_tensor_that_does_not_hold_what_it_claims_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "expert.catalan.bin"
    torch.save({"gate_in": HOSTILE[kind]()}, path)
    with pytest.raises(ValueError, match=r"expert.catalan.bin(: gate_in| is damaged)"):
        read_tensors(path)


def test_a_compressed_archive_is_not_unfolded(tmp_path):
    torch.save({"a": torch.zeros(2_000_000)}, tmp_path / "plain.bin")
    with zipfile.ZipFile(tmp_path / "plain.bin") as plain, zipfile.ZipFile(tmp_path / "bomb.bin", "w") as bomb:
        for part in plain.infolist():
            bomb.writestr(part.filename, plain.read(part), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.bin").stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"bomb.bin is damaged .*compressed"):
        read_tensors(tmp_path / "bomb.bin")


def test_a_storage_that_claims_more_than_its_record_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1000)}, tmp_path / "plain.bin")
    with zipfile.ZipFile(tmp_path / "plain.bin") as plain, zipfile.ZipFile(tmp_path / "cut.bin", "w") as cut:
        for part in plain.infolist():
            content = plain.read(part)
            cut.writestr(part.filename, content[:8] if "/data/" in part.filename else content)
    with pytest.raises(ValueError, match=r"cut.bin"):
        read_tensors(tmp_path / "cut.bin")


@pytest.mark.parametrize(
    ("setting", "value"), [("clsr_gate_dim", 10**12), ("clsr_gate_dim", 7), ("clsr_gate_dim", "6"), ("d_model", 10**9)]
)
def test_a_size_in_their_config_is_not_believed(theirs, whisper_dir, setting, value):
    config = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps(config | {setting: value}))
    with pytest.raises(ValueError, match=r"`gate_dim` must be|asks for|wrong setting|not the Whisper that") as caught:
        convert_checkpoint(theirs, str(whisper_dir))
    assert type(caught.value) is ValueError
