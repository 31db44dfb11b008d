"""A folder with a model and its code, saved by one set of versions and loaded by others: the same transcripts.

python .ci/saved_model.py save FOLDER    # as a user of the package saves it
python .ci/saved_model.py load FOLDER    # without the package, by the code in the folder
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

TESTS = Path(__file__).resolve().parents[1] / "tests"
SAMPLES = torch.sin(torch.arange(16_000) / 7) / 4  # a second
BRIEF = {"language": "gl", "max_new_tokens": 12}
SETTINGS = {"language": ["gl", "fr"], "task": "transcribe", "max_new_tokens": 12}
SET = ", ".join(f"{name} {version(name)}" for name in ("transformers", "torch", "huggingface_hub", "numpy"))


def save(folder: Path) -> None:
    sys.path.append(str(TESTS))
    from helpers import tiny
    from transformers import pipeline

    from modeling_distilwhisper import DistilWhisperForConditionalGeneration

    torch.manual_seed(0)
    processor = tiny.make_processor()
    tiny.make_whisper(processor).save_pretrained(folder / "whisper")
    model = DistilWhisperForConditionalGeneration.from_whisper(folder / "whisper", languages=["gl", "ca"]).eval()
    tiny.unsettle(model)
    audio = tiny.make_audio(processor, [2.0, 1.0])["input_features"]
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    save_file({"audio": audio}, folder / "audio.safetensors")
    expected = {"set": SET, "tokens": model.generate(audio, **SETTINGS).tolist()}
    speech = pipeline("automatic-speech-recognition", model=str(folder / "model"))
    expected["text"] = speech(SAMPLES.numpy(), generate_kwargs=BRIEF)["text"]
    (folder / "expected.json").write_text(json.dumps(expected), encoding="utf-8")
    print(f"Saved by {SET}")


def load(folder: Path) -> None:
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline

    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    audio = load_file(folder / "audio.safetensors")["audio"]
    model = AutoModelForSpeechSeq2Seq.from_pretrained(folder / "model", languages=["gl"], trust_remote_code=True).eval()
    assert "modeling_distilwhisper" not in sys.modules, (
        "the package was imported: its code was tested, not the folder's"
    )
    tokens = model.generate(audio, **SETTINGS).tolist()
    assert tokens == expected["tokens"], f"saved by {expected['set']}: {expected['tokens']}; by {SET}: {tokens}"
    AutoProcessor.from_pretrained(folder / "model", trust_remote_code=True)
    speech = pipeline("automatic-speech-recognition", model=str(folder / "model"), trust_remote_code=True)
    assert speech.model.config.languages == ["gl", "ca"]
    text = speech(SAMPLES.numpy(), generate_kwargs=BRIEF)["text"]
    assert text == expected["text"], f"the pipeline of {expected['set']}: {expected['text']!r}; of {SET}: {text!r}"
    print(f"Saved by {expected['set']}\n  loaded by {SET}: the same {sum(map(len, tokens))} tokens")


if __name__ == "__main__":
    {"save": save, "load": load}[sys.argv[1]](Path(sys.argv[2]))
