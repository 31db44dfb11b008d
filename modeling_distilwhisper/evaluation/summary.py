"""Transcripts of several systems as rows of tables: scores, means of groups of languages, system against system."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean

from .languages import RESOURCE_CLASSES, SUB_FAMILIES, resource_class, sub_family
from .metrics import ErrorCounts, compare_errors, count_errors

Records = Sequence[Mapping]  # of one system, as `transcribe_rows` makes them
Row = dict[str, str | float | int | bool | None]
CELL = ("data_set", "split", "language")


def score_rows(systems: Mapping[str, Records], rates: Callable[[Records], Row]) -> list[Row]:
    """A row for each system, data set, split and language: what `rates` makes of its records, `hours` of audio, and
    `real_time_factor`, seconds of computing a second of audio."""
    rows = []
    for system, records in systems.items():
        for cell, own in _cells(records).items():
            seconds = sum(record["seconds"] for record in own)
            speed = sum(record["compute_seconds"] for record in own) / seconds
            row = {"system": system, **dict(zip(CELL, cell, strict=True)), **rates(own)}
            rows.append(row | {"hours": seconds / 3600, "real_time_factor": speed})
    return rows


def error_rates_of(records: Records, normalizer: str) -> Row:
    """`ErrorCounts.rates` with `wer_low` and `wer_high`, the ends of its 95 % interval."""
    counts = _counts(records, normalizer)
    low, high = counts.wer_interval() or (None, None)
    return counts.rates() | {"wer_low": low, "wer_high": high}


def group_rows(scores: Sequence[Row], gap: tuple[str, str] | None = None) -> list[Row]:
    """Mean WER over languages, a row for each group (all languages, resource classes as in Table 4, sub-families as in
    Table 5) of each data set and split, a column for each system.

    Args:
        scores: of `score_rows`.
        gap: names of student and teacher: every other system gets a column with the share of the way from the one to
            the other that it has gone, as the report quotes it (39 %, section 5.2).
    """
    wers: dict[tuple, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in scores:
        wers[row["data_set"], row["split"]][row["system"]][row["language"]] = row["wer"]
    rows = []
    for (data_set, split), own in wers.items():
        shared = set.intersection(*map(set, own.values()))  # or a mean would be of other languages than the next
        for group, members in _groups(shared):
            means = {system: mean(found[language] for language in members) for system, found in own.items()}
            about = {"data_set": data_set, "split": split, "group": group, "languages": " ".join(members)}
            row = about | means | {"normalizer": scores[0]["normalizer"]}
            if gap is not None:
                closed = {f"gap closed, {name}": gap_closed(means, name, gap) for name in means if name not in gap}
                row |= closed
            rows.append(row)
    return rows


def gap_closed(wers: Mapping[str, float], system: str, gap: tuple[str, str]) -> float | None:
    """The share of the way from student to teacher that a system has gone; `None` where the teacher is no better."""
    student, teacher = (wers.get(name) for name in gap)
    if student is None or teacher is None or student <= teacher:
        return None
    return (student - wers[system]) / (student - teacher)


def difference_rows(first: Records, second: Records, difference: Callable[[Records, Records], Row]) -> list[Row]:
    """What `difference` makes of the records of two systems, a row for each data set, split and language.

    Raises:
        ValueError: of some of them they transcribed different utterances.
    """
    rows, theirs = [], _cells(second)
    for cell, own in _cells(first).items():
        if cell not in theirs or len(own) < 2:
            continue
        if [_utterance(record) for record in own] != [_utterance(record) for record in theirs[cell]]:
            raise ValueError(f"The two systems transcribed different utterances of {' '.join(cell)}.")
        about = {**dict(zip(CELL, cell, strict=True)), "utterances": len(own)}
        rows.append(about | difference(own, theirs[cell]))
    return rows


def wer_difference(first: Records, second: Records, normalizer: str) -> Row:
    """The first system's WER less the second's on the same records, with its 95 % interval by paired bootstrap, and
    whether it is real, that is, whether the interval leaves 0 out."""
    found = compare_errors(_counts(first, normalizer), _counts(second, normalizer))
    about = {"difference": found.wer, "low": found.low, "high": found.high, "real": found.is_real}
    return about | {"normalizer": normalizer}


def _utterance(record: Mapping) -> tuple[str, str]:
    return record["id"], record["reference"]


def _cells(records: Records) -> dict[tuple[str, ...], list[Mapping]]:
    """The records of each data set, split and language, in the order of their ids."""
    cells = defaultdict(list)
    for record in sorted(records, key=lambda record: record["id"]):
        cells[tuple(record[name] for name in CELL)].append(record)
    return dict(cells)


def _counts(records: Records, normalizer: str) -> ErrorCounts:
    columns = ([record[name] for record in records] for name in ("reference", "hypothesis", "language"))
    references, hypotheses, languages = columns
    return count_errors(references, hypotheses, normalizer, languages)


def _groups(languages: set[str]) -> Iterator[tuple[str, list[str]]]:
    yield "all", sorted(languages)
    for group_of, names in ((resource_class, [*RESOURCE_CLASSES, "unknown"]), (sub_family, [*SUB_FAMILIES, "other"])):
        for name in names:
            if members := sorted(language for language in languages if group_of(language) == name):
                yield name, members
