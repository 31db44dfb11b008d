"""The command line: what it lists, what each command says of itself, and errors that a user can mend in one line."""

import argparse
import ast
import configparser
import re
import subprocess
import sys

import pytest
from helpers.scripts import ROOT

import distilwhisper_cli
from modeling_distilwhisper.commands import command_line
from modeling_distilwhisper.commands.command_line import command
from modeling_distilwhisper.commands.evaluate import EvaluationArguments
from modeling_distilwhisper.runs.extras import EXTRAS, require

PACKAGE = ROOT / "modeling_distilwhisper"
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def names_in(requirements: str) -> set[str]:
    """The import names of the libraries in a list of setup.cfg."""
    distributions = re.findall(r"^([\w-]+)", requirements, re.MULTILINE)
    return {{"pyyaml": "yaml"}.get(name, name.replace("-", "_")) for name in distributions}


def test_help_lists_every_command_in_its_group_and_waits_for_no_heavy_library():
    code = "import sys, distilwhisper_cli\ndistilwhisper_cli.main(['--help'])\n"
    code += "print('heavy:', {'torch', 'transformers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "heavy: set()"
    for group, commands in distilwhisper_cli.GROUPS.items():
        start = lines.index(f"{group}:") + 1
        assert [line.split()[0] for line in lines[start : start + len(commands)]] == list(commands)
    assert max(map(len, lines)) <= 120


def test_every_module_of_a_command_has_a_name_that_starts_it():
    modules = {path.stem for path in (PACKAGE / "commands").glob("*.py")}
    parts = {"__init__", "command_line", "errors", "demo_limits", "demo_page", "export_whisper", "export_onnx"}
    assert {module for module, _ in distilwhisper_cli.COMMANDS.values()} == modules - parts


MODES = (["export", "--format", "onnx"], ["benchmark", "quality"])  # that have a parser of their own


