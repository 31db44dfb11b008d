"""Repositories on which several people work, and their branches, tokens and caches, through the stand-in of the Hub."""

import json

import pytest
from helpers.hub_clients import ME, OTHER, load_and_generate, push, tokens, with_environment
from huggingface_hub.errors import HfHubHTTPError

# Others at the same time


def at_each_commit(hub, act, times):
    """Before the first `times` commits are looked at, somebody else is quicker."""
    left = iter(range(times))

    def meanwhile(method, path):
        if "/commit/" in path and (number := next(left, None)) is not None:
            act(number)

    hub.meanwhile = meanwhile


@pytest.mark.slow
def test_a_language_that_came_in_between_stays_listed(hub, client, saved, russian, model, tmp_path):
    repository = hub.add("me/model", saved)

    def act(number):
        config = json.loads(repository.at().files["config.json"])
        config["languages"].append("fr")
        config["language_token_ids"]["fr"] = config["language_token_ids"]["gl"] - 1
        repository.commit({"config.json": json.dumps(config).encode(), "expert.fr.safetensors": b"theirs"})

    at_each_commit(hub, act, times=1)
    client(push, russian, "me/model")
    files = repository.at().files
    assert json.loads(files["config.json"])["languages"] == ["gl", "ca", "fr", "ru"]
    assert files["expert.fr.safetensors"] == b"theirs" and "expert.ru.safetensors" in files
    assert len(repository.commits) == 3


def test_what_others_pushed_of_the_same_language_meanwhile_is_not_overwritten(hub, client, saved, russian):
    repository = hub.add("me/model", saved)
    at_each_commit(hub, lambda number: repository.commit({"expert.ru.safetensors": b"theirs"}), times=1)
    with pytest.raises(OSError, match=r"Somebody else pushed experts of \['ru'\] to me/model meanwhile"):
        client(push, russian, "me/model")
    assert repository.at().files["expert.ru.safetensors"] == b"theirs"


def test_where_others_never_stop_it_says_what_to_do(hub, client, saved, russian):
    repository = hub.add("me/model", saved)
    at_each_commit(hub, lambda number: repository.commit({"notes.txt": str(number).encode()}), times=99)
    with pytest.raises(OSError, match=r"during each of 5 attempts, .*Push again later, or with"):
        client(push, russian, "me/model")
    assert "expert.ru.safetensors" not in repository.at().files


def test_a_whole_model_does_not_take_other_languages_off_the_list(hub, client, saved, russian):
    repository = hub.add("me/model", saved)
    with pytest.raises(ValueError, match=r"me/model has experts of \['ca', 'gl'\] too, which this model lacks"):
        client(push, russian, "me/model", "push_to_hub")
    assert len(repository.commits) == 1
    repository.commit({"expert.ca.safetensors": None, "expert.gl.safetensors": None})
    client(push, russian, "me/model", "push_to_hub")
    assert json.loads(repository.at().files["config.json"])["languages"] == ["ru"]


def test_what_is_loaded_is_of_one_commit_whatever_is_pushed_meanwhile(hub, client, saved, model, tmp_path):
    repository = hub.add("me/model", saved)

    def meanwhile(method, path):
        if path.endswith("/model.safetensors") and len(repository.commits) == 1:
            repository.commit({"expert.gl.safetensors": b"a later one", "expert.ca.safetensors": None})

    hub.meanwhile = meanwhile
    assert client(load_and_generate, "me/model", tmp_path / "cache") == tokens(model)
    assert len(repository.commits) == 2


# Revisions, tokens, no network


def test_a_branch_is_pushed_to_and_loaded_from_and_main_stays(hub, client, saved, russian, model, tmp_path):
    repository = hub.add("me/model", saved)
    main = repository.at()
    oid = client(push, russian, "me/model", revision="with-russian")
    assert repository.at() is main and repository.at("with-russian").oid == oid
    model.load_experts(russian, "ru")
    for revision in ("with-russian", oid):
        generated = client(load_and_generate, "me/model", tmp_path / revision, ["ru"], rows=("ru",), revision=revision)
        assert generated == tokens(model, ("ru",))
    with pytest.raises(OSError, match=r"has no expert.ru.safetensors. Languages it has experts for: gl, ca"):
        client(load_and_generate, "me/model", tmp_path / "cache", ["ru"])
    with pytest.raises(OSError, match="no-such-branch is not a valid git identifier"):
        client(load_and_generate, "me/model", tmp_path / "cache", revision="no-such-branch")


