"""Settings of a command: flags, or a file of settings with flags after it."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from .old_names import with_new_names

FILE_SUFFIXES = (".yaml", ".yml", ".json")


class SettingsLoader(yaml.SafeLoader):
    """YAML with the values of YAML 1.2: only `true` and `false` are booleans, so that `no` stays a language; no dates;
    numbers as in JSON."""


SettingsLoader.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:[0-9]+[eE][-+]?[0-9]+|(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?)", list("-+.0123456789")),
):
    SettingsLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{pattern})$"), first)


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML or JSON file, under today's names.

    Values stay text, as on a command line: `no` is a language, and `1` is text. Within a mapping they have types.

    Returns:
        By name: text, a list of texts, a mapping, or `None`.

    Raises:
        ValueError: the file is no YAML, or it holds no mapping of settings.
    """
    loader = SettingsLoader(Path(path).read_text(encoding="utf-8"))  # JSON is YAML
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise ValueError(f"{path} holds no settings. Expected lines such as `languages: [gl]`.")
        settings = {loader.construct_object(name): _as_written(loader, value) for name, value in root.value}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from None
    return with_new_names(settings, path)


def _as_written(loader: SettingsLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_as_written(loader, child) for child in node.value]
    if isinstance(node, yaml.MappingNode):
        return loader.construct_object(node, deep=True)
    return None if node.tag == "tag:yaml.org,2002:null" else node.value


def parse_settings(parser: HfArgumentParser, argv: list[str]) -> tuple:
    """Parses flags, or a YAML or JSON file of settings with flags after it. These flags win over the file.

    Names of earlier versions in the file are read as those of today, with a warning.

    Returns:
        An instance of each of the parser's dataclasses. A file that holds no mapping or has unknown settings ends the
        program with a message, as a wrong flag does.
    """
    if not argv or Path(argv[0]).suffix not in FILE_SUFFIXES:
        return parser.parse_args_into_dataclasses(argv)
    try:
        settings = read_settings(argv[0])
    except ValueError as error:
        parser.error(str(error))
    unknown = sorted(settings.keys() - _names(parser), key=str)
    if unknown:
        parser.error(f"{argv[0]} has unknown settings: {', '.join(map(str, unknown))}. --help lists the known ones.")
    flags = []
    for name, value in settings.items():
        if value is None:
            continue
        if isinstance(value, list):
            flags += [f"--{name}", *value]
        else:
            flags.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
    return parser.parse_args_into_dataclasses([*flags, *argv[1:]])


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
