"""Texts from outside in Markdown and in Python samples: a reader sees them as they are, and no part of them acts.

Names of models, systems, data sets and languages come from files and flags. In a card they could be HTML, links,
pictures or code. `render` makes text of every value that is not `Markdown`: one that nobody thought of is text.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment
from tabulate import tabulate

Row = Mapping[str, str | float | int | bool | None]

# An underscore between letters or digits never marks emphasis: common_voice stays as it is.
_SPECIAL = re.compile(r"[\\`*\[\]<>{}~$#]|&(?=[#\w])|(?<![^\W_])_|_(?![^\W_])")
# GitHub and the Hub make links of these, even where a backslash stands in them.
_LINK = re.compile(r"://|www\.|\S@\S|\b(?:mailto|xmpp|javascript|data):", re.IGNORECASE)


class Markdown(str):
    """A text that is Markdown already. Everything else is text that has to be made into it (`as_markdown`)."""


def as_markdown(value: Any) -> "Markdown":
    """A value as Markdown that shows it as it is, on one line.

    Example:
        >>> as_markdown("<b>my_model*</b>"), as_markdown("www.example.org")
        ('\\\\<b\\\\>my_model\\\\*\\\\</b\\\\>', '`www.example.org`')
    """
    if isinstance(value, Markdown):
        return value
    text = one_line(value)
    return code_span(text) if _LINK.search(text) else Markdown(_SPECIAL.sub(r"\\\g<0>", text))


def code_span(value: Any) -> "Markdown":
    """A value as code in a line of Markdown, whatever backticks it has."""
    text = one_line(value).strip()
    longest = max(map(len, re.findall("`+", text)), default=0)
    space = " " if text.startswith("`") or text.endswith("`") or not text else ""
    fence = "`" * (longest + 1)
    return Markdown(f"{fence}{space}{text}{space}{fence}")


def code_spans(values: Iterable[Any]) -> "Markdown":
    """Values as code, with commas between them."""
    return Markdown(", ".join(map(code_span, values)))


def python_string(value: str) -> "Markdown":
    r"""A text as it stands in Python code: a string that ends where it ends.

    Example:
        >>> print(python_string('me/model"); import os #'))
        "me/model\"); import os #"
    """
    escaped = "".join(
        f"\\{letter}"
        if letter in '"\\'
        else letter
        if letter.isprintable()
        else letter.encode("unicode_escape").decode()
        for letter in value
    )
    return Markdown(f'"{escaped}"')


def table_of(rows: Sequence[Row], number_format: str = ".3g") -> "Markdown":
    """A table in Markdown; "" without rows.

    Args:
        rows: mappings from a column's name to its value.
        number_format: of each `float`.

    Raises:
        ValueError: a row is not a mapping, or a cell is a list or a mapping.
    """
    if not all(isinstance(row, Mapping) for row in rows):
        raise ValueError("Expected rows of a table: a list of mappings from a column's name to its value.")
    cells = [{_in_table(name): _cell(value, number_format) for name, value in row.items()} for row in rows]
    return Markdown(tabulate(cells, headers="keys", tablefmt="github", disable_numparse=True, missingval="-"))


def render(template: str, **values: Any) -> str:
    """A Jinja template, filled. Of its values, all but `Markdown` are shown as text."""
    environment = Environment(finalize=_finalize, keep_trailing_newline=True)
    return environment.from_string(template).render(**values)


def one_line(value: Any) -> str:
    """A value as text on one line, without signs that cannot be seen, such as those that turn the direction of text."""
    text = re.sub(r"\s+", " ", str(value))
    return "".join(letter for letter in text if letter == " " or letter.isprintable())


def _finalize(value: Any) -> Any:
    return "" if value is None else as_markdown(value)


def _in_table(value: Any) -> "Markdown":
    """In a table, a line between cells is `|`, in code too."""
    return Markdown(re.sub(r"(?<!\\)\|", r"\\|", as_markdown(value)))


def _cell(value: Any, number_format: str) -> "Markdown | None":
    if isinstance(value, Mapping | list):
        raise ValueError(f"Expected a number or text in each cell of a table, got {value!r}.")
    if value is None or value != value:
        return None
    return Markdown(f"{value:{number_format}}") if isinstance(value, float) else _in_table(value)
