"""Rows whose audio is samples already, as a program or `datasets` gives them, make the batch that their files make."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import speech

from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.data.samples import samples_of_row


@pytest.fixture
def rows(tmp_path):
    return read_folder(speech.write_folder(tmp_path / "data", "gl"), "test")


FORMS = {
    "samples": lambda audio: read_audio(audio),
    "a list": lambda audio: read_audio(audio).tolist(),
    "a tensor": lambda audio: torch.from_numpy(read_audio(audio)),
    "decoded by datasets": lambda audio: {"array": read_audio(audio), "sampling_rate": 16_000, "path": None},
    "bytes and path": lambda audio: audio,
    "the bytes of a file": lambda audio: Path(audio["path"]).read_bytes(),
    "a view of these bytes": lambda audio: memoryview(Path(audio["path"]).read_bytes()),
    "a path": lambda audio: audio["path"],
}


@pytest.mark.parametrize("form", FORMS)
def test_the_batch_is_that_of_the_files(rows, processor, form):
    collate = SpeechCollator(processor)
    expected = collate(list(rows))
    batch = collate([{**row, "audio": FORMS[form](row["audio"])} for row in rows])
    assert batch.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(batch[name], tensor, msg=name)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ({"array": np.zeros(8000, np.float32), "sampling_rate": 8000}, "at 8000 Hz, expected 16000. Resample"),
        ({"array": np.zeros(8000, np.float32)}, "at None Hz, expected 16000"),
        (np.zeros((2, 8000), np.float32), r"has the shape \(2, 8000\).*mean of the channels"),
        (np.full(8000, np.nan, np.float32), "The audio of a row cannot be used"),
        (7, "int is no audio"),
    ],
)
def test_what_is_no_audio_at_16_khz_is_refused(audio, message):
    with pytest.raises(ValueError, match=message):
        samples_of_row(audio)
