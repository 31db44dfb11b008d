"""Numbers say which code made them: the commit of a checkout and what was changed since, or the version."""

import subprocess

import pytest

from modeling_distilwhisper.runs import origin


def git(folder, *command):
    subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "checkout/package"
    folder.mkdir(parents=True)
    for name in ("__init__.py", "room.py"):
        (folder / name).write_text("")
    git(tmp_path / "checkout", "init", "-q")
    return folder


def commit(package):
    me = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    git(package, "add", ".")
    git(package, *me, "commit", "-q", "-m", "x")


def test_changed_files_are_named_beside_the_commit_that_they_are_not_of(package):
    commit(package)
    assert list(origin.code(package)) == ["commit"]
    (package / "room.py").write_text("x = 1\n")
    (package / "new.py").write_text("")
    (package.parent / "notes.txt").write_text("no part of the package")
    assert origin.code(package)["modified"] == ["new.py", "room.py"]


def test_a_package_installed_within_another_projects_checkout_is_not_of_its_commit(package):
    (package / "own.txt").write_text("")
    git(package, "add", "own.txt")
    git(package, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-q", "-m", "x")
    assert list(origin.code(package)) == ["version"], "an environment in the folder of a project, say"


def test_without_git_it_is_the_version(package, monkeypatch):
    commit(package)
    monkeypatch.setenv("PATH", "")
    assert list(origin.code(package)) == ["version"]


def test_all_that_decides_over_numbers_is_named_and_no_path():
    made = origin.origin()
    assert {"machine", "threads", "packages", "date"} < made.keys() and made["packages"]["torch"]
    assert " of " in made["machine"] and "/" not in made["machine"]
