"""Every public name has a docstring with an example, and every example in a docstring does what it shows."""

import ast
import doctest
import importlib
import inspect
import os
from pathlib import Path

import datasets
import pytest

import modeling_distilwhisper

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "modeling_distilwhisper"
# Public methods that users call, besides the names of the package.
MEMBERS = {
    "DistilWhisperForConditionalGeneration": (
        "add_language",
        "experts_of",
        "from_pretrained",
        "from_whisper",
        "load_experts",
        "read_prompt",
        "reload_experts",
        "remove_language",
        "save_experts",
        "save_pretrained",
    )
}
NAMES = [
    name
    for public in modeling_distilwhisper.__all__
    for name in (public, *(f"{public}.{member}" for member in MEMBERS.get(public, ())))
]


def docstrings(node: ast.AST, name: str) -> dict[str, str]:
    """The docstrings with examples of a module, class or function and of all in it, by dotted name.

    Read from the source, so that collecting the tests imports nothing.
    """
    documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
    text = (ast.get_docstring(node) or "") if documented else ""
    found = {name: text} if ">>> " in text else {}
    for child in ast.iter_child_nodes(node):
        found |= docstrings(child, f"{name}.{child.name}" if hasattr(child, "name") else name)
    return found


def examples() -> dict[tuple[str, str], str]:
    """Every docstring with examples, by its module and its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, text in docstrings(tree, module).items():
            found[module, name.removeprefix(f"{PACKAGE.name}.")] = text
    return found


EXAMPLES = examples()


def failures(name: str, text: str, names: dict) -> str:
    """What doctest reports of a docstring, run with the given global names; empty if all is well."""
    test = doctest.DocTestParser().get_doctest(text, {"__name__": "__main__", **names}, name, None, 0)
    report: list[str] = []
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(optionflags=options, verbose=False).run(test, out=report.append)
    return "".join(report)


@pytest.fixture
def at_the_root(monkeypatch, tmp_path):
    """The folder that examples run in, where they leave nothing; their caches are elsewhere."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")  # read once, at import
    before = set(os.listdir(ROOT))
    yield
    new = {name for name in os.listdir(ROOT) if not name.startswith((".", "__"))} - before
    assert not new, f"An example wrote into the repository: {new}. Use a tempfile.TemporaryDirectory()."


@pytest.mark.parametrize(("module", "name"), EXAMPLES, ids=[name for _, name in EXAMPLES])
def test_an_example_gives_what_it_shows(module, name, at_the_root):
    text = EXAMPLES[module, name]
    # An example for users imports what it uses. One of an internal function may use the names of its module.
    for_users = "from modeling_distilwhisper import" in text
    report = failures(name, text, {} if for_users else vars(importlib.import_module(module)))
    assert not report, report


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_an_example_for_users(name):
    public, _, member = name.partition(".")
    value = getattr(modeling_distilwhisper, public)
    value = getattr(value, member) if member else value
    text = inspect.cleandoc(value.__doc__ or "")
    assert text, f"{name} has no docstring."
    shown = doctest.DocTestParser().get_examples(text)
    assert shown, f"{name}: its docstring has no section `Example:` with lines that begin with >>>."
    assert any(example.want for example in shown), f"{name}: its example shows no output."
    assert "from modeling_distilwhisper import" in text, f"{name}: its example does not import it as users do."
    assert shown in [doctest.DocTestParser().get_examples(one) for one in EXAMPLES.values()], f"{name} is not run."


def test_an_example_that_shows_something_else_is_noticed():
    assert "Expected:\n    3\nGot:\n    2" in failures("wrong", ">>> 1 + 1\n3\n", {})


def test_examples_are_found_in_modules_classes_methods_and_nested_functions():
    planted = 'class A:\n    """>>> 1\n    1\n    """\n    def f(self):\n        def g():\n            """>>> 2\n"""\n'
    assert [*docstrings(ast.parse(planted), "m")] == ["m.A", "m.A.f.g"]
