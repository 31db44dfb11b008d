"""Every public name has a docstring with an example, and the example does what it shows."""

import doctest
import os
from pathlib import Path

import pytest

import modeling_distilwhisper

ROOT = Path(__file__).parents[1]
# Public methods and properties that users call, beside the names of the package.
MEMBERS = {
    "DistilWhisperForConditionalGeneration": (
        "from_pretrained",
        "from_whisper",
        "load_experts",
        "remove_language",
        "save_experts",
    )
}
NAMES = [
    name
    for public in modeling_distilwhisper.__all__
    for name in (public, *(f"{public}.{member}" for member in MEMBERS.get(public, ())))
]


def examples_of(name: str) -> doctest.DocTest:
    public, _, member = name.partition(".")
    value = getattr(modeling_distilwhisper, public)
    value = getattr(value, member) if member else value
    text = value.__doc__ or ""
    return doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, name, None, 0)


@pytest.fixture
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    before = set(os.listdir(ROOT))
    yield
    new = {name for name in os.listdir(ROOT) if not name.startswith((".", "__"))} - before
    assert not new, f"An example wrote beside the code: {new}. Use a tempfile.TemporaryDirectory()."


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_an_example_that_runs(name, at_the_root):
    test = examples_of(name)
    assert test.docstring.strip(), f"{name} has no docstring."
    assert test.examples, f"{name}: its docstring has no section `Example:` with lines that begin with >>>."
    assert any(example.want for example in test.examples), f"{name}: its example shows no output."
    report: list[str] = []
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, _ = doctest.DocTestRunner(optionflags=options, verbose=False).run(test, out=report.append)
    assert not failed, "\n".join(report)


def test_an_example_that_shows_something_else_is_noticed():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed == 1
