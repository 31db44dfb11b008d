"""Languages trained apart and joined are what they were alone; nothing else comes in with them."""

import pytest
import torch
from helpers import tiny
from helpers.hub_clients import run_command as run_here
from helpers.scripts import run_command
from helpers.training import load

from modeling_distilwhisper import DistilWhisperForConditionalGeneration


@pytest.fixture
def apart(whisper_dir, processor, tmp_path):
    """Two folders of one language each, the second without a backbone and with experts of low rank."""
    models = {}
    for seed, (language, rank) in enumerate({"gl": 0, "ca": 4}.items(), start=1):
        model = load(whisper_dir, [language], expert_rank=rank).eval()
        tiny.unsettle(model, seed=seed)
        model.save_pretrained(tmp_path / language, save_backbone=language == "gl")
        processor.save_pretrained(tmp_path / language)
        models[language] = model
    return models


def test_joined_languages_are_to_the_byte_what_they_were_apart(apart, processor, tmp_path):
    joined = tmp_path / "joined"
    code, printed, errors = run_command("join", tmp_path / "gl", tmp_path / "ca", "--output_dir", joined)
    assert code == 0, errors[-3000:]
    assert "gl, ca" in printed
    for language in apart:
        name = f"expert.{language}.safetensors"
        assert (joined / name).read_bytes() == (tmp_path / language / name).read_bytes()
    model = DistilWhisperForConditionalGeneration.from_pretrained(joined)
    audio = tiny.make_audio(processor, [1.0, 1.5])
    together = model.generate(**audio, language=["gl", "ca"], task="transcribe", max_new_tokens=10)
    for index, (language, alone) in enumerate(apart.items()):
        own = alone.generate(**tiny.row(audio, index), language=language, task="transcribe", max_new_tokens=10)
        assert torch.equal(together[index : index + 1, : own.shape[1]], own)


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "model.safetensors", "expert.gl.safetensors"]
)
def test_what_is_damaged_is_refused_in_one_line_and_nothing_is_written(apart, tmp_path, name):
    (tmp_path / "gl" / name).write_bytes(b"{")
    target = tmp_path / "target"
    for command in (("join", tmp_path / "gl", tmp_path / "ca"), ("compress", tmp_path / "gl", "--rank", 2)):
        code, _, errors = run_here(*command, "--output_dir", target)
        line = [one for one in errors.splitlines() if "error:" in one]
        assert code == 1 and len(line) == 1, errors
        assert name in line[0].replace("The weights of", "model.safetensors"), errors
        assert "Traceback" not in errors and not target.exists()


def test_an_output_folder_below_a_file_is_refused_in_one_line(apart, tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in ("file", "file/below"):
        code, _, errors = run_here("join", tmp_path / "gl", tmp_path / "ca", "--output_dir", tmp_path / folder)
        assert code == 1 and "could not be written: a file is where a folder is expected" in errors
    assert (tmp_path / "file").read_text() == "mine"
