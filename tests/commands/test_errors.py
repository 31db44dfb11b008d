"""What a user can mend is one sentence: what was expected, what came, what to do. A traceback is for bugs."""

import errno
import json
import os
import shutil

import pytest
import torch
from helpers import cards
from safetensors import SafetensorError
from transformers import AutoModelForSpeechSeq2Seq, WhisperProcessor

import distilwhisper_cli
from modeling_distilwhisper.commands.command_line import command
from modeling_distilwhisper.commands.errors import FULL
from modeling_distilwhisper.runs.old_names import read_json
from modeling_distilwhisper.runs.run_folder import RunFolder
from modeling_distilwhisper.training.teacher_cache import TeacherCache


def said(function, capsys) -> str:
    """What a command says that ends with an error of this function."""
    assert command(lambda argv, prog: function())([], "distilwhisper x") == 1
    error = capsys.readouterr().err.splitlines()[-1]  # after what a progress bar may have shown
    assert error.startswith("distilwhisper x: error: ")
    return error


def raising(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), f"a/b: {FULL}"),
        (OSError(errno.ENOSPC, "No space left on device"), FULL),
        (SafetensorError("I/O error: No space left on device (os error 28)"), FULL),
        (SafetensorError("header too small"), "A file of weights is damaged, or cannot be written: header too small."),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "a: You may not read or write here."),
        (OSError(errno.EROFS, "Read-only file system", "a"), "a: Nothing can be written here"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "a"), "a: Expected a file, got a folder."),
        (torch.OutOfMemoryError("CUDA out of memory"), "Give a smaller --batch_size"),
        (MemoryError(), "Give a smaller --batch_size"),
    ],
)
def test_an_error_of_the_system_says_what_to_do(error, sentence, capsys):
    assert sentence in said(raising(error), capsys)


def test_a_command_that_is_interrupted_says_so_without_a_traceback(capsys):
    assert command(lambda argv, prog: raising(KeyboardInterrupt())())([], "distilwhisper x") == 130
    assert capsys.readouterr().err == "distilwhisper x: interrupted\n"


@pytest.mark.parametrize("below", ["file", "file/out", "n" * 256])
def test_an_output_folder_that_cannot_be_made_is_named(tmp_path, below, capsys):
    (tmp_path / "file").write_text("")
    line = said(lambda: RunFolder(tmp_path / below, {}), capsys)
    assert f"{tmp_path / below}: " in line and "Give a" in line


DAMAGED = {
    "nothing in it": lambda folder: [path.unlink() for path in folder.iterdir()],
    "no config": lambda folder: (folder / "config.json").unlink(),
    "config cut off": lambda folder: os.truncate(folder / "config.json", 50),
    "config empty": lambda folder: os.truncate(folder / "config.json", 0),
    "config a list": lambda folder: (folder / "config.json").write_text("[]"),
    "config of another form": lambda folder: (folder / "config.json").write_text(
        json.dumps(json.loads((folder / "config.json").read_text()) | {"d_model": "wide"})
    ),
    "weights cut off": lambda folder: os.truncate(folder / "model.safetensors", 1000),
    "weights empty": lambda folder: os.truncate(folder / "model.safetensors", 0),
    "generation config a list": lambda folder: (folder / "generation_config.json").write_text("[]"),
    "tokenizer cut off": lambda folder: os.truncate(folder / "tokenizer.json", 100),
    "tokenizer a list": lambda folder: (folder / "tokenizer.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_model_folder_that_is_damaged_is_named_with_what_to_do(whisper_dir, tmp_path, damage, capsys):
    folder = tmp_path / "model"
    shutil.copytree(whisper_dir, folder)
    DAMAGED[damage](folder)
    kind = WhisperProcessor if "tokenizer" in damage else AutoModelForSpeechSeq2Seq
    line = said(lambda: kind.from_pretrained(folder), capsys)
    assert str(folder) in line


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "NaN", '"x"', "[" * 100_000, "\0\0", '{"scores": [1]}'])
def test_json_that_is_damaged_is_named_with_the_place_and_what_to_do(tmp_path, content, capsys):
    path = tmp_path / "results.json"
    path.write_text(content)
    assert distilwhisper_cli.main(["card", str(path)]) == 1
    line = capsys.readouterr().err
    assert f"error: {path} is damaged: " in line and "Delete it and start the command that wrote it again" in line
    assert "it is empty" in line or "expected" in line or "no complete JSON" in line or "too deep" in line


@pytest.mark.parametrize("wrong", [5, "x", [1], {"a": {"b": {"c": 3}}}])
@pytest.mark.parametrize("key", [*cards.results()])
def test_results_of_another_form_never_end_a_card_in_a_traceback(tmp_path, key, wrong, capsys):
    (tmp_path / "results.json").write_text(json.dumps(cards.results() | {key: wrong}))
    status = distilwhisper_cli.main(["card", str(tmp_path)])
    shown = capsys.readouterr().err
    assert status == 0 or ("results.json is damaged: " in shown and key in shown)


def test_settings_of_a_run_that_are_damaged_do_not_make_its_folder_a_new_one(tmp_path):
    RunFolder(tmp_path, {"run": {"a": 1}})
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(ValueError, match=r"settings\.json is damaged: .* Use another folder, or delete"):
        RunFolder(tmp_path, {"run": {"a": 1}})
    with pytest.raises(ValueError, match="damaged"):
        read_json(tmp_path / "settings.json")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 1, "k": "many"}'])
def test_a_damaged_manifest_of_a_cache_says_to_make_it_again(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=r"manifest\.json is damaged: .* make a new cache with `distilwhisper cache"):
        TeacherCache(tmp_path)
