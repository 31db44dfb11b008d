"""What a training pushes to the Hub is loaded from there as a user loads it, whatever `hub_strategy` says."""

import json
from pathlib import Path

import pytest
from helpers.hub_clients import ME, load_and_generate, push, resume_from, run_command, train_and_push
from helpers.remote import run_without_the_package

import modeling_distilwhisper

CODE = {path.name for path in Path(modeling_distilwhisper.__file__).parent.glob("*_distilwhisper.py")}
PROCESSOR = {"processor_config.json", "tokenizer.json", "tokenizer_config.json"}
EXPERTS = {"expert.gl.safetensors", "expert.ca.safetensors"}
MODEL = {"config.json", "generation_config.json", "model.safetensors", *CODE, *EXPERTS}
ALL = MODEL | PROCESSOR | {"README.md", ".gitattributes"}


def at_root(files):
    return {name for name in files if "/" not in name}


SLOW = [pytest.param(strategy, marks=pytest.mark.slow) for strategy in ("end", "all_checkpoints")]


@pytest.mark.parametrize("strategy", ["every_save", "checkpoint", *SLOW])
def test_what_a_training_pushes_can_be_loaded(hub, client, whisper_dir, recordings, tmp_path, strategy):
    trained = client(train_and_push, whisper_dir, recordings, tmp_path / "run", "me/run", hub_strategy=strategy)
    repository = hub.repositories["me/run"]
    files = repository.at().files
    assert at_root(files) == ALL, "and neither settings nor paths of this machine"
    assert json.loads(files["config.json"])["languages"] == ["gl", "ca"]
    assert files["README.md"].strip()
    assert client(load_and_generate, "me/run", tmp_path / "cache") == trained
    one = client(load_and_generate, "me/run", tmp_path / "one", ["ca"], rows=("ca",))
    assert one == client(load_and_generate, "me/run", tmp_path / "cache", rows=("ca",))
    folders = {name.split("/")[0] for name in files if "/" in name}
    expected = {"checkpoint": {"last-checkpoint"}, "all_checkpoints": {"checkpoint-1", "checkpoint-2"}}
    assert folders == expected.get(strategy, set())
    if folders:
        last = max(folders)
        inside = client(load_and_generate, "me/run", tmp_path / "cache", subfolder=last)
        assert inside == trained, "experts alone, whose backbone is at the root"
        for name in (name for name in files if name.startswith(f"{last}/")):
            target = tmp_path / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(files[name])
        assert client(resume_from, whisper_dir, recordings, tmp_path / last, tmp_path / "on") == 3
        assert not [name for name in files if name.endswith("training_args.bin")], "a pickle, which holds the token"
    elif strategy == "end":
        script = """
from transformers import AutoModelForSpeechSeq2Seq, WhisperProcessor
model = AutoModelForSpeechSeq2Seq.from_pretrained("me/run", languages=["gl"], trust_remote_code=True)
WhisperProcessor.from_pretrained("me/run", trust_remote_code=True)
print(type(model).__module__.split(".")[0], model.config.languages)
"""
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        printed = run_without_the_package(script, tmp_path, **environment)
        assert printed[-1] == "transformers_modules ['gl']"


def test_a_training_adds_its_languages_to_a_repository_of_others(
    hub, client, russian, recordings, whisper_dir, tmp_path
):
    """Their experts, their card and their place in the config stay."""
    hub.add("org/whisper", whisper_dir)
    client(push, russian, "me/shared", name="org/whisper")
    hub.repositories["me/shared"].commit({"README.md": b"The card of Russian."})
    before = dict(hub.repositories["me/shared"].at().files)
    client(train_and_push, whisper_dir, recordings, tmp_path / "run", "me/shared", hub_strategy="end")
    files = hub.repositories["me/shared"].at().files
    assert json.loads(files["config.json"])["languages"] == ["ru", "gl", "ca"]
    for name in ("expert.ru.safetensors", "README.md"):
        assert files[name] == before[name]
    assert client(load_and_generate, "me/shared", tmp_path / "cache", ["ru"], rows=("ru",))


def test_a_hub_that_cannot_be_reached_ends_no_training(hub, client, whisper_dir, recordings, tmp_path):
    def fail(method, path):
        if "/commit/" in path:
            raise ConnectionError("no network")

    hub.meanwhile = fail
    client(train_and_push, whisper_dir, recordings, tmp_path / "run", "me/run", hub_strategy="every_save")
    assert (tmp_path / "run/checkpoint-2/expert.gl.safetensors").is_file()


@pytest.mark.slow
def test_the_command_pushes_the_run_with_its_card_and_its_token_is_written_nowhere(
    hub, client, whisper_dir, recordings, tmp_path
):
    hub.add("me/whisper", whisper_dir, private=True)
    flags = ["--student", "me/whisper", "--model_revision", "main", "--languages", "gl", "--data", recordings["gl"]]
    flags += [
        "--max_rows",
        2,
        "--max_steps",
        1,
        "--use_cpu",
        "true",
        "--generation_max_length",
        8,
        "--report_to",
        "none",
    ]
    flags += ["--output_dir", tmp_path / "run", "--push_to_hub", "true", "--hub_model_id", "me/run", "--token", ME]
    code, printed, errors = client(run_command, "train", *flags, token="")
    assert code == 0, errors[-3000:]
    files = hub.repositories["me/run"].at().files
    assert b'"me/run"' in files["README.md"] and b"language-experts" in files["README.md"], "the run's card"
    assert json.loads(files["config.json"])["languages"] == ["gl"]
    assert client(load_and_generate, "me/run", tmp_path / "cache", ["gl"], rows=("gl",))
    assert ME not in printed + errors
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert written and not [path for path in written if ME.encode() in path.read_bytes()]
    assert json.loads((tmp_path / "run/settings.json").read_text())["model"]["model_revision"] == "main"
