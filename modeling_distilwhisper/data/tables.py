"""Tables of a corpus: CSV, TSV and JSON lines. A row that does not fit its table is left out, counted and named.

A transcript that is cut, or a cell under another cell's name, would train and score silently. So a row has exactly the
cells of the header, or it is left out; and where quotation marks do not pair, the table is refused.
"""

import codecs
import csv
import io
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import regex
from transformers.utils import logging

from ..runs.numbers import LOSS_WEIGHT

logger = logging.get_logger(__name__)

EXTRA, MISSING, LONG, LINES, NUL = "extra cell", "missing cell", "very long cell", "cell over several lines", "NUL sign"
BESIDE = "row beside a lonely cell"
OUTSIDE, SHIFTED = "file outside the folder", "shifted cell"
NO_OBJECT, TWICE, NO_TEXT = "no JSON object", "repeated name", "cell without text"
OTHER_LANGUAGE, UNKNOWN_LANGUAGE = "other language", "unknown language"
NO_WEIGHT = "loss_weight that is none"
# What to do about rows that were left out.
_HINTS = {
    EXTRA: 'Each row needs as many cells as the header; in CSV, a text with a comma needs quotation marks: "yes, we"',
    MISSING: "Each row needs as many cells as the header, also if the last ones are empty",
    BESIDE: "A line with one cell may be the end of the row before or the beginning of the row behind",
    LINES: "A quotation mark may have swallowed rows. If the text has line breaks, put spaces in their place",
    LONG: f"A cell may have {csv.field_size_limit():,} characters",
    NO_OBJECT: "Each line needs one JSON object",
    NO_TEXT: "File name, text and language must be strings; other cells strings or numbers",
    OUTSIDE: "A file name is relative to the folder of the recordings, and links must not lead out of the corpus",
    SHIFTED: "The cell for the number of samples holds none: a tab is missing or one too many",
    NO_WEIGHT: f"A loss_weight is {LOSS_WEIGHT}",
    UNKNOWN_LANGUAGE: "Write Whisper's code or name of the language, such as ca or Catalan",
}
_SHOWN = 5  # line numbers in a warning, for each reason
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# A row of CSV whose quotation marks pair in each cell. Atomic groups (in `re` from Python 3.11): the time is linear.
_QUOTED, _BARE = r'"(?:[^"]|"")*+"', r'[^",\r\n]*+(?:"[^",\r\n]*+"[^",\r\n]*+)*+'
_PAIRED = regex.compile(rf"(?>{_QUOTED}|{_BARE})(?:,(?>{_QUOTED}|{_BARE}))*+(?:\r\n?|\n)?")

Row = dict[str, str]
Record = tuple[int, list[str], list[str]]  # the number of its first line, its cells and its lines


@dataclass
class Table:
    """The rows of a table that fit it, and the lines of the others.

    Attributes:
        path: the file.
        columns: names of the columns.
        rows: cells by column.
        lines: the line number of each row.
        left_out: line numbers of the rows that were left out, by reason. Of a cell over several lines, each line
            counts: each may have been a row.
    """

    path: Path
    columns: list[str]
    rows: list[Row] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    left_out: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, line: int, row: Row, reason: str | None = None) -> None:
        """Adds a row, or leaves it out for a reason."""
        if reason is not None:
            self.left_out[reason].append(line)
        else:
            self.rows.append(row)
            self.lines.append(line)

    def check(self, reason_of: Callable[[Row], str | None]) -> None:
        """Leaves out the rows for which `reason_of` gives a reason. It may change the cells of a row."""
        rows, lines = self.rows, self.lines
        self.rows, self.lines = [], []
        for line, row in zip(lines, rows, strict=True):
            self.add(line, row, reason_of(row))

    def report(self, counts: Counter[str] | None = None) -> None:
        """Warns of the rows left out, with their first lines, and adds their numbers to `counts`.

        Raises:
            ValueError: no row is left, and none is of another language: the table has another form than expected.
        """
        if not self.left_out:
            return
        reasons = "; ".join(f"{reason} ({_some(lines)})" for reason, lines in self.left_out.items())
        hints = "".join(f" {_HINTS[reason]}." for reason in self.left_out if reason in _HINTS)
        if not self.rows and OTHER_LANGUAGE not in self.left_out:
            raise ValueError(
                f"{self.path} has no row that can be read: {reasons}. Its columns are {self.columns}.{hints}"
            )
        numbers = {reason: len(lines) for reason, lines in self.left_out.items()}
        logger.warning(f"{self.path}: {sum(numbers.values())} rows are left out: {reasons}.{hints}")
        if counts is not None:
            counts.update(numbers)


