"""A saved folder works in a process that cannot import the package: its own copy of the code is all there is."""

import json
import subprocess
import sys

import pytest
import tiny
import torch

SCRIPT = """
import json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "modeling_distilwhisper":
            raise ImportError("the package is not there")

sys.meta_path.insert(0, Blocker())
try:
    import modeling_distilwhisper
    sys.exit("the package can be imported: this would test nothing")
except ImportError:
    pass

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
def test_a_folder_transcribes_without_the_package_as_before_saving(model, processor, tmp_path, save_backbone):
    from transformers import pipeline

    batch = tiny.make_audio(processor, [2.0, 1.0])
    samples = torch.randn(16_000, generator=torch.Generator().manual_seed(3))
    speech = pipeline(
        "automatic-speech-recognition",
        model=model,
        tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor,
    )
    expected = {
        "tokens": model.generate(
            batch["input_features"], language=["gl", "fr"], task="transcribe", max_new_tokens=12
        ).tolist(),
        "text": speech(samples.numpy(), generate_kwargs={"language": "gl", "max_new_tokens": 12})["text"],
    }
    model.save_pretrained(tmp_path / "saved", save_backbone=save_backbone)
    processor.save_pretrained(tmp_path / "saved")
    torch.save({"input_features": batch["input_features"], "samples": samples}, tmp_path / "audio.pt")
    environment = {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules"), "PATH": "/usr/bin:/bin"}
    environment["HOME"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "saved", tmp_path / "audio.pt", tmp_path / "resaved"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("class") == "DistilWhisperForConditionalGeneration"
    assert found.pop("resaved"), "loaded, saved and loaded again, it transcribes otherwise"
    assert found == expected
