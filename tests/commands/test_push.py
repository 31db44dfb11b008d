"""`distilwhisper push`: a whole model or some of its experts go to the Hub, each with a card."""

import json
import shutil

import pytest
from helpers.hub_clients import OTHER, load_and_generate, run_command, tokens
from huggingface_hub import ModelCard

from modeling_distilwhisper.reporting.model_card import card_of_run, save_card
from modeling_distilwhisper.runs.old_names import read_json


@pytest.fixture
def on_hub(hub, saved, whisper_dir):
    """The folder `saved`, whose backbone is on the Hub as me/whisper."""
    hub.add("me/whisper", whisper_dir)
    config = saved / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "me/whisper"}))
    return saved


def files_of(hub, name: str, revision: str = "main") -> dict[str, bytes]:
    return hub.repositories[name].at(revision).files


@pytest.mark.slow
def test_a_whole_model_goes_with_its_card(hub, client, saved, model, tmp_path):
    (saved / "README.md").write_text("My card.", encoding="utf-8")
    (saved / "results.json").unlink(missing_ok=True)
    code, printed, _ = client(run_command, "push", saved, "me/whole", "--private")
    assert code == 0 and printed.strip().endswith("/me/whole")
    files = files_of(hub, "me/whole")
    assert {"model.safetensors", "expert.gl.safetensors", "expert.ca.safetensors", "tokenizer.json"} <= files.keys()
    assert files["README.md"] == b"My card." and hub.repositories["me/whole"].private
    with_token = {"token": "hf_me"}
    assert client(load_and_generate, "me/whole", tmp_path / "cache", **with_token) == tokens(model)


@pytest.mark.slow
def test_experts_alone_go_beside_those_that_are_there(hub, client, on_hub):
    assert client(run_command, "push", on_hub, "me/experts", "--languages", "gl")[0] == 0
    first = files_of(hub, "me/experts")
    assert "expert.gl.safetensors" in first and not {"model.safetensors", "expert.ca.safetensors"} & first.keys()
    assert (
        client(run_command, "push", on_hub, "me/experts", "--languages", "ca", "--int8", "--message", "Catalan")[0] == 0
    )
    second = files_of(hub, "me/experts")
    assert second["expert.gl.safetensors"] == first["expert.gl.safetensors"] and "expert.ca.safetensors" in second
    assert len(second["expert.ca.safetensors"]) < 0.7 * len(first["expert.gl.safetensors"])
    assert hub.repositories["me/experts"].at().message == "Catalan"


def test_a_card_as_training_wrote_it_gets_the_repositorys_name_and_an_edited_one_stays(hub, client, on_hub, results):
    (on_hub / "results.json").write_text(json.dumps(results))
    save_card(card_of_run(read_json(on_hub / "results.json"), name=on_hub.name), on_hub / "README.md")
    assert client(run_command, "push", on_hub, "me/named", "--languages", "gl")[0] == 0
    card = files_of(hub, "me/named")["README.md"].decode()
    assert 'checkpoint = "me/named"' in card and ModelCard(card).data.model_name == "me/named"
    assert 'checkpoint = "saved"' in (on_hub / "README.md").read_text(), "the folder's card stays as it was"
    assert client(run_command, "push", on_hub, "me/whole-named")[0] == 0
    assert b'checkpoint = "me/whole-named"' in files_of(hub, "me/whole-named")["README.md"]

    hub.repositories["me/named"].commit({"README.md": b"Edited there."})
    assert client(run_command, "push", on_hub, "me/named", "--languages", "ca")[0] == 0
    assert files_of(hub, "me/named")["README.md"] == b"Edited there."
    (on_hub / "README.md").write_text("Edited here.")
    assert client(run_command, "push", on_hub, "me/other", "--languages", "gl")[0] == 0
    assert files_of(hub, "me/other")["README.md"] == b"Edited here."


def test_a_pull_request_holds_experts_and_card(hub, client, on_hub):
    (on_hub / "README.md").write_text("My card.")
    assert client(run_command, "push", on_hub, "me/theirs", "--languages", "gl")[0] == 0
    hub.repositories["me/theirs"].commit({"README.md": None})
    code, printed, _ = client(run_command, "push", on_hub, "me/theirs", "--languages", "ca", "--create_pr", token=OTHER)
    assert code == 0 and printed.strip().endswith("/me/theirs/discussions/1")
    proposed = files_of(hub, "me/theirs", "refs/pr/1")
    assert "expert.ca.safetensors" in proposed and proposed["README.md"] == b"My card."
    assert not {"expert.ca.safetensors", "README.md"} & files_of(hub, "me/theirs").keys()


def test_what_cannot_be_pushed_is_refused_in_one_line(hub, client, saved, whisper_dir, tmp_path):
    shutil.copytree(whisper_dir, tmp_path / "plain")
    for words, message in {
        ("push", tmp_path / "plain", "me/new"): "is a 'whisper', expected a 'distilwhisper'",
        ("push", saved, "me/new", "--languages", "gl"): "which is not on the Hub",
        ("push", saved, "me/new", "--languages", "fr"): "has no expert",
    }.items():
        code, _, error = client(run_command, *words)
        assert code == 1 and "distilwhisper push: error: " in error and message in error, error
        assert "Traceback" not in error
    assert "me/new" not in hub.repositories