def read_csv(path: Path) -> Table:
    """Reads a table with commas, in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        ValueError: it is in another encoding; two columns have one name; or quotation marks do not pair, so that rows
            may be joined. The message names the line.
    """
    return _read(path, _csv_records(path, _text_of(path)))


def read_tsv(path: Path, columns: Sequence[str] = ()) -> Table:
    """Reads a table with tabs. Quotation marks are text, as in Common Voice and FLEURS.

    Args:
        path: the file, in UTF-8, or in UTF-16 with a byte order mark.
        columns: names of the columns of a table without a header.

    Raises:
        ValueError: it is in another encoding, or two columns have one name. The message names the line.
    """
    lines = enumerate(io.StringIO(_text_of(path), newline=None), start=1)
    return _read(path, ((line, text.removesuffix("\n").split("\t"), [text]) for line, text in lines), list(columns))


def read_json_lines(path: Path, texts: Sequence[str], others: Sequence[str]) -> Table:
    """Reads one JSON object in each line.

    Args:
        path: the file, in UTF-8, or in UTF-16 with a byte order mark.
        texts: names whose values must be strings.
        others: names whose values may be numbers too. All further names are ignored.

    Returns:
        The table. Its rows lack the names that are absent or null in their line.

    Raises:
        ValueError: it is in another encoding. The message names the line.
    """
    table = Table(path, [])
    columns: dict[str, None] = {}
    for line, text in enumerate(io.StringIO(_text_of(path), newline=None), start=1):
        if not text.strip():
            continue
        row: Row = {}
        reason = None
        try:
            values = json.loads(text, object_pairs_hook=_without_repeats)
        except _RepeatedName:
            values, reason = {}, TWICE
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            values, reason = {}, NO_OBJECT
        columns |= dict.fromkeys(values)
        for name in (*texts, *others):
            if values.get(name) is not None:
                row[name], misfit = _json_cell(values[name], name in texts)
                reason = reason or misfit
        table.add(line, row, reason)
    table.columns = list(columns)
    return table


