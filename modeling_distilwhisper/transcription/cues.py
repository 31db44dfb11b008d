"""Cuts segments into cues: what stands on the screen at a time, within a broadcaster's limits."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import regex

from ..runs.numbers import RANGES
from .segments import Segment, follow_in

CLAUSE_ENDS = (",", ";", ":", "،", "؛", "，", "；", "：", "、", "—", "–")


@dataclass(frozen=True)
class CueLimits:
    """What fits on the screen at a time. The defaults are those of broadcasters.

    Attributes:
        width: columns in a line. A Chinese, Japanese or Korean character takes two.
        lines: at a time.
        seconds: the longest time that a cue is shown.

    Raises:
        ValueError: a limit is below 1, or not finite.
    """

    width: int = 42
    lines: int = 2
    seconds: float = 7.0

    def __post_init__(self):
        for name, value in (
            ("max_line_width", self.width),
            ("max_lines", self.lines),
            ("max_cue_seconds", self.seconds),
        ):
            RANGES[name].check(name, value)


@dataclass(frozen=True)
class Cue:
    """Lines that are shown from `start` to `end`, in seconds."""

    start: float
    end: float
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Unit:
    """A word, or a letter of a word that is wider than a line."""

    text: str
    space: str  # before it
    start: float
    end: float


def cues_of(segments: Iterable[Segment], limits: CueLimits) -> list[Cue]:
    """The cues of segments, in temporal order. A cue holds text of one segment, and ends at a word.

    The times of words are those of the segment; without them, its time is divided by the width of the words.

    Example:
        >>> cues_of([Segment(0.0, 4.0, "Boas noites a todos")], CueLimits(width=8, lines=1))[1]
        Cue(start=1.0, end=2.75, lines=('noites a',))
    """
    return [cue for segment in segments for cue in _cues_of_segment(segment, limits)]


def columns(text: str) -> int:
    """How many columns a text takes on the screen."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return wide + sum(unicodedata.category(letter) not in ("Mn", "Me", "Cf") for letter in text)


def _cues_of_segment(segment: Segment, limits: CueLimits) -> list[Cue]:
    cues: list[Cue] = []
    shown: list[_Unit] = []
    units = [part for unit in _units(segment) for part in _parts(unit, limits.width)]
    for number, unit in enumerate(units):
        shown.append(unit)
        after = units[number + 1] if number + 1 < len(units) else None
        if after is None or not _fits([*shown, after], limits) or _is_good_end(shown, units[number + 1 :], limits):
            end = min(max(unit.end, unit.start), shown[0].start + limits.seconds)
            cues.append(Cue(shown[0].start, end, tuple(_lines(shown, limits.width))))
            shown = []
    return cues


def _fits(units: list[_Unit], limits: CueLimits) -> bool:
    return units[-1].end - units[0].start <= limits.seconds and len(_lines(units, limits.width)) <= limits.lines


def _is_good_end(shown: list[_Unit], rest: list[_Unit], limits: CueLimits) -> bool:
    """Whether a cue ends better here, after a clause, than later within one: what follows does not fit as well."""
    is_clause = shown[-1].text.endswith(CLAUSE_ENDS)
    return is_clause and len(_lines(shown, limits.width)) == limits.lines and not _fits([*shown, *rest], limits)


def _lines(units: list[_Unit], width: int) -> list[str]:
    lines: list[str] = []
    for unit in units:
        if lines and columns(joined := lines[-1] + unit.space + unit.text) <= width:
            lines[-1] = joined
        else:
            lines.append(unit.text)
    return lines


def _units(segment: Segment) -> list[_Unit]:
    """The words of a segment, each on one line, with their times."""
    if segment.words and follow_in(segment.text, segment.words):
        units, position = [], 0
        for word in segment.words:
            found = segment.text.index(word.word, position)
            space = " " if segment.text[position:found].isspace() else ""
            position = found + len(word.word)
            units.append(_Unit(" ".join(word.word.split()), space, word.start, word.end))
        return units
    return _divided(segment.text.split(), " ", segment.start, segment.end)


def _parts(unit: _Unit, width: int) -> list[_Unit]:
    """A word, or its letters if it is wider than a line."""
    if columns(unit.text) <= width:
        return [unit]
    first, *others = _divided(regex.findall(r"\X", unit.text), "", unit.start, unit.end)
    return [_Unit(first.text, unit.space, first.start, first.end), *others]


def _divided(texts: list[str], space: str, start: float, end: float) -> list[_Unit]:
    """Texts that share a time by their widths."""
    widths = [columns(text) for text in texts]
    total, before = max(sum(widths), 1), 0
    units: list[_Unit] = []
    for text, width in zip(texts, widths, strict=True):
        before += width
        # The last one ends when all of it ends, to the last bit: the next cue begins then.
        now = end if before == total else start + (end - start) * before / total
        units.append(_Unit(text, space, units[-1].end if units else start, now))
    return units
