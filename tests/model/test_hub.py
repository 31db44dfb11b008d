"""Models are pushed to the Hub and loaded from it, through `huggingface_hub` and a stand-in of its HTTP interface."""

import json
from pathlib import Path

import pytest
import torch
from helpers import tiny
from helpers.hub_clients import (
    generate_by_auto_class,
    load_and_generate,
    make_from_hub,
    push,
    save_and_push,
    tokens,
    transcribe_by_pipeline,
    transcribe_noise,
)
from helpers.remote import run_without_the_package
from helpers.speech import make_pipeline
from safetensors.torch import load

import modeling_distilwhisper
from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.export.authors import fetch_checkpoint

TWENTY = ("gl", "ca", "bg", "cs", "cy", "et", "eu", "fi", "hi", "hu")
TWENTY += ("id", "lt", "lv", "pl", "ro", "sk", "sl", "ta", "th", "uk")
CODE = {path.name for path in Path(modeling_distilwhisper.__file__).parent.glob("*_distilwhisper.py")}
PROCESSOR = {"processor_config.json", "tokenizer.json", "tokenizer_config.json"}


# Whole models


@pytest.mark.parametrize("how", ["push_to_hub", "save_pretrained"])
@pytest.mark.slow
def test_a_whole_model_is_pushed_with_all_that_the_pipeline_needs(hub, client, saved, model, processor, tmp_path, how):
    if how == "push_to_hub":
        client(push, saved, "me/complete", how)
    else:
        # What lies in the folder from before, and is no part of the model, stays here.
        (tmp_path / "target").mkdir()
        (tmp_path / "target/expert.ru.safetensors").write_bytes(b"of another run")
        (tmp_path / "target/notes.txt").write_text("mine")
        (tmp_path / "target/README.md").write_text("My card, with é.", encoding="utf-8")
        client(save_and_push, saved, tmp_path / "target", "me/complete")
    repository = hub.repositories["me/complete"]
    assert len(repository.commits) == 2, "one after the initial one"
    files = {"config.json", "generation_config.json", "model.safetensors", "README.md", ".gitattributes", *CODE}
    files |= {"expert.gl.safetensors", "expert.ca.safetensors", *PROCESSOR}
    assert repository.at().files.keys() == files
    if how == "save_pretrained":
        card = (tmp_path / "target/README.md").read_bytes()
        assert card.decode() == "My card, with é." and repository.at().files["README.md"] == card
    assert client(load_and_generate, "me/complete", tmp_path / "cache") == tokens(model)
    transcript = transcribe_noise(make_pipeline(model, processor), "gl")
    assert client(transcribe_by_pipeline, "me/complete", tmp_path / "cache", "gl") == transcript, "by its name alone"


@pytest.mark.slow
def test_a_whole_model_is_pushed_with_its_folders_card_and_keeps_the_repositorys(hub, client, saved):
    (saved / "README.md").write_text("Mine, with é.", encoding="utf-8")
    client(push, saved, "me/complete", "push_to_hub")
    repository = hub.repositories["me/complete"]
    assert repository.at().files["README.md"].decode() == "Mine, with é."
    repository.commit({"README.md": b"---\nlicense: mit\n---\nMended there.\n"})
    client(push, saved, "me/complete", "push_to_hub")
    assert b"Mended there." in repository.at().files["README.md"]


def test_a_copy_gets_the_processor_of_the_revision_that_was_loaded(hub, client, saved, tmp_path):
    client(push, saved, "me/complete", "push_to_hub")
    repository = hub.repositories["me/complete"]
    before = repository.at().files["processor_config.json"]
    repository.refs["v1"] = repository.commits[-1].oid
    repository.commit({"processor_config.json": before + b"\n"})
    client(push, "me/complete", "me/copy", "push_to_hub", loaded={"revision": "v1", "cache_dir": tmp_path / "cache"})
    assert hub.repositories["me/copy"].at().files["processor_config.json"] == before


def test_two_of_twenty_languages_cost_two_files(hub, client, tmp_path):
    processor = tiny.make_processor(("en", *TWENTY))
    whisper = tiny.make_whisper(processor)
    whisper.generation_config.lang_to_id = {
        f"<|{code}|>": processor.tokenizer.convert_tokens_to_ids(f"<|{code}|>") for code in ("en", *TWENTY)
    }
    whisper.save_pretrained(tmp_path / "plain")
    model = DistilWhisperForConditionalGeneration.from_whisper(tmp_path / "plain", languages=list(TWENTY))
    tiny.unsettle(model)
    model.save_pretrained(tmp_path / "twenty")
    hub.add("me/twenty", tmp_path / "twenty")

    client(load_and_generate, "me/twenty", tmp_path / "none", [])
    without = hub.fetched()
    hub.requests.clear()
    transcript = client(load_and_generate, "me/twenty", tmp_path / "two", ["ca", "uk"], rows=("ca", "uk"))
    assert sorted(without) == ["config.json", "generation_config.json", "model.safetensors"]
    assert sorted(hub.fetched()) == sorted([*without, "expert.ca.safetensors", "expert.uk.safetensors"])
    asked = {path.rsplit("/", 1)[-1] for _, path in hub.requests if "/resolve/" in path}
    assert {name for name in asked if name.startswith("expert.")} == {
        f"expert.{code}.safetensors" for code in ("ca", "uk")
    }
    assert transcript == tokens(model, ("ca", "uk"))
    with pytest.raises(
        OSError, match=r"me/twenty has no expert.fr.safetensors. Languages it has experts for: gl, ca, bg"
    ):
        client(load_and_generate, "me/twenty", tmp_path / "two", ["fr"])