def _text_of(path: Path) -> str:
    content = path.read_bytes()
    encoding = next((name for mark, name in _BOMS.items() if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in content[:4]:
        raise ValueError(f"{path}, line 1: expected UTF-8, got what looks like UTF-16. Save the table as UTF-8.")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = len((content[: error.start] + b"?").splitlines())
        raise ValueError(
            f"{path}, line {line}: expected UTF-8, got bytes that are not ({error.reason}). Save the table as UTF-8."
        ) from None


def _csv_records(path: Path, text: str) -> Iterator[Record]:
    """The records of a text. One with a very long cell has no cells."""
    raw: list[str] = []
    line = 1

    def lines() -> Iterator[str]:
        for part in io.StringIO(text, newline=""):
            raw.append(part)
            yield part.replace("\0", "?")  # `csv` of Python 3.10 refuses it; by `raw`, the row is left out

    reader = csv.reader(lines(), strict=True)
    while True:
        line += len(raw)
        raw.clear()
        try:
            cells = next(reader) or [""]  # of a blank line
        except StopIteration:
            return
        except csv.Error as error:
            if "field limit" not in str(error) or len(raw) > 1 or raw[0].count('"') % 2:
                raise _unpaired(path, line, line + len(raw) - 1, str(error)) from None
            cells = []
        if not _PAIRED.fullmatch("".join(raw)):
            raise _unpaired(path, line, line + len(raw) - 1, "a quotation mark opens or closes no cell")
        yield line, cells, list(raw)


def _unpaired(path: Path, first: int, last: int, reason: str) -> ValueError:
    where = f"line {first}" if first == last else f"lines {first} to {last}"
    return ValueError(
        f"{path}, {where}: this is not CSV ({reason}), and rows may be joined. A cell with quotation marks stands in "
        'quotation marks and doubles its own: "say ""yes"" now".'
    )


def _read(path: Path, records: Iterable[Record], names: list[str] | None = None) -> Table:
    """A table of records whose first one is the header, unless names are given. Records without any text are blank."""
    filled = [record for record in records if not _is_blank(*record)]
    if not names and filled:
        names = _names(path, *filled.pop(0)[:2])
    table = Table(path, [name for name in names or [] if name])
    reasons = [_misfit(names or [], cells, raw) for _, cells, raw in filled]
    for index, (_, cells, _) in enumerate(filled):
        if len(cells) == 1:  # a line break in a cell may have cut it off: from the last cell or from the first one
            for other in {max(index - 1, 0), min(index + 1, len(filled) - 1)}:
                if reasons[other] is None and not _is_alike(cells[0], filled[other][1][0]):
                    reasons[other] = BESIDE
    for (line, cells, raw), reason in zip(filled, reasons, strict=True):
        row = dict(zip(names or [], cells, strict=False))
        for number in range(line, line + len(raw)) if reason == LINES else [line]:
            table.add(number, row, reason)
    return table


def _names(path: Path, line: int, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if twice := [name for name, number in Counter(filter(None, names)).items() if number > 1]:
        raise ValueError(f"{path}, line {line}: two columns have the name {twice[0]!r}, in {names}. Name each once.")
    return names


def _misfit(names: list[str], cells: list[str], raw: list[str]) -> str | None:
    """Why a row does not have the cells of the header; `None` if it has."""
    if not cells:
        return LONG
    if any("\0" in part for part in raw):
        return NUL
    # A column without a name behind others is no place for a text. In front, it is the index that pandas writes.
    named = next((index for index, name in enumerate(names) if name), 0)
    unnamed = [cell for name, cell in list(zip(names, cells, strict=False))[named:] if not name]
    reason = EXTRA if len(cells) > len(names) or any(cell.strip() for cell in unnamed) else None
    reason = MISSING if len(cells) < len(names) else reason
    if len(raw) > 1 and (reason or any(part.count(",") + 1 >= len(names) for part in raw)):
        return LINES  # each line may be a row that a stray quotation mark swallowed
    return reason


def _is_blank(line: int, cells: list[str], raw: list[str]) -> bool:
    """Whether a record is an empty line, or the row of separators that a spreadsheet writes for one."""
    if cells == [""]:
        return not raw[0].strip()  # `""` alone is a piece of a row
    return bool(cells) and not "".join(cells).strip()


def _is_alike(cell: str, first: str) -> bool:
    """Whether a lonely cell is a file name as the first cell of another row: then its row has lost its other cells."""
    return Path(cell).suffix == Path(first).suffix != ""


class _RepeatedName(ValueError):
    pass


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _RepeatedName
    return values


def _json_cell(value: object, is_text: bool) -> tuple[str, str | None]:
    """A value as a cell, and why it can be none."""
    is_number = type(value) is int or (isinstance(value, float) and math.isfinite(value))
    if not isinstance(value, str) and (is_text or not is_number):
        return "", NO_TEXT
    cell = str(value)
    if "\0" in cell:
        return "", NUL
    # JSON can name half of a surrogate pair, which is no character.
    return (cell, None) if cell.isascii() or not re.search("[\ud800-\udfff]", cell) else ("", NO_TEXT)


def _some(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:_SHOWN]))
    rest = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return f"line{'s' if len(lines) > 1 else ''} {shown}{rest}"
