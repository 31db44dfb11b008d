"""Settings of a command: flags, or a file of settings with flags after it."""

import argparse
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser

from .settings_file import read_settings

FILE_SUFFIXES = (".yaml", ".yml", ".json")


def parse_settings(parser: HfArgumentParser, argv: list[str]) -> tuple:
    """Parses flags, or a YAML or JSON file of settings with flags after it. These flags win over the file.

    A value of the file is never read as a flag, so it may begin with a hyphen. Names of earlier versions in the file
    are read as those of today, with a warning.

    Returns:
        An instance of each of the parser's dataclasses. A file that holds no mapping, has unknown settings or values
        that a setting cannot take ends the program with a message, as a wrong flag does.
    """
    if not argv or Path(argv[0]).suffix not in FILE_SUFFIXES:
        return parser.parse_args_into_dataclasses(argv)
    try:
        settings = read_settings(argv[0])
        unknown = sorted(settings.keys() - _names(parser))
        if unknown:
            raise ValueError(f"{argv[0]} has unknown settings: {', '.join(unknown)}. --help lists the known ones.")
        for action in parser._actions:
            if action.nargs != 0 and (value := settings.get(action.dest)) is not None:
                action.default, action.required = _value_of(action, value, argv[0]), False
    except ValueError as error:
        parser.error(str(error))
    return parser.parse_args_into_dataclasses(argv[1:])


def _value_of(action: argparse.Action, value: Any, file: str) -> Any:
    """The value in a file for a flag, converted and checked as on the command line.

    Raises:
        ValueError: the flag cannot take it.
    """
    name, takes_several = action.dest, action.nargs == "+"
    if isinstance(value, dict):
        value = json.dumps(value)
    if isinstance(value, list) and len(value) != 1 and not (takes_several and value):
        expected = "one value or more" if takes_several else "one value"
        raise ValueError(f"{file}: {name}: expected {expected}, got a list of {len(value)}.")
    texts = value if isinstance(value, list) else [value]
    values = []
    for text in texts:
        try:
            converted = parse(text) if callable(parse := action.type) else text
        except argparse.ArgumentTypeError as error:
            raise ValueError(f"{file}: {name}: {error}.") from None
        except (TypeError, ValueError):
            kind = getattr(action.type, "__name__", "such a")
            raise ValueError(f"{file}: {name}: invalid {kind} value: {text!r}.") from None
        if action.choices is not None and converted not in action.choices:
            choices = ", ".join(map(str, action.choices))
            raise ValueError(f"{file}: {name}: expected one of {choices}, got {text!r}.")
        values.append(converted)
    return values if takes_several else values[0]


def _names(parser: HfArgumentParser) -> set[str]:
    return {field.name for one in parser.dataclass_types for field in dataclasses.fields(one) if field.init}


def defaults_of(*classes: type) -> dict[str, Any]:
    """The default of each field of some dataclasses, by name; fields without a default are left out."""
    defaults = {}
    for field in (field for one in classes for field in dataclasses.fields(one)):
        if field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
    return defaults


def split_name(text: str) -> tuple[str | None, str]:
    """Name and rest of `name=rest`; `None` and the complete text if it does not begin with a name and `=`.

    Example:
        >>> split_name("small=openai/whisper-small"), split_name("openai/whisper-small")
        (('small', 'openai/whisper-small'), (None, 'openai/whisper-small'))
    """
    named = re.fullmatch(r"([^=/:?]+)=(.*)", text, re.DOTALL)
    return (named[1], named[2]) if named else (None, text)
