"""A folder with a damaged file, or one that asks for terabytes, is refused in one sentence that names the file."""

import errno
import json
import os
import resource
import signal
from pathlib import Path

import pytest
from helpers import tiny

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.files_distilwhisper import explained_write

load = DistilWhisperForConditionalGeneration.from_pretrained
DAMAGE = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-40],
    "binary": lambda content: b"\xff\xfe" * 99,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "model.safetensors", "expert.gl.safetensors"]
)
def test_a_damaged_file_is_named_in_one_sentence(saved, name, damage):
    (saved / name).write_bytes(DAMAGE[damage]((saved / name).read_bytes()))
    with pytest.raises((ValueError, OSError), match=r"(?s)saved.*(Fetch|save it) .*again") as caught:
        load(saved)
    assert type(caught.value) in (ValueError, OSError) and str(saved) in str(caught.value)
    if not name.startswith("expert."):
        with pytest.raises((ValueError, OSError), match=r"damaged"):
            load(saved, languages=[])


@pytest.mark.parametrize("content", ["[]", "3", '"gl"', "null", "[" * 100_000])
def test_a_config_of_another_form_is_refused(saved, content):
    (saved / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config.json (is damaged|holds a)"):
        load(saved)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *((name, 10**9) for name in ("d_model", "vocab_size", "encoder_layers", "decoder_ffn_dim", "num_mel_bins")),
        *(("max_source_positions", value) for value in (10**12, 0, -1)),
        ("d_model", "32"),
        ("encoder_attention_heads", 0),
        ("decoder_layers", 10**15),
        ("decoder_layers", None),
        ("languages", {"gl": 1}),
        ("gate_budgets", [1]),
        ("gate_dim", "wide"),
    ],
)
def test_a_config_that_asks_for_more_than_the_files_hold_is_refused_before_it_takes_memory(
    saved, whisper_dir, setting, value
):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {setting: value}))
    with pytest.raises(ValueError, match=r"config.json asks for|has a wrong setting|says languages|must be") as caught:
        load(saved)
    assert type(caught.value) is ValueError


def test_a_plain_whisper_and_a_backbone_elsewhere_are_measured_too(model, whisper_dir, processor, tmp_path):
    tiny.make_whisper(processor).save_pretrained(tmp_path / "whisper")
    path = tmp_path / "whisper/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder_layers": 10**9}))
    with pytest.raises(ValueError, match=r"config.json asks for a model of [\d,]+ weights"):
        DistilWhisperForConditionalGeneration.from_whisper(tmp_path / "whisper", languages=["gl"])
    model.save_pretrained(tmp_path / "experts", save_backbone=False)
    path = tmp_path / "experts/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder_layers": 10**9}))
    with pytest.raises(ValueError, match=r"config.json asks for a model of [\d,]+ weights"):
        load(tmp_path / "experts")


def test_the_largest_known_whisper_has_room_in_its_own_file():
    from transformers import WhisperConfig

    from modeling_distilwhisper.repository_distilwhisper import check_size

    sizes = {"vocab_size": 51866, "d_model": 1280, "num_mel_bins": 128, "encoder_layers": 32, "decoder_layers": 32}
    large = WhisperConfig(**sizes, encoder_ffn_dim=5120, decoder_ffn_dim=5120)
    check_size("config.json", large, 3_087_130_976)  # whisper-large-v3 in half precision


# What cannot be written


@pytest.fixture
def full_disk():
    """Files may not be longer than this: what a disk with no more space answers is the same kind of error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [100, 10_000, 100_000])
def test_a_full_disk_leaves_the_old_model_and_says_so(saved, model, full_disk, size):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    tiny.unsettle(model, seed=3)
    full_disk(size)
    with pytest.raises(OSError, match=r"saved could not be written: .*MB are free there.*Free some space"):
        model.save_pretrained(saved)
    full_disk(resource.RLIM_INFINITY)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_folder_below_a_file_or_in_place_of_one_is_refused_in_a_sentence(model, tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        for save in (model.save_pretrained, model.save_experts):
            with pytest.raises(OSError, match=r"file.* could not be written: a file is where a folder is expected"):
                save(folder)
    (tmp_path / "target/config.json").mkdir(parents=True)
    with pytest.raises(OSError, match=r"target.* could not be written: a file is where .*or a folder where a file is"):
        model.save_pretrained(tmp_path / "target")
    with pytest.raises(OSError, match=r"could not be written"):
        model.save_pretrained(tmp_path / ("n" * 300))
    with pytest.raises(OSError, match=r"could not be written"):
        model.save_pretrained(Path("/proc/nowhere"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_folder_that_one_may_not_write_to_is_named(tmp_path, number):
    sentence = r"model could not be written: .*Name a folder that you may write to"
    with pytest.raises(OSError, match=sentence), explained_write(tmp_path / "model"):
        raise OSError(number, os.strerror(number), str(tmp_path / "model/config.json"))
    with pytest.raises(OSError, match="elsewhere"), explained_write(tmp_path / "model"):
        raise OSError(number, os.strerror(number), "/elsewhere/data")
