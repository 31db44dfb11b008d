"""The measured numbers in a page, and whether the data of their section has them.

A section names its data in a comment, `<!-- data: russian, prompts_comparison/claims -->`: files of `results/`, or
single tables that stand in pages. A section without one has the data of the section around it. Numbers in code, of
versions, of sections of the report and in rendered tables (`benchmarks/render.py` makes these) are left out.
"""

import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from render import BLOCK, pages  # noqa: E402

DATA = re.compile(r"<!-- data: ([\w, /-]+) -->")
UNITS = r"%|percent|minutes?|seconds?|hours?|s\b|MB|GB|GiB|kB|ms\b|dB|kHz|points?"
# By kind: what a number in a page looks like.
KINDS = {
    "time": r"\d+:\d\d(?!\d)",
    "exponent": r"\d+(?:\.\d+)?e-\d+",
    "decimal": r"\d[\d,]*\.\d+",
    "with a unit": rf"\d[\d,]*(?= (?:{UNITS})(?!\w))",
    "range with a unit": rf"\d[\d,]*(?= (?:to|and) \d[\d,]*(?:\.\d+)? (?:{UNITS})(?!\w))",
}
NUMBER = re.compile(r"(?<![\w.:/-])-?(?:" + "|".join(f"({form})" for form in KINDS.values()) + r")(?![\w:]|\.\d)")
PROGRAMS = "Python|PyTorch|Transformers|Debian|espeak-ng|CUDA|Apache|CC BY|NumPy|glibc"
PLACES = r"[Ss]ections?|[Ee]q\.|[Ee]quations?|[Tt]ables?|[Ff]igures?|chapter"
# What is no measured number.
LEFT_OUT = [
    re.compile(pattern, re.DOTALL | re.MULTILINE)
    for pattern in (
        r"\A---\n.*?\n---\n",
        r"^```.*?^```",
        r"`[^`\n]+`",
        r"<!--.*?-->",
        r"\]\([^)]*\)",
        r"https?://\S+",
        rf"\b(?:{PROGRAMS})[\s-]v?\d+(?:\.\d+)+(?:(?:,| to| and| or)+ \d+\.\d+)*",
        rf"\b(?:{PLACES}) \d+(?:\.\d+)*(?:(?:,| to| and) \d+(?:\.\d+)*)*",
        r"\b95 %",  # of all intervals
    )
]


class Number(NamedTuple):
    """A number in a page: its text, kind, place, and the names of the data of its section."""

    text: str
    kind: str
    start: int
    data: tuple[str, ...]


def numbers_of(page: str) -> list[Number]:
    """The measured numbers in the text of a page, without those in rendered tables."""
    blank = BLOCK.sub(lambda block: " " * len(block[0]), page)
    sections = list(_sections(page))
    for pattern in LEFT_OUT:
        blank = pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), blank)
    numbers = []
    for match in NUMBER.finditer(blank):
        kind = list(KINDS)[next(place for place, group in enumerate(match.groups()) if group)]
        data = next(names for start, names in reversed(sections) if start <= match.start())
        numbers.append(Number(match[0].strip("-"), kind, match.start(), data))
    return numbers


def missing(page: str) -> list[Number]:
    """The numbers that the data of their section do not have."""
    return [number for number in numbers_of(page) if not any(has(values_of(name), number) for name in number.data)]


def has(values: tuple[list[float], set[str]], number: Number) -> bool:
    """Whether the data have a number, rounded as it is printed."""
    floats, texts = values
    text = number.text.replace(",", "")
    if text in texts:
        return True
    if number.kind == "time":
        return False
    if number.kind == "exponent":
        return float(text) in floats
    digits = len(text.partition(".")[2])
    return any(f"{abs(value):.{digits}f}" == text for value in floats)


@cache
def values_of(name: str) -> tuple[list[float], set[str]]:
    """All numbers of a file of `results/`; of a table, and of the folder with many runs, those that pages show."""
    file = ROOT / "results" / f"{name}.json"
    found = list(_leaves(json.loads(file.read_text(encoding="utf-8")) if file.is_file() else shown(name)))
    texts = {part for leaf in found if isinstance(leaf, str) for part in re.findall(r"\d[\d.:e-]*\d|\d", leaf)}
    floats = [float(leaf) for leaf in found if not isinstance(leaf, str)]
    floats += [float(text) for text in texts if re.fullmatch(r"\d+(\.\d+)?(e-?\d+)?", text)]
    return floats, texts


def shown(name: str) -> list[str]:
    """The tables of a file or folder of `results/` as they stand in pages, or a single one of them."""
    folder, _, table = name.partition("/")
    texts = [page.read_text(encoding="utf-8") for page in pages()]
    blocks = [block for text in texts for block in BLOCK.finditer(text) if block[2] == folder]
    chosen = [block[0] for block in blocks if table in ("", block[3])]
    if not chosen:
        raise KeyError(f"No page shows a table of {name}, and results/ has no such file.")
    return chosen


def _leaves(value) -> Iterator[float | str]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(key)
            yield from _leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    elif value is not None and not isinstance(value, bool):
        yield value


def _sections(page: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Where each section begins, and its data: those that it names, else those of the section around it."""
    page = re.sub(r"^```.*?^```", lambda code: re.sub(r"[^\n]", " ", code[0]), page, flags=re.DOTALL | re.MULTILINE)
    heads = [(0, 0), *((match.start(), len(match[1])) for match in re.finditer(r"^(#+) ", page, re.MULTILINE))]
    around: dict[int, tuple[str, ...]] = {}
    for place, (start, level) in enumerate(heads):
        end = heads[place + 1][0] if place + 1 < len(heads) else len(page)
        named = DATA.search(page, start, end)
        around = {depth: names for depth, names in around.items() if depth < level}
        if named:
            around[level] = tuple(name.strip() for name in named[1].split(","))
        yield start, around[max(around)] if around else ()
