"""Names that earlier versions used in flags, settings files and results, read as the names of today."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.utils import logging

logger = logging.get_logger(__name__)

# Old name -> new name, of flags, settings and keys of JSON files.
NAMES = {
    "dtype": "precision",
    "dtypes": "precision",
    "precisions": "precision",
    "openness": "expert usage",
    "openness at inference": "expert usage at inference",
    "encoder_openness": "encoder_expert_usage",
    "decoder_openness": "decoder_expert_usage",
}
PREFIXES = {"openness_": "expert_usage_"}  # a figure of the training log for each language: openness_gl
# By the new name of a setting: old value -> new value.
VALUES = {"normalizer": {"paper": "report"}}


def with_new_names(content: Any, source: str | Path) -> Any:
    """The content of a settings file or a results file with today's names in place of earlier ones, at any depth.

    One warning names all that changed.

    Args:
        content: mappings, lists and values, as JSON has them. It is not changed.
        source: what the warning calls it: the file's path.

    Example:
        >>> with_new_names({"model": {"precision": "nf4"}}, "settings.json")
        {'model': {'precision': 'nf4'}}
    """
    changes: dict[str, str] = {}
    renamed = _renamed(content, changes)
    _warn(changes, source)
    return renamed


def with_new_flags(argv: list[str]) -> list[str]:
    """A command line with today's names in place of earlier ones. One warning names all that changed.

    Example:
        >>> with_new_flags(["--precision", "nf4"])
        ['--precision', 'nf4']
    """
    changes: dict[str, str] = {}
    flags, name = [], ""
    for word in argv:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = _new_name(name, changes)
            flags.append(f"--{name}{equals}{_new_value(name, value, changes)}")
        else:
            flags.append(_new_value(name, word, changes))
    _warn(changes, "The command line")
    return flags


def read_json(path: str | Path) -> Any:
    """The content of a JSON file of a run (`settings.json`, `results.json`, `summary.json`), with today's names.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return with_new_names(json.loads(Path(path).read_text(encoding="utf-8")), path)


def _renamed(content: Any, changes: dict[str, str]) -> Any:
    if isinstance(content, list):
        return [_renamed(value, changes) for value in content]
    if not isinstance(content, Mapping):
        return content
    renamed = {}
    for name, value in content.items():
        new = _new_name(name, changes)
        renamed[new] = _new_value(new, _renamed(value, changes), changes)
    return renamed


def _new_name(name: str, changes: dict[str, str]) -> str:
    new = NAMES.get(name, name)
    for prefix, new_prefix in PREFIXES.items():
        if name.startswith(prefix):
            new = new_prefix + name.removeprefix(prefix)
    if new != name:
        changes[name] = new
    return new


def _new_value(name: str, value: Any, changes: dict[str, str]) -> Any:
    new = VALUES.get(name, {}).get(value, value) if isinstance(value, str) else value
    if new != value:
        changes[f"{name} {value}"] = f"{name} {new}"
    return new


def _warn(changes: dict[str, str], source: str | Path) -> None:
    if changes:
        listed = ", ".join(f"{old} -> {new}" for old, new in changes.items())
        logger.warning(f"{source} uses names of an earlier version, which are read as those of today: {listed}.")