@pytest.mark.slow
def test_the_code_on_the_hub_is_enough_to_load_one_language(hub, model, saved, tmp_path):
    hub.add("me/model", saved)
    script = """
import json
from pathlib import Path
import torch
from transformers import AutoModelForSpeechSeq2Seq

torch.set_num_threads(1)
model = AutoModelForSpeechSeq2Seq.from_pretrained("me/model", languages=["gl"], trust_remote_code=True)
noise = torch.randn(2, 8, 200, generator=torch.Generator().manual_seed(3))
transcript = model.generate(noise, language=["gl", "ca"], task="transcribe", max_new_tokens=8).tolist()
model.push_experts_to_hub("me/again", ["gl"], token="hf_me", private=True)
print(json.dumps([type(model).__module__.split(".")[0], model.config.languages, transcript]))
"""
    # Experts alone need a backbone that others can load too: here, the one next to them.
    config = json.loads(hub.repositories["me/model"].at().files["config.json"])
    config["base_model_name_or_path"] = "me/model"
    hub.repositories["me/model"].commit({"config.json": json.dumps(config).encode()})
    environment = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    printed = run_without_the_package(script, tmp_path, **environment)
    model.remove_language("ca")
    assert json.loads(printed[-1]) == ["transformers_modules", ["gl"], tokens(model)]
    assert set(hub.fetched()) >= CODE and "expert.ca.safetensors" not in hub.fetched()
    pushed = hub.repositories["me/again"]
    assert pushed.private and CODE | {"expert.gl.safetensors"} <= pushed.at().files.keys()


def test_the_auto_classes_find_the_backbone_of_experts_alone_in_its_own_repository(
    hub, client, saved, whisper_dir, model, tmp_path
):
    hub.add("org/whisper", whisper_dir)
    client(push, saved, "me/experts", name="org/whisper")
    assert "model.safetensors" not in hub.repositories["me/experts"].at().files
    assert client(generate_by_auto_class, "me/experts", tmp_path / "cache") == tokens(model)


def test_of_an_authors_repository_no_more_is_fetched_than_is_wanted(hub, client, tmp_path):
    names = ["config.json", "pytorch_model.bin", "optimizer.pt", "vocab.json", "merges.txt", "README.md"]
    names += ["training_args.bin", *(f"expert.{name}.bin" for name in ("catalan", "valencian", "galician"))]
    for name in names:
        (tmp_path / name).write_text(name)
    hub.add("org/theirs", tmp_path)
    needed = {"config.json", "pytorch_model.bin", "vocab.json", "merges.txt"}
    for languages, experts in {("ca",): {"catalan", "valencian"}, None: {"catalan", "valencian", "galician"}}.items():
        folder = client(fetch_checkpoint, "org/theirs", languages and list(languages))
        fetched = needed | {f"expert.{name}.bin" for name in experts}
        assert {path.name for path in folder.iterdir()} == fetched
        assert (folder / "expert.catalan.bin").read_text() == "expert.catalan.bin"


# Experts alone


def test_a_new_language_is_one_commit_that_touches_no_other(hub, client, saved, russian, model, tmp_path):
    repository = hub.add("me/model", saved)
    before = dict(repository.at().files)
    oid = client(push, russian, "me/model")
    after = repository.at().files
    assert repository.at().oid == oid and len(repository.commits) == 2
    assert {name for name in after if after[name] != before.get(name)} == {"expert.ru.safetensors", "config.json"}
    assert before.keys() <= after.keys()
    pushed, made = load(after["expert.ru.safetensors"]), load((russian / "expert.ru.safetensors").read_bytes())
    assert pushed.keys() == made.keys() and all(torch.equal(pushed[key], made[key]) for key in made)
    old, new = json.loads(before["config.json"]), json.loads(after["config.json"])
    assert new.pop("languages") == [*old.pop("languages"), "ru"]
    ru = json.loads((russian / "config.json").read_text())["language_token_ids"]
    assert new.pop("language_token_ids") == old.pop("language_token_ids") | ru
    assert old.pop("gate_budgets") == {} and new.pop("gate_budgets") == {"ru": 0.7}
    assert new == old, "all else is as it was"
    assert "model.safetensors" not in hub.fetched(), "whose weights are compared by an expert file's metadata"

    model.load_experts(russian, "ru")
    assert client(load_and_generate, "me/model", tmp_path / "cache", rows=("gl", "ca", "ru")) == tokens(
        model, ("gl", "ca", "ru")
    )


