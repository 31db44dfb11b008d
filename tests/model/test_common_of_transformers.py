"""Our models pass Transformers' own common model tests, as a plain Whisper does.

The tests come from the source distribution of the installed version, which is fetched once. Without a package index, or
without `parameterized`, which they import, all is skipped. Its generation tests (`GenerationTesterMixin`) are not in
that distribution.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import transformers

pytestmark = pytest.mark.slow

# Tests that a plain Whisper does not pass with these inputs, and why they say nothing of a model.
DO_NOT_APPLY = {
    "test_generation_tester_mixin_inheritance": "is about Transformers' test classes, of which one is not distributed",
}
TESTS = Path(__file__).parents[1]
# Test classes that the common tests import and that are not distributed with them.
ABSENT = {"exporters/test_export.py": "ExportTesterMixin", "generation/test_utils.py": "GenerationTesterMixin"}


def fetch_tests(folder: Path) -> None:
    """Makes the package `transformers_tests` in a folder, of the source distribution's folder `tests`."""
    name = f"transformers-{transformers.__version__}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
    done = subprocess.run(
        [*command, f"transformers=={transformers.__version__}", "--dest", folder], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"No source distribution of {name}: {done.stderr.strip().splitlines()[-1:]}")
    package = folder / "transformers_tests"
    package.mkdir(exist_ok=True)
    with tarfile.open(folder / f"{name}.tar.gz") as archive:
        for member in archive.getmembers():
            path = Path(member.name)
            if member.isfile() and path.parent == Path(name, "tests") and path.suffix == ".py":
                (package / path.name).write_bytes(archive.extractfile(member).read())
    for path, mixin in ABSENT.items():
        (package / path).parent.mkdir(exist_ok=True)
        (package / path).with_name("__init__.py").touch()
        (package / path).write_text(f"class {mixin}:\n    pass\n")
    (package / "__init__.py").touch()  # last: the package is complete


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """By class and test: what became of it, and why."""
    pytest.importorskip("parameterized", reason="Transformers' common tests import it: install the extra 'test'")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "distilwhisper-tests" / f"transformers-{transformers.__version__}"
    if not (folder / "transformers_tests/__init__.py").exists():
        folder.mkdir(parents=True, exist_ok=True)
        fetch_tests(folder)
    results = tmp_path_factory.mktemp("common") / "results.json"
    path = os.pathsep.join([str(folder), str(TESTS.parent), str(TESTS)])
    done = subprocess.run(
        [sys.executable, "-m", "helpers.common_model_tests", results],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert results.exists() and results.stat().st_size, done.stderr[-3000:]
    return json.loads(results.read_text(encoding="utf-8"))


def names_of(outcomes: dict[str, list[str]], what: str) -> set[str]:
    return {name for name, (outcome, _) in outcomes.items() if outcome == what}


@pytest.mark.parametrize("kind", ["Base", "Head"])
def test_every_common_test_that_a_plain_whisper_passes_is_passed(outcomes, kind):
    stock, ours = outcomes[f"Stock{kind}"], outcomes[f"Our{kind}"]
    assert len(names_of(stock, "passed")) > 80
    failed = {name: ours[name][1] for name in names_of(ours, "failed") - DO_NOT_APPLY.keys()}
    assert not failed, failed


@pytest.mark.parametrize("kind", ["Base", "Head"])
def test_no_common_test_is_skipped_that_a_plain_whisper_runs(outcomes, kind):
    stock, ours = outcomes[f"Stock{kind}"], outcomes[f"Our{kind}"]
    assert stock.keys() == ours.keys()
    skipped = {name: ours[name][1] for name in names_of(ours, "skipped") - names_of(stock, "skipped")}
    assert not skipped, skipped


@pytest.mark.parametrize("kind", ["Base", "Head"])
def test_the_common_tests_that_do_not_apply_are_those_that_are_named(outcomes, kind):
    failed = names_of(outcomes[f"Stock{kind}"], "failed")
    assert failed <= DO_NOT_APPLY.keys(), {name: outcomes[f"Stock{kind}"][name][1] for name in failed}
