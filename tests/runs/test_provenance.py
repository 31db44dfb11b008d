"""A measurement says which code made it, and where."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modeling_distilwhisper.runs import provenance


def git(folder: Path, *arguments) -> str:
    command = ["git", "-C", folder, "-c", "user.name=me", "-c", "user.email=me@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A checkout of something else, which a package like this one is in."""
    package = tmp_path / "package"
    (package / "runs").mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(provenance.__file__, package / "runs/provenance.py")
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "x")
    return tmp_path


def commit(checkout: Path) -> str:
    code = "import sys, types; sys.modules['torch'] = types.ModuleType('torch')\n"  # it takes seconds
    code += "import provenance; print(provenance.commit())"
    environment = {**os.environ, "PYTHONPATH": str(checkout / "package/runs")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_checkout_of_this_package_and_says_if_files_were_changed(checkout):
    assert commit(checkout) == "None", "this checkout is of something else: the package is installed in it"
    git(checkout, "add", "package")
    git(checkout, "commit", "-q", "-m", "y")
    head = git(checkout, "rev-parse", "HEAD")
    (checkout / "notes").touch()
    assert commit(checkout) == head
    (checkout / "package/__init__.py").write_text("x = 1\n")
    assert commit(checkout) == f"{head}+"


def test_machine_and_versions_are_those_of_this_process():
    assert "cores of" in provenance.machine() and "GB of memory" in provenance.machine()
    versions = provenance.versions()
    assert versions["python"] == platform.python_version() and versions["torch"] == torch.__version__
