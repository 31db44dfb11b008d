"""The commands in the docs: test_docs_run.py runs them, or their parsers read them here. Any other command fails, and
so does a broken link."""

import configparser
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from helpers.pages import PAGES, PARSED, PYTHON, ROOT, RUN, SAME, Block, blocks, commands, program, script_of
from helpers.scripts import run_script

NEEDS_DEMO = "examples/demo.py"  # and with it the extra of that name, for its parser too
MAKER = "examples/quickstart/make/make.py"  # takes a folder, and needs espeak-ng and half an hour
SERVER = ("curl", "docker", "ray")  # programs beside `distilwhisper serve`
CONVERTER = "ctranslate2.converters.transformers"  # which ct2-transformers-converter starts


def all_commands() -> list[tuple[str, list[str]]]:
    found = []
    for page in PAGES:
        for block in blocks(page):
            if block.language == "bash":
                found += [(block.place, command) for command in commands(block)]
    return found


def test_every_block_is_run_or_is_a_listing_and_no_page_is_without_blocks():
    for page in PAGES:
        assert {block.language for block in blocks(page)} <= {"bash", "python", "csv"}, page
        assert blocks(page), page


@cache
def finished(module: str, *arguments: str) -> subprocess.CompletedProcess:
    """What `python -m module` ended with, once for all pages."""
    return subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True)


def require_known(place: str, command: list[str]) -> None:
    """Fails for a command that nothing here runs or checks; checks those that are not scripts."""
    while re.fullmatch(r"DISTILWHISPER_TEST_\w+=\S+", command[0]):
        command = command[1:]
    name, rest = program(command), command[1:]
    script = script_of(command)
    if script and script[0] != MAKER:
        assert script[0] in {**RUN, **PARSED}, f"{place}: no test runs or parses {script[0]}"
        assert script[0].startswith("distilwhisper ") or (ROOT / script[0]).is_file(), place
    elif name in PYTHON and rest[:2] == ["-m", "pytest"]:
        done = finished(*rest[1:], "--noconftest", "--markers")
        assert done.returncode == 0, f"{place}: {done.stderr}"
        assert all((ROOT / word).is_file() for word in rest if word.startswith("tests")), place
        marker = rest[rest.index("-m", 1) + 1] if "-m" in rest[1:] else None
        assert marker is None or f"@pytest.mark.{marker}:" in done.stdout, f"{place}: there is no marker {marker}"
    elif name == "pip" and rest[-2:] == ["--index-url", "https://download.pytorch.org/whl/cpu"]:  # not run: a network
        assert [word for word in rest[:-3] if word != "-q"] == ["install"], place
        assert rest[-3] in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines(), place
    elif name == "pip":
        assert set(rest[1:-1]) <= {"-q", "-c", "constraints.txt", "-e"} and rest[0] == "install", place
        settings = configparser.ConfigParser()
        settings.read(ROOT / "setup.cfg")
        package = re.fullmatch(r"(?:\.|modeling_distilwhisper)(?:\[([\w,-]+)\])?", rest[-1])
        assert package, place
        wanted = package[1].split(",") if package[1] else []
        assert set(wanted) <= set(settings["options.extras_require"]), place
    elif name in PYTHON and rest == ["-m", "mypy"]:
        settings = configparser.ConfigParser()
        settings.read(ROOT / "setup.cfg")
        assert settings["mypy"]["files"], place
    elif name == "mkdocs":
        assert rest == ["build", "--strict"] and (ROOT / "mkdocs.yml").is_file(), place
    elif name == "pre-commit":
        assert rest == ["install"] and (ROOT / ".pre-commit-config.yaml").is_file(), place
    elif name == "ruff":
        exit_zero = [] if rest[0] == "format" else ["--exit-zero"]
        assert finished("ruff", *rest[:-1], "tests/helpers/pages.py", *exit_zero).returncode == 0, place
    elif name == "hf":
        done = finished("huggingface_hub.cli.hf", *rest, "--help")
        assert done.returncode == 0, f"{place}: {done.stderr}"
    elif name == "distilwhisper":
        assert rest in (["--help"], ["--version"]), place
    else:
        known = (
            name == "ct2-transformers-converter"
            or (name == "bash" and "ffmpeg" in rest[-1])
            or (name == "cp" and place.startswith("examples/quickstart/README.md"))
            or (name in SERVER and place.startswith("docs/serve.md"))
            or (name in PYTHON and rest[0] == MAKER and len(rest) == 2 and (ROOT / MAKER).is_file())
            or [name, *rest] in (["python3", "-m", "venv", ".venv"], ["source", ".venv/bin/activate"])
        )
        assert known, f"{place}: no test runs or checks {' '.join(command)!r}"


def test_every_command_is_known_to_these_tests():
    for place, command in all_commands():
        require_known(place, command)


@pytest.mark.parametrize(
    "command", ["curl example.org", "python examples/new.py", "pip install x", "python -m pytest -m quick", "rm -r x"]
)
def test_a_command_that_nothing_runs_is_noticed(command):
    (words,) = commands(Block("bash", command, "here:1"))
    with pytest.raises(AssertionError, match="here:1"):
        require_known("here:1", words)


def scripts_to_parse(demo: bool) -> list[list[str]]:
    every = [script for _, command in all_commands() if (script := script_of(command)) and script[0] != MAKER]
    every += [
        [CONVERTER, *command[1:]] for _, command in all_commands() if program(command) == "ct2-transformers-converter"
    ]
    return [script for script in every if (SAME.get(script[0], script[0]) == NEEDS_DEMO) == demo]


def parse(scripts: list[list[str]], folder: Path) -> tuple[int, str]:
    listing = folder / "commands.json"
    listing.write_text(json.dumps(scripts))
    code, _, errors = run_script(ROOT / "tests/helpers/parse_only.py", listing, cwd=ROOT)
    return code, errors


def test_every_scripts_own_parser_takes_its_flags_and_settings(tmp_path):
    scripts = scripts_to_parse(demo=False)
    shown = {SAME.get(script[0], script[0]) for script in scripts}
    known = {SAME.get(name, name) for name in {*RUN, *PARSED}}
    assert shown == {*known, CONVERTER} - {NEEDS_DEMO}, "each script is in the docs, or the command that does the same"
    code, errors = parse(scripts, tmp_path)
    assert code == 0, errors[-3000:]


@pytest.mark.browser
def test_the_pages_own_parser_takes_its_flags(tmp_path):
    scripts = scripts_to_parse(demo=True)
    code, errors = parse(scripts, tmp_path)
    assert scripts and code == 0, errors[-3000:]


def test_a_flag_that_a_script_has_not_is_noticed(tmp_path):
    code, errors = parse([["examples/make_card.py", "run", "--licence", "apache-2.0"]], tmp_path)
    assert code == 2 and "unrecognized arguments: --licence" in errors


def headings(path: Path) -> set[str]:
    """Anchors of a page, as GitHub makes them of its headings."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_to_files_and_headings_that_are_there():
    tracked = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    pages = [ROOT / name for name in tracked.stdout.split()]
    assert {*PAGES.values()} <= {*pages}
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)):
            if re.match(r"\w+://", target) or "{" in target:
                continue
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            if not path.exists() or (anchor and anchor not in headings(path)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken
