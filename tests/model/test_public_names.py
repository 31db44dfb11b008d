"""What is shared or pushed tells nothing about the folders of the machine that it was made on."""

import json
from pathlib import Path

import pytest
import torch
from helpers import tiny
from helpers.hub_clients import load_and_generate, push, save_and_push, tokens

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.names_distilwhisper import hide_paths, public_name

FOLDERS = {
    "/home/maria/secret/whisper-small": "whisper-small",
    "/home/maria/secret/whisper-small/": "whisper-small",
    "C:\\Users\\maria\\whisper-small": "whisper-small",
    "\\\\server\\maria\\whisper-small": "whisper-small",
    "~/secret/whisper-small": "whisper-small",
    "../secret/whisper-small": "whisper-small",
    "./whisper-small": "whisper-small",
    "file:///home/maria/whisper-small": "whisper-small",
    "secret/of/maria/whisper-small": "whisper-small",
}


def secrets_in(files: dict[str, bytes], *secrets: str) -> list[str]:
    return [f"{name}: {secret}" for name, content in files.items() for secret in secrets if secret.encode() in content]


@pytest.fixture
def private(whisper_dir, processor, tmp_path):
    """A model on a Whisper in a folder with a private name, and its path."""
    home = tmp_path / "home-of-maria"
    tiny.make_whisper(processor).save_pretrained(home / "whisper-tiny")
    processor.save_pretrained(home / "whisper-tiny")
    model = DistilWhisperForConditionalGeneration.from_whisper(home / "whisper-tiny", languages=["gl", "ca"])
    tiny.unsettle(model)
    return model.eval(), home


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_is_named_by_its_last_part_and_a_hub_id_as_it_is(monkeypatch, tmp_path):
    assert {name: public_name(name) for name in FOLDERS} == FOLDERS
    assert public_name("openai/whisper-small") == "openai/whisper-small" and public_name(None) is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maria/whisper-small").mkdir(parents=True)
    assert public_name("maria/whisper-small") == "whisper-small", "a folder that looks like a Hub id"


def test_a_saved_folder_names_no_path_and_loads_and_saves_as_before(private, tmp_path):
    model, home = private
    model.save_pretrained(home / "saved")
    assert not secrets_in(content_of(home / "saved"), "home-of-maria", str(tmp_path))
    loaded = DistilWhisperForConditionalGeneration.from_pretrained(home / "saved")
    assert tokens(loaded) == tokens(model)
    loaded.save_pretrained(home / "experts", save_backbone=False)
    again = DistilWhisperForConditionalGeneration.from_pretrained(home / "experts")
    assert tokens(again) == tokens(model), "its backbone is found where it was loaded from"
    experts = {name: content for name, content in content_of(home / "experts").items() if name.startswith("expert.")}
    assert not secrets_in(experts, "home-of-maria")


def test_the_settings_of_a_folder_keep_all_but_paths(tmp_path):
    settings = {
        "tokenizer_file": "/root/.cache/maria/tokenizer.json",
        "chunk": 30,
        "unk_token": "/",
        "a": ["~/x/y", "a/b"],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"template": "{% if x %}/home/y{% endif %}"}))
    hide_paths(tmp_path)
    shown = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert shown == settings | {
        "tokenizer_file": "tokenizer.json",
        "a": ["y", "a/b"],
        "template": "{% if x %}/home/y{% endif %}",
    }


@pytest.mark.parametrize("how", ["push_to_hub", "save_pretrained"])
def test_a_pushed_model_names_no_path(hub, client, private, tmp_path, how):
    model, home = private
    model.save_pretrained(home / "saved", save_backbone=False)
    config = home / "whisper-tiny/tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"name_or_path": str(home / "whisper-tiny")}))
    if how == "push_to_hub":
        client(push, home / "saved", "me/public", how)
    else:
        client(save_and_push, home / "saved", home / "target", "me/public")
    files = hub.repositories["me/public"].at().files
    assert "tokenizer_config.json" in files and not secrets_in(files, "home-of-maria", str(tmp_path))
    assert client(load_and_generate, "me/public", tmp_path / "cache") == tokens(model)


def test_experts_made_before_that_name_a_path_load_as_before(private):
    model, home = private
    model.save_pretrained(home / "saved")
    config = home / "saved/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "/gone/whisper"}))
    loaded = DistilWhisperForConditionalGeneration.from_pretrained(home / "saved")
    assert tokens(loaded) == tokens(model) and isinstance(loaded.device, torch.device)
