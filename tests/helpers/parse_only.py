"""Gives command lines to the scripts' own argument parsers and goes no further.

python tests/helpers/parse_only.py commands.json: a list of [script, module or "distilwhisper train", arguments...],
from the folder that they are started from. Ends with the first that is refused, with what the parser says.
"""

import argparse
import json
import runpy
import sys
import tempfile
from pathlib import Path

import yaml
from transformers import HfArgumentParser

import distilwhisper_cli
from modeling_distilwhisper.commands.comparison.plan import read_plan, without_blanks


class Parsed(BaseException):
    """What a parser made of its arguments; nothing in a script catches it."""


def instead_of(parse):
    def stop(self, *arguments, **settings):
        raise Parsed(parse(self, *arguments, **settings))

    return stop


def parsed(script: str, arguments: list[str]):
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).resolve().parent))
    try:
        if script.startswith("distilwhisper "):
            distilwhisper_cli.main([*script.split()[1:], *arguments])
        else:
            run = runpy.run_path if script.endswith(".py") else runpy.run_module
            run(script, run_name="__main__")
    except Parsed as what:
        return what.args[0]
    finally:
        sys.path.pop(0)
    raise RuntimeError(f"{script} ran to its end without parsing its arguments.")


def parse_comparison(file: Path) -> None:
    """The settings of each system of a comparison are settings of a training."""
    plan = read_plan(file, "out", {})
    for run in plan.runs:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as settings:
            yaml.safe_dump(without_blanks({**plan.shared, **run.settings, "output_dir": "out"}), settings)
            parsed("distilwhisper train", [settings.name])


def main() -> None:
    argparse.ArgumentParser.parse_args = instead_of(argparse.ArgumentParser.parse_args)
    HfArgumentParser.parse_args_into_dataclasses = instead_of(HfArgumentParser.parse_args_into_dataclasses)
    for script, *arguments in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        print(script, *arguments, file=sys.stderr, flush=True)
        namespace = parsed(script, arguments)
        if script in ("examples/compare.py", "distilwhisper compare"):
            parse_comparison(namespace.comparison)


if __name__ == "__main__":
    main()
