"""A saved folder works in a process that cannot import the package, by the copy of the code in it."""

import json

import pytest
import torch
from helpers import tiny
from helpers.remote import run_without_the_package
from helpers.speech import make_pipeline

SCRIPT = """
import json

import torch
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline

folder, audio = sys.argv[1], torch.load(sys.argv[2])
torch.set_num_threads(1)
model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, languages=["gl"], trust_remote_code=True)
assert model.config.languages == ["gl"], model.config.languages
tokens = model.generate(audio["input_features"], language=["gl", "fr"], task="transcribe", max_new_tokens=12)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
speech = pipeline("automatic-speech-recognition", model=folder, trust_remote_code=True)
text = speech(audio["samples"].numpy(), generate_kwargs={"language": "gl", "max_new_tokens": 12})["text"]
model.save_pretrained(sys.argv[3])
again = AutoModelForSpeechSeq2Seq.from_pretrained(sys.argv[3], trust_remote_code=True)
same = torch.equal(
    again.generate(audio["input_features"], language=["gl", "fr"], task="transcribe", max_new_tokens=12), tokens
)
print(json.dumps({"tokens": tokens.tolist(), "text": text, "class": type(model).__name__, "resaved": same}))
"""


@pytest.mark.parametrize("save_backbone", [True, False])
@pytest.mark.slow
def test_a_folder_transcribes_without_the_package_as_before_saving(model, processor, tmp_path, save_backbone):
    batch = tiny.make_audio(processor, [2.0, 1.0])
    samples = torch.randn(16_000, generator=torch.Generator().manual_seed(3))
    speech = make_pipeline(model, processor)
    expected = {
        "tokens": model.generate(
            batch["input_features"], language=["gl", "fr"], task="transcribe", max_new_tokens=12
        ).tolist(),
        "text": speech(samples.numpy(), generate_kwargs={"language": "gl", "max_new_tokens": 12})["text"],
    }
    model.save_pretrained(tmp_path / "saved", save_backbone=save_backbone)
    processor.save_pretrained(tmp_path / "saved")
    torch.save({"input_features": batch["input_features"], "samples": samples}, tmp_path / "audio.pt")
    printed = run_without_the_package(SCRIPT, tmp_path, tmp_path / "saved", tmp_path / "audio.pt", tmp_path / "resaved")
    results = json.loads(printed[-1])
    assert results.pop("class") == "DistilWhisperForConditionalGeneration"
    assert results.pop("resaved"), "loaded, saved and loaded again, it transcribes otherwise"
    assert results == expected


@pytest.mark.slow
def test_a_transformers_too_old_for_the_code_in_a_folder_is_told_in_a_sentence(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    script = """
import transformers
transformers.__version__ = "4.57.1"
try:
    transformers.AutoModelForSpeechSeq2Seq.from_pretrained(sys.argv[1], trust_remote_code=True)
except ImportError as error:
    print(error)
"""
    printed = run_without_the_package(script, tmp_path, tmp_path / "saved")
    assert printed[-1].startswith(
        "DistilWhisper needs transformers 5.4 or newer, found 4.57.1. Install it: pip install"
    )
