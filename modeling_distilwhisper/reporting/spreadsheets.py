"""Tables as CSV in which no text is a formula, whatever program opens them."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

# Spreadsheets compute a cell that begins so. A sign alone, or a number with one, does nothing.
_FORMULA = re.compile(r"'*\s*[=+\-@＝＋－＠]")
_HARMLESS = re.compile(r"[+\-]?(\d+([.,]\d+)*([eE][+\-]?\d+)?\s*%?)?")


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The content of a CSV file. A text that a spreadsheet would compute gets an apostrophe in front, hidden there.

    Args:
        columns: names of the columns.
        rows: cells, in the order of the columns.

    Example:
        >>> to_csv(["model"], [["base"], ["=1+1"], [-0.5]]).splitlines()
        ['model', 'base', "'=1+1", '-0.5']
    """
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerows([[_guarded(cell) for cell in row] for row in (columns, *rows)])
    return content.getvalue()


def read_csv(content: str) -> list[dict[str, str]]:
    """The rows of a CSV file that `to_csv` wrote, with the texts that it was given."""
    return [
        {_bare(name): _bare(cell) for name, cell in row.items()}
        for row in csv.DictReader(io.StringIO(content, newline=""))
    ]


def _guarded(cell: Any) -> Any:
    if cell is None or cell != cell:  # missing, NaN
        return ""
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\r\n", "\n").replace("\r", "\n")  # a lone return would end the line, without quotes
    return f"'{text}" if _is_formula(text) else text


def _bare(text: str) -> str:
    return text[1:] if text.startswith("'") and _is_formula(text[1:]) else text


def _is_formula(text: str) -> bool:
    return bool(_FORMULA.match(text)) and not _HARMLESS.fullmatch(text)
