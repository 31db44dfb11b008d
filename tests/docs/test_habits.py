"""Files that readers and tools rely on: the first page, the reference, the citation, checks that run elsewhere."""

import configparser
import inspect
import re
from pathlib import Path

import yaml

import modeling_distilwhisper

ROOT = Path(__file__).parents[2]
PACKAGE = "modeling_distilwhisper"
CHECKS = ("ruff check", "ruff format", "mypy")


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_the_first_page_is_read_in_two_minutes():
    shown = re.sub(r"<!--.*?-->\n+", "", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(shown.splitlines()) <= 150


def test_every_public_name_stands_once_in_the_reference():
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs/reference").glob("*.md")]
    shown = re.findall(r"^::: modeling_distilwhisper\.(\w+)$", "\n".join(pages), re.MULTILINE)
    assert sorted(shown) == sorted(modeling_distilwhisper.__all__)


def test_the_reference_shows_the_methods_that_users_call_on_a_model():
    page = (ROOT / "docs/reference/model.md").read_text(encoding="utf-8")
    entry = page.split("::: modeling_distilwhisper.DistilWhisperForConditionalGeneration\n")[1].split(":::")[0]
    shown = yaml.safe_load(entry)["options"]["inherited_members"]
    model = modeling_distilwhisper.DistilWhisperForConditionalGeneration
    mixins = [base for base in model.__mro__ if base.__name__.endswith("Mixin") and base.__module__.startswith(PACKAGE)]
    methods = {
        name
        for base in mixins
        for name, value in vars(base).items()
        if not name.startswith("_") and inspect.isroutine(getattr(base, name)) and ">>> " in (value.__doc__ or "")
    }
    assert methods <= set(shown), f"Add {methods - set(shown)} to docs/reference/model.md."
    for name in shown:
        assert inspect.getdoc(getattr(model, name)), name


def test_every_page_of_the_docs_is_in_the_sites_navigation():
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = set(re.findall(r"[\w/]+\.md", str(navigation)))
    made = {"index.md", "contribute.md", "changelog.md"}  # of pages in the root
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert listed == pages | made


def test_the_citation_is_of_this_software_and_of_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["license"] == settings()["metadata"]["license_expression"]
    paper = citation["preferred-citation"]
    assert paper["title"].startswith("Multilingual DistilWhisper")
    assert [author["family-names"] for author in paper["authors"]] == ["Ferraz", "Zanon Boito", "Brun", "Nikoulina"]


def test_every_library_that_an_extra_names_is_pinned_for_the_tests():
    lines = [settings()["options"]["install_requires"], *settings()["options.extras_require"].values()]
    named = {re.split(r"[\[>]", line)[0].lower() for lines_of_one in lines for line in lines_of_one.split()}
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert named <= pinned, f"Add {named - pinned} to constraints.txt."


def test_users_get_the_type_annotations():
    assert (ROOT / "modeling_distilwhisper/py.typed").is_file()
    assert "py.typed" in settings()["options.package_data"]["modeling_distilwhisper"].split()


def test_hooks_and_the_workflow_check_what_the_test_command_checks():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = readme.split("<!-- test command -->")[1].split("```")[1]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    steps = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    for check in CHECKS:
        assert check in command
        assert any(check in hook["entry"] for hook in hooks), check
        assert any(check in step for step in steps), check
    assert "pytest" in command and any("pytest" in step for step in steps)
    assert "mkdocs build --strict" in steps
