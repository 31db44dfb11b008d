"""Settings of a script: flags, or a file of them with flags behind it."""

import json
import re
from pathlib import Path

import yaml
from transformers import HfArgumentParser


def parse_settings(parser: HfArgumentParser, argv: list[str]) -> tuple:
    """Parses flags, or a YAML or JSON file of settings with flags behind it, which win over the file's.

    Returns:
        An instance of each of the parser's dataclasses. A file that is no mapping or has a setting that there is not
        ends the program with a message, as a wrong flag does.
    """
    if not argv or Path(argv[0]).suffix not in (".yaml", ".yml", ".json"):
        return parser.parse_args_into_dataclasses(argv)
    text = Path(argv[0]).read_text(encoding="utf-8")
    try:
        settings, words = yaml.safe_load(text), yaml.load(text, Loader=yaml.BaseLoader)  # JSON is YAML
    except yaml.YAMLError as error:
        parser.error(f"{argv[0]} is no YAML: {error}")
    if not isinstance(settings, dict):
        parser.error(f"{argv[0]} holds no settings. Expected lines such as `languages: [gl]`.")
    unknown = sorted(settings.keys() - {action.dest for action in parser._actions})
    if unknown:
        parser.error(f"{argv[0]} has settings that there are not: {', '.join(map(str, unknown))}")
    flags = []
    for name, value in settings.items():
        # As they are written: `no` is a language. Only what is a mapping goes as JSON, as on the command line.
        written = json.dumps(value) if isinstance(value, dict) else words[name]
        if value is not None:
            flags += [f"--{name}", *written] if isinstance(written, list) else [f"--{name}={written}"]
    return parser.parse_args_into_dataclasses([*flags, *argv[1:]])


def split_name(written: str) -> tuple[str | None, str]:
    """Name and rest of `name=rest`; `None` and all of it where nothing that could be a name stands in front."""
    named = re.fullmatch(r"([^=/:?]+)=(.*)", written, re.DOTALL)
    return (named[1], named[2]) if named else (None, written)
