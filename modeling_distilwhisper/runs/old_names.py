"""Names that earlier versions used in flags, settings files and results, read as the names of today."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.utils import logging

from .forms import AGAIN, Form, read_json_file

logger = logging.get_logger(__name__)

# Old name -> new name: of settings and flags, of the keys of results, and of the figures in a training's log.
SETTINGS = {"dtype": "precision", "dtypes": "precision", "precisions": "precision"}
RESULTS = {"openness": "expert usage", "openness at inference": "expert usage at inference"}
SYSTEMS = {"gates shut": "gates closed"}
FIGURES = {"encoder_openness": "encoder_expert_usage", "decoder_openness": "decoder_expert_usage"}
FIGURE_PREFIX = ("openness_", "expert_usage_")  # a figure for each language: openness_gl
# Names are changed only here, since systems and data sets may have any name. The path to a mapping: its old names.
PLACES: dict[tuple[str, ...], dict[str, str]] = {
    (): SETTINGS | RESULTS,
    ("run",): SETTINGS,  # a part of settings.json, as are the next three
    ("model",): SETTINGS,
    ("data",): SETTINGS,
    ("training",): SETTINGS,
    ("settings", "*"): SETTINGS,  # the same parts in results.json
    ("shared",): SETTINGS,  # of a comparison, as is the next
    ("systems", "*"): SETTINGS,
    ("sources",): {"written": "spec"},  # of rows.json
    ("scores",): SYSTEMS,
    ("log_history",): FIGURES,  # of trainer_state.json
}
# By the new name of a setting: old value -> new value.
VALUES = {"normalizer": {"paper": "report"}}


def with_new_names(content: Any, source: str | Path) -> Any:
    """The content of a settings file or a results file with today's names in place of earlier ones.

    Names are changed where settings and known results stand (`PLACES`); names of systems and data sets stay. One
    warning lists all changes.

    Args:
        content: mappings, lists and values, as JSON has them. It is not changed.
        source: the file's path, for the warning.

    Example:
        >>> with_new_names({"model": {"precision": "nf4"}}, "settings.json")
        {'model': {'precision': 'nf4'}}
    """
    changes: dict[str, str] = {}
    renamed = _renamed(content, (), changes)
    _warn(changes, source)
    return renamed


def with_new_flags(argv: list[str]) -> list[str]:
    """A command line with today's names in place of earlier ones. One warning lists all changes.

    Example:
        >>> with_new_flags(["--precision", "nf4"])
        ['--precision', 'nf4']
    """
    changes: dict[str, str] = {}
    flags, name = [], ""
    for word in argv:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = _new_name(name, SETTINGS, changes)
            flags.append(f"--{name}{equals}{_new_value(name, value, changes)}")
        else:
            flags.append(_new_value(name, word, changes))
    _warn(changes, "The command line")
    return flags


def read_json(path: str | Path, form: Form = dict, advice: str = AGAIN) -> Any:
    """The content of a JSON file of a run (`settings.json`, `results.json`, `summary.json`), with today's names.

    Args:
        path: of the file.
        form: what it must be, as `check_form` takes it.
        advice: what the user can do if it is damaged.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    return with_new_names(read_json_file(path, form, advice), path)


def new_value(name: str, value: str) -> str:
    """Today's value of a setting for a value that earlier versions used, and any other value as it is.

    Example:
        >>> new_value("normalizer", "paper"), new_value("normalizer", "marks")
        ('report', 'marks')
    """
    return VALUES.get(name, {}).get(value, value)


def _renamed(content: Any, place: tuple[str, ...], changes: dict[str, str]) -> Any:
    if isinstance(content, list):
        return [_renamed(value, place, changes) for value in content]
    if not isinstance(content, Mapping):
        return content
    names = PLACES.get(place) or PLACES.get((*place[:-1], "*"), {})
    renamed = {}
    for name, value in content.items():
        new = _new_name(name, names, changes)
        renamed[new] = _new_value(new, _renamed(value, (*place, name), changes), changes)
    return renamed


def _new_name(name: str, names: Mapping[str, str], changes: dict[str, str]) -> str:
    new = names.get(name, name)
    if names is FIGURES and name.startswith(FIGURE_PREFIX[0]):
        new = FIGURE_PREFIX[1] + name.removeprefix(FIGURE_PREFIX[0])
    if new != name:
        changes[name] = new
    return new


def _new_value(name: str, value: Any, changes: dict[str, str]) -> Any:
    new = new_value(name, value) if isinstance(value, str) else value
    if new != value:
        changes[f"{name} {value}"] = f"{name} {new}"
    return new


def _warn(changes: dict[str, str], source: str | Path) -> None:
    if changes:
        listed = ", ".join(f"{old} -> {new}" for old, new in changes.items())
        logger.warning(f"{source} uses names of an earlier version, which are read as those of today: {listed}.")
