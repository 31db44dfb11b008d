"""Reads a file of settings, YAML or JSON: only what settings need, and nothing that could unfold without limit."""

import re
from pathlib import Path
from typing import Any

import yaml

from .forms import shortened
from .old_names import with_new_names

MAX_BYTES, MAX_VALUES, MAX_DEPTH = 256_000, 10_000, 10
NULL = "tag:yaml.org,2002:null"
TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "null", "bool", "int", "float", "seq", "map")}


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
        FileNotFoundError: there is no such file.
        ValueError: the file is no YAML, or holds something else than settings. The message names file, line and
            setting.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file. Expected a YAML or JSON file of settings.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes. Expected settings, in {MAX_BYTES} bytes at most.")
    try:
        loader = SettingsLoader(path.read_bytes())  # JSON is YAML
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise ValueError("it holds no settings. Expected lines such as `languages: [gl]`.")
        settings = _Reader(loader).settings(root)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: its lists and mappings are too deep for settings.") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return with_new_names(settings, path)


class _Reader:
    """Turns nodes of YAML into values, and counts them: an alias stands for all that it repeats."""

    def __init__(self, loader: SettingsLoader):
        self.loader, self.values = loader, 0

    def settings(self, root: yaml.MappingNode) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        for name, node in self.pairs(root, ""):
            if isinstance(node, yaml.SequenceNode):
                settings[name] = [self.text(child, name) for child in self.counted(node, name).value]
            elif isinstance(node, yaml.MappingNode):
                settings[name] = self.typed(node, name, 1)
            else:
                settings[name] = None if node.tag == NULL else self.text(node, name)
        return settings

    def pairs(self, node: yaml.MappingNode, name: str) -> list[tuple[str, yaml.Node]]:
        """Keys and nodes of a mapping, each key once."""
        pairs: dict[str, yaml.Node] = {}
        for key, value in self.counted(node, name).value:
            if not isinstance(key, yaml.ScalarNode):
                raise ValueError(f"{_line(key)}: expected a name in front of the colon, got a list or a mapping.")
            title = f"{name}.{self.counted(key, name).value}".strip(".")
            if key.value in pairs:
                raise ValueError(f"{_line(key)}: {title} is there twice. Expected each setting once.")
            pairs[key.value] = value
        return list(pairs.items())

    def text(self, node: yaml.Node, name: str) -> str:
        """The text of a single value, as it is written."""
        if not isinstance(node, yaml.ScalarNode) or self.counted(node, name).tag == NULL:
            kinds: dict[type, str] = {yaml.SequenceNode: "a list", yaml.MappingNode: "a mapping"}
            got = kinds.get(type(node), "nothing")
            raise ValueError(f"{_line(node)}: {name}: expected a text or a number, got {got}.")
        return node.value

    def typed(self, node: yaml.Node, name: str, depth: int) -> Any:
        """The value of a node within a mapping: text, number, truth value, list or mapping."""
        if depth > MAX_DEPTH:
            raise ValueError(f"{_line(node)}: {name}: its lists and mappings are too deep for settings.")
        if isinstance(node, yaml.MappingNode):
            return {key: self.typed(value, f"{name}.{key}", depth + 1) for key, value in self.pairs(node, name)}
        if isinstance(node, yaml.SequenceNode):
            return [self.typed(child, name, depth + 1) for child in self.counted(node, name).value]
        try:
            return self.loader.construct_object(self.counted(node, name))
        except ValueError:  # `!!int x`, or a number with thousands of digits
            raise ValueError(f"{_line(node)}: {name}: {shortened(node.value)} is no number.") from None

    def counted(self, node: yaml.Node, name: str) -> yaml.Node:
        """The node, unless there are too many, or its tag asks for another kind of value."""
        self.values += 1
        if self.values > MAX_VALUES:
            raise ValueError(f"{name}: there are more than {MAX_VALUES} values, with those that aliases (*) repeat.")
        if node.tag not in TAGS:
            raise ValueError(f"{_line(node)}: {name}: the tag {node.tag} is not for settings. Leave it out.")
        if isinstance(node, yaml.ScalarNode):
            try:  # JSON writes a letter beyond U+FFFF as two halves, which PyYAML does not join
                node.value = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                raise ValueError(f"{_line(node)}: {name}: half of a letter (\\ud800 to \\udfff) is no text.") from None
        return node


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
