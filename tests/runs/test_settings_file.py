"""A file of settings gives values and nothing else: no flags, no objects, and nothing that unfolds without limit."""

import json
import os
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import HfArgumentParser

from modeling_distilwhisper.runs.settings import parse_settings
from modeling_distilwhisper.runs.settings_file import read_settings


@dataclass
class Arguments:
    models: list[str]
    languages: list[str] = field(default_factory=list)
    name: str = "x"
    max_rows: int | None = None
    share: float = 0.5
    keep: bool = True


def parse(path, *flags):
    (arguments,) = parse_settings(HfArgumentParser(Arguments), [str(path), *flags])
    return arguments


def write(folder, text, name="run.yaml"):
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("value", ["--max_rows=7", "--max_rows", "-x", "--", "-1", "--no_keep", "a --max_rows=7"])
def test_a_value_that_looks_like_a_flag_stays_a_value(tmp_path, value):
    content = {"models": [value, "gl"], "languages": value, "name": value}
    arguments = parse(write(tmp_path, json.dumps(content), "run.json"))
    assert arguments == Arguments([value, "gl"], [value], value)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_any_text_arrives_as_it_is_and_changes_no_other_setting(tmp_path_factory, values):
    path = write(tmp_path_factory.mktemp("any"), json.dumps({"models": values, "name": values[0]}), "run.json")
    assert parse(path) == Arguments(values, name=values[0])


def test_flags_after_the_file_win_and_fill_in_what_it_lacks(tmp_path):
    file = write(tmp_path, "models: [a]\nlanguages: [gl, ca]\nkeep: false\nmax_rows: 3\nshare: null\n")
    assert parse(file) == Arguments(["a"], ["gl", "ca"], max_rows=3, keep=False)
    assert parse(file, "--languages", "ru", "--keep", "--max_rows", "4") == Arguments(["a"], ["ru"], max_rows=4)
    assert parse(write(tmp_path, "name: y"), "--models", "b") == Arguments(["b"], name="y")


LEVELS = [*zip("abcdefg", "bcdefgh", strict=True)]
LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in LEVELS)
NESTED = "a: &a {x: y}\n" + "".join(f"{b}: &{b} {{i: *{a}, j: *{a}, k: *{a}, l: *{a}, m: *{a}}}\n" for a, b in LEVELS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [a]\nlanguages: [gl, [ca]]", "line 2: languages: expected a text or a number, got a list"),
        ("models: [a, {b: c}]", "line 1: models: expected a text or a number, got a mapping"),
        ("models: [a, null]", "models: expected a text or a number, got nothing"),
        ("models: []", "models: expected one value or more, got a list of 0"),
        ("models: [a]\nname: []", "name: expected one value, got a list of 0"),
        ("models: [a]\nname: [a, b]", "name: expected one value, got a list of 2"),
        ("models: [a]\nmax_rows: many", "max_rows: invalid int value: 'many'"),
        ("models: [a]\nmax_rows: {a: 1}", "max_rows: invalid int value"),
        ("models: [a]\nmodels: [b]", "line 2: models is there twice"),
        ('{"models": ["a"], "models": ["b"]}', "models is there twice"),
        ("models: [a]\nname: {a: {b: 1, b: 2}}", "name.a.b is there twice"),
        ("--max_rows: 7\nmodels: [a]", "unknown settings: --max_rows"),
        ("1: x\nnull: y\nmodels: [a]", "unknown settings: 1, null"),
        ("? [a]\n: b", "line 1: expected a name in front of the colon"),
        ("models: [a]\n<<: {name: y}", "unknown settings: <<"),
        ("models: !!python/object/apply:os.system [id]", "the tag tag:yaml.org,2002:python/object/apply:os.system"),
        ("models: [!!python/name:os.system x]", "is not for settings"),
        ("models: [!mine x]", "the tag !mine is not for settings"),
        ("models: [a]\nname: !!binary aGk=", "is not for settings"),
        (LAUGHS, "got a list"),
        (NESTED, "values, with those that aliases (*) repeat"),
        ("name: {a: &a [*a]}", "are too deep"),
        ("name: {a: &a {b: *a}}", "are too deep"),
        ("name: " + "[" * 100_000, "are too deep"),
        ("name: " + "{a: " * 50 + "1" + "}" * 50, "are too deep"),
        ("models: [a]\nname: {a: " + "9" * 5000 + "}", "name.a: '999"),
        ("models: [a]\nname: {a: !!int x}", "name.a: 'x' is no number"),
        ('{"models": ["\\ud800"]}', "half of a letter"),
        ("models: [a]\n---\nmodels: [b]", "is no YAML"),
        ("models: [a]\nname: *nobody", "is no YAML"),
        ("models: \0", "is no YAML"),
        ("models: [a" + "b" * 300_000 + "]", "Expected settings, in 256000 bytes at most"),
        ("models: [" + "a," * 20_000 + "]", "there are more than 10000 values"),
        ("just words", "holds no settings"),
        ("", "holds no settings"),
        ("null", "holds no settings"),
    ],
)
def test_what_is_no_setting_is_refused_with_the_file_and_the_place(tmp_path, capsys, text, message):
    path, begun = write(tmp_path, text), time.monotonic()
    with pytest.raises(SystemExit) as ended:
        parse(path)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and message in error and str(path) in error
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "latin-1"])
def test_what_is_no_file_of_text_is_refused_and_does_not_hang(tmp_path, capsys, kind):
    path = tmp_path / "run.yaml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"models: [\xe9]")
    with pytest.raises(SystemExit):
        parse(path)
    assert f"{path} is n" in capsys.readouterr().err


def test_mappings_have_types_and_texts_stay_texts(tmp_path):
    path = write(tmp_path, "a: no\nb: {c: 1, d: [2.5, true, no, ~], e: '1'}\nf: 1\ng: &x gl\nh: [*x, *x]\ni: !!str 1\n")
    expected = {"a": "no", "b": {"c": 1, "d": [2.5, True, "no", None], "e": "1"}, "f": "1", "g": "gl"}
    assert read_settings(path) == expected | {"h": ["gl", "gl"], "i": "1"}
