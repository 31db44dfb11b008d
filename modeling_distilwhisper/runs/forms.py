"""Reads JSON that somebody may have damaged: a sentence for each way in which it is not what was expected."""

import json
from pathlib import Path
from typing import Any

from .numbers import Range

# What a value must be: a type; `{"key": form}`, a mapping that has these keys; `{str: form}`, a mapping of any keys to
# such values; `[form]`, a list of such values.
Form = Any
NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "a mapping"}
NAMES |= {list: "a list", type(None): "nothing"}
AGAIN = "Delete it and start the command that wrote it again, or put an undamaged copy in its place."


def read_json_file(path: str | Path, form: Form = dict, advice: str = AGAIN) -> Any:
    """The content of a JSON file.

    Args:
        path: of the file.
        form: what it must be; see `check_form`.
        advice: what the user can do if it is damaged.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged. The message names the file, the place in it, what was expected and what came.
    """
    try:
        return parse_json(Path(path).read_bytes(), form)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error} {advice}") from None


def parse_json(content: bytes, form: Form = dict) -> Any:
    """The value in a JSON text.

    Raises:
        ValueError: it is empty, cut off, no JSON, or of another form.

    Example:
        >>> parse_json(b'{"id": "1"}', {"id": str})
        {'id': '1'}
    """
    if not content.strip(b" \t\r\n\0"):
        raise ValueError("it is empty.")
    try:
        value = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("its lists and mappings are too deep.") from None
    except ValueError as error:
        raise ValueError(f"it is no complete JSON ({error}).") from None
    check_form(value, form)
    return value


def check_form(value: Any, form: Form, place: str = "") -> None:
    """Checks that a value from a file is what is expected.

    Args:
        value: as JSON has it.
        form: a type or a `Range`; or what its parts must be: `{"key": form}`, `{str: form}` for any keys, `[form]`.
        place: of the value in the file, for the message.

    Raises:
        ValueError: the message names the place, what was expected and what came.

    Example:
        >>> check_form({"run": {"model": "a"}}, {"run": {"model": str}})
        >>> check_form({"run": []}, {"run": {"model": str}})
        Traceback (most recent call last):
        ...
        ValueError: at run: expected a mapping, got [].
    """
    kind = type(form) if isinstance(form, dict | list) else form
    if not _is(value, kind):
        at = f"at {place}: " if place else ""
        raise ValueError(f"{at}expected {_name(kind)}, got {shortened(value)}.")
    if isinstance(form, list):
        for number, part in enumerate(value):
            check_form(part, form[0], f"{place}[{number}]")
    elif isinstance(form, dict):
        for key, part in form.items():
            if key is str:
                for name in value:
                    check_form(value[name], part, _joined(place, name))
            elif key in value:
                check_form(value[key], part, _joined(place, key))
            else:
                raise ValueError(f"expected {_joined(place, key)}, which is not there.")


def shortened(value: Any, length: int = 80) -> str:
    """A value as an error message shows it."""
    shown = repr(value)
    return shown if len(shown) <= length else f"{shown[:length]}..."


def _is(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if isinstance(kind, Range):
        return value in kind
    kinds = getattr(kind, "__args__", (kind,))  # of `int | None`
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, tuple(kinds)) or (float in kinds and isinstance(value, int))


def _name(kind: Any) -> str:
    if isinstance(kind, Range):
        return str(kind)
    kinds = getattr(kind, "__args__", (kind,))
    return " or ".join(NAMES.get(one, str(one)) for one in kinds)


def _joined(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