def test_experts_that_are_there_are_replaced_and_listed_once(hub, client, saved, russian):
    repository = hub.add("me/model", saved)
    client(push, russian, "me/model")
    client(push, russian, "me/model", int8=True)
    assert len(repository.at().files["expert.ru.safetensors"]) < (russian / "expert.ru.safetensors").stat().st_size
    assert json.loads(repository.at().files["config.json"])["languages"] == ["gl", "ca", "ru"]


@pytest.mark.parametrize("has_experts", [True, False])
def test_experts_of_another_backbone_are_not_pushed(hub, client, saved, processor, tmp_path, has_experts):
    repository = hub.add("me/model", saved)
    if not has_experts:
        config = json.loads(repository.at().files["config.json"]) | {"languages": []}
        files = {"expert.gl.safetensors": None, "expert.ca.safetensors": None}
        repository.commit({**files, "config.json": json.dumps(config).encode()})
    tiny.make_whisper(processor, seed=1).save_pretrained(tmp_path / "other")
    other = DistilWhisperForConditionalGeneration.from_whisper(tmp_path / "other", languages=["ru"])
    other.save_pretrained(tmp_path / "russian")
    before = repository.at()
    with pytest.raises(ValueError, match=r"Not pushed: me/model.* was made on another backbone .*russian.*differs"):
        client(push, tmp_path / "russian", "me/model")
    assert repository.at() is before


def test_experts_are_not_pushed_to_what_is_no_distilwhisper(hub, client, russian, whisper_dir):
    repository = hub.add("me/plain", whisper_dir)
    with pytest.raises(ValueError, match="me/plain is a 'whisper', expected a 'distilwhisper' or an empty repository"):
        client(push, russian, "me/plain")
    with pytest.raises(ValueError, match="No expert of 'gl' is loaded. Loaded: ru"):
        client(push, russian, "me/plain", languages=["gl"])
    with pytest.raises(ValueError, match="no experts to push"):
        client(push, russian, "me/plain", languages=[])
    assert len(repository.commits) == 1


def test_experts_alone_find_their_backbone_at_its_revision_and_subfolder(hub, client, whisper_dir, processor, tmp_path):
    tiny.make_whisper(processor, seed=1).save_pretrained(tmp_path / "later")
    base = hub.add("org/whisper", tmp_path / "later")
    files = {f"small/{path.name}": path.read_bytes() for path in whisper_dir.iterdir()}
    base.refs["v1"] = base.commit(files).oid
    base.commit(dict.fromkeys(files), "the main branch continues without it")
    where = {"revision": "v1", "subfolder": "small"}
    client(make_from_hub, "org/whisper", ["gl", "ca"], tmp_path / "cache", tmp_path / "made", **where)
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl", "ca"])
    for language in ("gl", "ca"):
        model.reload_experts(tmp_path / "made", [language])

    assert client(load_and_generate, tmp_path / "made", tmp_path / "fresh") == tokens(model), "from a folder"
    client(push, tmp_path / "made", "me/experts", languages=["ca"])
    repository = hub.repositories["me/experts"]
    expected = {"config.json", "generation_config.json", "expert.ca.safetensors", ".gitattributes", *CODE, *PROCESSOR}
    assert repository.at().files.keys() == expected and len(repository.commits) == 2
    model.remove_language("gl")
    assert client(load_and_generate, "me/experts", tmp_path / "fresh") == tokens(model), "from the Hub"


def test_experts_alone_with_a_backbone_that_only_this_machine_has_are_refused(hub, client, russian):
    for name in (None, "/gone/whisper"):
        with pytest.raises(ValueError, match="Experts alone would need their backbone from '/.*not on the Hub"):
            client(push, russian, "me/experts", name=name)
    assert "me/experts" not in hub.repositories, "an empty one would be left behind"


def test_the_pipeline_runs_experts_alone_by_their_name(hub, client, saved, whisper_dir, model, processor, tmp_path):
    hub.add("org/whisper", whisper_dir)
    client(push, saved, "me/experts", name="org/whisper")
    expected = transcribe_noise(make_pipeline(model, processor), "gl")
    assert client(transcribe_by_pipeline, "me/experts", tmp_path / "cache", "gl") == expected
    assert expected != transcribe_noise(make_pipeline(model, processor), "fr"), "the experts change the transcript"
