"""How often the language that a model detects is the one that is spoken: with intervals, and what is taken for what."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ..runs.detection import TRAINED, WHISPER

Records = Sequence[Mapping]  # of one system, as `detect_rows` makes them
Row = dict[str, Any]
CELL = ("data_set", "split")
LENGTHS = (2, 4, 8)  # seconds that divide recordings by length
OTHER = "other"
ALL, CANDIDATES = "all", "candidates"
NOTE = (
    "`n`: recordings, with the 95 % interval of Wilson. `among`: all languages that the model can detect, or the asked "
    "ones alone. `undetectable`: asked languages without a token of Whisper's and without a trained detection row. "
    "Their recordings count, and each answer to them is wrong."
)


class Answer(NamedTuple):
    """What was detected in a recording.

    Attributes:
        spoken: name of the language.
        detected: likewise; `None` if no language could be.
        seconds: of the recording.
    """

    spoken: str
    detected: str | None
    seconds: float


class Trial(NamedTuple):
    """All answers of one system to one corpus by one way to detect."""

    keys: Row  # system, data_set, split, detection, among
    answers: list[Answer]
    undetectable: list[str]


def accuracy_rows(systems: Mapping[str, Records], languages: Sequence[str]) -> list[Row]:
    """The accuracy of each system on each data set and split, over all languages together, also by length.

    Args:
        systems: the records of each system, by its name.
        languages: the asked ones, which are the candidates.

    Returns:
        `system`, `data_set`, `split`, `detection` ("whisper" or "trained"), `among` ("all" or "candidates"), `length`,
        `n`, `correct`, `accuracy`, the ends of its 95 % interval, `low` and `high`, and the `undetectable` languages.

    Example:
        >>> record = {"data_set": "own", "split": "test", "language": "gl", "whisper": ["pt", "gl"], "seconds": 3.0}
        >>> rows = accuracy_rows({"plain": [record]}, ["gl", "ca"])
        >>> [(row["among"], row["length"], row["correct"], row["n"]) for row in rows]
        [('all', 'any', 0, 1), ('all', '2 to 4 s', 0, 1), ('candidates', 'any', 1, 1), ('candidates', '2 to 4 s', 1, 1)]
    """
    rows: list[Row] = []
    for keys, answers, undetectable in _trials(systems, languages):
        by_length: dict[str, list[Answer]] = {length_of(seconds): [] for seconds in (0, *LENGTHS)}
        for answer in answers:
            by_length[length_of(answer.seconds)].append(answer)
        for length, some in {"any": answers, **by_length}.items():
            if some:
                missed = {"undetectable": " ".join(undetectable) or None}
                rows.append({**keys, "length": length, **accuracy_of(some), **missed})
    return rows


def confusion_rows(systems: Mapping[str, Records], languages: Sequence[str]) -> list[Row]:
    """How often each spoken language was taken for which. Arguments as for `accuracy_rows`.

    Returns:
        Keys as there, `spoken`, the counts `as <language>` and `as other`, and the accuracy of this language.

    Example:
        >>> record = {"data_set": "own", "split": "test", "language": "gl", "whisper": ["pt", "gl"], "seconds": 3.0}
        >>> row = confusion_rows({"plain": [record]}, ["gl", "ca"])[0]
        >>> row["spoken"], row["as gl"], row["as ca"], row["as other"]
        ('gl', 0, 0, 1)
    """
    rows = []
    for keys, answers, _ in _trials(systems, languages):
        counts = Counter((spoken, detected if detected in languages else OTHER) for spoken, detected, _ in answers)
        for spoken in languages:
            if some := [answer for answer in answers if answer.spoken == spoken]:
                taken = {f"as {name}": counts[spoken, name] for name in (*languages, OTHER)}
                rows.append({**keys, "spoken": spoken, **taken, **accuracy_of(some)})
    return rows


def accuracy_of(answers: Sequence[Answer]) -> Row:
    """`n`, `correct`, `accuracy`, and the ends of its 95 % interval (Wilson, 1927): `low` and `high`.

    Example:
        >>> accuracy_of([Answer("gl", "gl", 1.0), Answer("gl", "pt", 1.0)])["accuracy"]
        0.5
    """
    from scipy.stats import binomtest  # it takes seconds to import

    n, correct = len(answers), sum(answer.spoken == answer.detected for answer in answers)
    interval = binomtest(correct, n).proportion_ci(method="wilson")
    ends = {"low": float(interval.low), "high": float(interval.high)}
    return {"n": n, "correct": correct, "accuracy": correct / n, **ends}


def length_of(seconds: float) -> str:
    """The group of lengths of a recording.

    Example:
        >>> [length_of(seconds) for seconds in (1.9, 2, 7.5, 60)]
        ['under 2 s', '2 to 4 s', '4 to 8 s', '8 s and more']
    """
    if seconds < LENGTHS[0]:
        return f"under {LENGTHS[0]} s"
    for low, high in pairwise(LENGTHS):
        if seconds < high:
            return f"{low} to {high} s"
    return f"{LENGTHS[-1]} s and more"


def _trials(systems: Mapping[str, Records], languages: Sequence[str]) -> Iterator[Trial]:
    for system, records in systems.items():
        corpora: dict[tuple, list[Mapping]] = defaultdict(list)
        for record in records:
            corpora[tuple(record[name] for name in CELL)].append(record)
        for corpus, of_corpus in corpora.items():
            for detection in (WHISPER, TRAINED):
                if not all(detection in record for record in of_corpus):
                    continue
                rankings = [record[detection] for record in of_corpus]
                undetectable = [name for name in languages if not any(name in ranking for ranking in rankings)]
                for among in (ALL, CANDIDATES):
                    keys = {"system": system, **dict(zip(CELL, corpus, strict=True))}
                    keys |= {"detection": detection, "among": among}
                    answers = [
                        Answer(record["language"], _first(ranking, None if among == ALL else languages), seconds)
                        for record, ranking in zip(of_corpus, rankings, strict=True)
                        for seconds in [record["seconds"]]
                    ]
                    yield Trial(keys, answers, undetectable)


def _first(ranking: Sequence[str], candidates: Sequence[str] | None) -> str | None:
    """The most probable language, among the candidates if there are some."""
    return next((name for name in ranking if candidates is None or name in candidates), None)