def test_a_language_is_offered_to_others_as_a_pull_request(hub, client, saved, russian):
    repository = hub.add("me/model", saved)
    main = repository.at()
    with pytest.raises(HfHubHTTPError, match="403 Forbidden"):
        client(push, russian, "me/model", token=OTHER)
    client(push, russian, "me/model", token=OTHER, create_pr=True)
    assert repository.at() is main
    assert json.loads(repository.at("refs/pr/1").files["config.json"])["languages"] == ["gl", "ca", "ru"]


def test_a_private_repository_wants_a_token_as_it_does_for_any_model(hub, client, saved, russian, model, tmp_path):
    repository = hub.add("me/secret", saved, private=True)
    for settings in ({}, {"token": OTHER}, {"token": False}):
        with pytest.raises(OSError, match=r"If this is a private repository, make sure to pass a token"):
            client(load_and_generate, "me/secret", tmp_path / "cache", **settings)
    assert client(load_and_generate, "me/secret", tmp_path / "given", ["gl"], rows=("gl",), token=ME) == tokens(
        model, ("gl",)
    )
    with_token = client(with_environment, "HF_TOKEN", ME, load_and_generate, "me/secret", tmp_path / "environment")
    assert with_token == tokens(model)
    client(push, russian, "me/secret")
    assert "expert.ru.safetensors" in repository.at().files


def test_what_was_loaded_once_loads_without_the_network(hub, client, saved, model, tmp_path):
    hub.add("me/model", saved)
    client(load_and_generate, "me/model", tmp_path / "cache", ["gl"])
    hub.stop()
    try:
        model.remove_language("ca")
        for settings in ({}, {"local_files_only": True}):
            assert client(load_and_generate, "me/model", tmp_path / "cache", ["gl"], **settings) == tokens(model)
        with pytest.raises(OSError, match=r"lists 'ca', but expert.ca.* could not be fetched .* in the cache"):
            client(load_and_generate, "me/model", tmp_path / "cache", ["ca"], local_files_only=True)
    finally:
        hub.start()


# A repository's config that somebody wrote by hand


@pytest.mark.parametrize(
    ("languages", "listed"),
    [
        ("gl", ["ca", "gl", "ru"]),
        (None, ["ca", "gl", "ru"]),
        (["gl", "gl", "ca"], ["gl", "ca", "ru"]),
        (["gl", 7], ["ca", "gl", "ru"]),
        ([["gl"]], ["ca", "gl", "ru"]),
        ({"gl": 1}, ["ca", "gl", "ru"]),
        (7, ["ca", "gl", "ru"]),
        (["gl", "../x"], ["ca", "gl", "ru"]),
    ],
)
def test_a_list_of_languages_that_is_none_is_mended_by_the_files_that_are_there(
    hub, client, saved, russian, languages, listed
):
    repository = hub.add("me/model", saved)
    config = json.loads(repository.at().files["config.json"]) | {"languages": languages}
    repository.commit({"config.json": json.dumps(config).encode()})
    client(push, russian, "me/model")
    assert json.loads(repository.at().files["config.json"])["languages"] == listed


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("gate_budgets", "gl"),
        ("gate_budgets", [0.5]),
        ("gate_budgets", {"gl": 7}),
        ("language_token_ids", ["gl"]),
        ("language_token_ids", {"gl": "x"}),
        ("gate_dim", None),
    ],
)
def test_a_config_that_would_not_load_afterwards_is_not_pushed_to(hub, client, saved, russian, setting, value):
    repository = hub.add("me/model", saved)
    config = json.loads(repository.at().files["config.json"]) | {setting: value}
    before = repository.commit({"config.json": json.dumps(config).encode()})
    with pytest.raises(ValueError, match=r"Not pushed: config.json of me/model has a wrong setting"):
        client(push, russian, "me/model")
    assert repository.at() is before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"gl"', b"\xff\xfe"])
def test_a_damaged_config_is_not_pushed_to(hub, client, saved, russian, content):
    repository = hub.add("me/model", saved)
    before = repository.commit({"config.json": content})
    with pytest.raises(ValueError, match=r"me/model/config.json (is damaged|holds a)"):
        client(push, russian, "me/model")
    assert repository.at() is before