@pytest.mark.parametrize("words", [*([name] for name in distilwhisper_cli.COMMANDS), *MODES])
def test_a_command_describes_itself_and_its_settings(words, capsys, monkeypatch):
    parsers, print_help = [], argparse.ArgumentParser.print_help
    monkeypatch.setattr(argparse.ArgumentParser, "print_help", lambda self: (parsers.append(self), print_help(self)))
    with pytest.raises(SystemExit) as ended:
        distilwhisper_cli.main([*words, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert shown.startswith(f"usage: distilwhisper {' '.join(words)}")
    assert f"    distilwhisper {' '.join(words)} " in shown, "the description shows how it is called"
    (parser,) = parsers
    assert [action.dest for action in parser._actions if not action.help] == [], "settings without a description"


def test_settings_of_transformers_are_taken_but_do_not_fill_the_help(capsys):
    with pytest.raises(SystemExit):
        distilwhisper_cli.main(["train", "--help"])
    shown = capsys.readouterr().out
    assert "--torch_compile" not in shown and "Seq2SeqTrainingArguments" in shown
    assert "--kd_beta" in shown and "--seed" in shown and "--gate_budget" in shown


def test_a_setting_that_does_not_exist_is_named_with_the_usage(capsys):
    required = ["--models", "a", "--data", "b", "--languages", "gl", "--output_dir", "c"]
    with pytest.raises(SystemExit) as ended:
        distilwhisper_cli.main(["gates", *required, "--x", "1"])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.startswith("usage: distilwhisper gates [settings.yaml] --models ... --data")
    assert "distilwhisper gates: error: unknown settings: ['--x', '1']." in error


@pytest.mark.parametrize(
    ("asked", "near"), [("trian", "train"), ("cache_teacher", "cache-teacher"), ("evaluate", "eval")]
)
def test_an_unknown_command_names_the_nearest_and_all(asked, near, capsys):
    assert distilwhisper_cli.main([asked]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"distilwhisper: error: there is no command '{asked}'. Did you mean '{near}'?")
    assert error.count("\n") == 1 and all(name in error for name in distilwhisper_cli.COMMANDS)


def test_the_version_is_that_of_the_package(capsys):
    assert distilwhisper_cli.main(["--version"]) == 0
    assert re.fullmatch(r"distilwhisper \d\S*\n", capsys.readouterr().out)


def test_without_a_command_the_help_is_an_error(capsys):
    assert distilwhisper_cli.main([]) == 2
    assert "Train and evaluate:" in capsys.readouterr().err


def refusing(error: Exception):
    """A command that raises, from a function of the package if the error is the package's."""

    def main(argv, prog):
        raise error

    return command(main)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file or directory", "x"), "x: There is no such file or folder. Check the path."),
        (OSError("no model\n  there"), "no model there"),
        (
            ModuleNotFoundError("No module named 'peft'", name="peft.tuners"),
            'this needs peft, which is not installed. Install it: pip install "modeling_distilwhisper[compare]"',
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, line, capsys):
    assert refusing(error)([], "distilwhisper train") == 1
    assert capsys.readouterr().err == f"distilwhisper train: error: {line}\n"


def test_a_message_of_the_package_is_one_line_and_a_bug_keeps_its_traceback(capsys):
    def wrong(argv, prog):
        require("no_such_library", extra="demo")

    assert command(wrong)([], "distilwhisper x") == 1
    assert capsys.readouterr().err == (
        "distilwhisper x: error: this needs no_such_library, which is not installed. "
        'Install it: pip install "modeling_distilwhisper[demo]"\n'
    )
    assert refusing(ValueError("--x must be 1"))([], "distilwhisper x") == 1
    assert capsys.readouterr().err == "distilwhisper x: error: --x must be 1\n"
    for bug in (KeyError("x"), TypeError("x"), AttributeError("x"), AssertionError("x"), RuntimeError("x")):
        with pytest.raises(type(bug)):
            refusing(bug)([], "distilwhisper x")


def test_a_line_about_an_unexpected_kind_of_error_says_how_to_see_where_it_was_raised(capsys, monkeypatch):
    unexpected = ImportError("no nothing", name="nothing")
    assert refusing(unexpected)([], "distilwhisper x") == 1
    assert capsys.readouterr().err == (
        "distilwhisper x: error: ImportError: no nothing (DISTILWHISPER_TRACEBACK=1 shows where.)\n"
    )
    monkeypatch.setenv("DISTILWHISPER_TRACEBACK", "1")
    for error in (unexpected, ValueError("--x must be 1")):
        with pytest.raises(type(error)):
            refusing(error)([], "distilwhisper x")


def test_flags_of_earlier_versions_are_read_by_every_command():
    assert command(lambda argv, prog: argv.index("--precision"))(["x", "--dtype", "int8"], "distilwhisper x") == 1


def test_only_the_main_process_prints_lines_for_people(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        for name in ("RANK", "LOCAL_RANK"):
            monkeypatch.setenv(name, rank)
        command_line.say(f"from {rank}")
    assert capsys.readouterr().out == "from 0\n"


def test_pictures_are_left_out_without_matplotlib(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert command_line.import_figures() is None
    line = capsys.readouterr().out
    assert 'pip install "modeling_distilwhisper[plots]"' in line and line.count("\n") == 1


def test_every_library_that_the_package_imports_is_required_or_in_the_extra_that_errors_name():
    extras = {name: names_in(listed) for name, listed in SETUP["options.extras_require"].items()}
    for library, extra in EXTRAS.items():
        assert library in extras[extra], f"setup.cfg: the extra {extra} must bring {library}"
    required = names_in(SETUP["options"]["install_requires"]) | {"tokenizers", "modeling_distilwhisper"}
    required.add("starlette")  # a part of Gradio, which `require` asks for first
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names):
                assert name in required | {"distilwhisper_cli"} or name in EXTRAS, f"{path.name} imports {name}"


def test_languages_are_understood_however_a_flag_or_a_file_of_settings_writes_them(tmp_path):
    (tmp_path / "settings.yaml").write_text(
        "models: [base]\ndata: [speech]\noutput_dir: here\nlanguages: [Catalan, no]\n"
    )
    file = str(tmp_path / "settings.yaml")
    for argv, codes in (([file], ["ca", "no"]), ([file, "--languages", "jv", "ca-ES", "CA"], ["jw", "ca"])):
        (arguments,) = command_line.parse_dataclasses("", argv, "eval", EvaluationArguments)
        assert arguments.languages == codes
    for wrong in ("../x", "Klingon", "zh-TW"):
        with pytest.raises(ValueError, match="Whisper has"):
            command_line.parse_dataclasses("", [file, "--languages", wrong], "eval", EvaluationArguments)
