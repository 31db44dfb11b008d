"""What `from modeling_distilwhisper import ...` gives, and what the import alone does not cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import modeling_distilwhisper

HEAVY = ("datasets", "peft", "matplotlib", "accelerate.accelerator", "pyarrow", "scipy", "jiwer", "soundfile", "yaml")


@pytest.mark.parametrize("name", modeling_distilwhisper.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    assert getattr(modeling_distilwhisper, name).__doc__


def test_importing_the_package_reads_no_library_that_the_model_does_not_need():
    without = (
        "import sys, transformers\nbefore = set(sys.modules)\nfrom transformers import WhisperForConditionalGeneration"
    )
    with_package = f"{without}\nbefore = set(sys.modules)\nimport modeling_distilwhisper\n"
    listed = with_package + "print(*sorted(set(sys.modules) - before))"
    printed = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in printed if name.startswith("modeling_distilwhisper.")}
    opened = {name.split(".")[1] for name in ours if not name.endswith("_distilwhisper")}
    assert opened == {"workarounds"}, "no room is opened"
    assert not [name for name in HEAVY if name in printed]


def test_a_name_that_does_not_exist_is_an_error_that_lists_those_that_do():
    with pytest.raises(AttributeError, match="has no attribute 'DistilWisper'. It has: DistilWhisperConfig"):
        modeling_distilwhisper.DistilWisper  # noqa: B018


def test_type_checkers_see_the_same_names_as_the_running_package():
    tree = ast.parse(Path(modeling_distilwhisper.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {(node.module, alias.name) for node in block.body for alias in node.names}
    assert seen == {(module, name) for name, module in modeling_distilwhisper._MODULE_OF.items()}


def test_the_version_is_that_of_the_installed_package():
    assert modeling_distilwhisper.__version__[0].isdigit()
