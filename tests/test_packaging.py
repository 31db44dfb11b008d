"""What people get from a package index is complete, and what it says about itself is true."""

import email
import re
import subprocess
import sys
import tarfile

import pytest
import yaml
from helpers.scripts import ROOT

import modeling_distilwhisper


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metadata")
    build = f"from setuptools import build_meta as b; b.prepare_metadata_for_build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.dist-info/METADATA")
    return email.message_from_string(path.read_text(encoding="utf-8"))


def test_one_version_stands_everywhere(metadata):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert metadata["Version"] == citation["version"] == modeling_distilwhisper.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## .*{re.escape(metadata['Version'])}", changes, re.MULTILINE)


def test_on_a_page_of_the_package_alone_every_link_leads_somewhere(metadata):
    source = dict(value.split(", ") for value in metadata.get_all("Project-URL"))["Source"]
    targets = re.findall(r"\]\(([^)\s]+)\)", metadata.get_payload())
    assert len(targets) > 10
    for target in targets:
        address, _, _ = target.partition("#")
        assert re.match(r"https?://", target) or target.startswith("#"), f"{target} leads nowhere"
        kind, _, path = address.removeprefix(f"{source}/").partition("/main/")
        if address.startswith(source):
            assert kind == ("raw" if path.endswith((".svg", ".png")) else "blob"), f"{target} is the wrong kind of link"
            assert (ROOT / path).is_file(), f"{target} is not in the repository"


def test_who_why_and_where_stand_in_the_metadata(metadata):
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["License-File"] == "LICENSE"
    assert metadata["Maintainer"] and metadata["Author"] and metadata["Keywords"]
    names = {value.split(", ")[0] for value in metadata.get_all("Project-URL")}
    assert names == {"Source", "Documentation", "Changelog", "Issues", "Paper"}
    pythons = re.findall(r"Python :: (3\.\d+)", str(metadata.get_all("Classifier")))
    assert metadata["Requires-Python"] == f">={pythons[0]}"
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["versions"]["strategy"]["matrix"]["include"]
    assert pythons == [job["python"] for job in matrix], "each is tested"


@pytest.mark.slow
def test_a_source_distribution_has_every_file_of_the_repository(tmp_path):
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("this is no checkout of git")
    build = f"from setuptools import build_meta as b; b.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert not {*tracked.stdout.splitlines()} - names - {".gitignore"}
    assert not [name for name in names if "__pycache__" in name]
