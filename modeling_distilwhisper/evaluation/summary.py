"""Tables from the transcripts of several systems: scores, means of groups of languages, differences of systems."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

from .languages import RESOURCE_CLASSES, SUB_FAMILIES, resource_class, sub_family
from .metrics import ErrorCounts, compare_errors, count_errors

Records = Sequence[Mapping]  # of one system, as `transcribe_rows` makes them
Row = dict[str, Any]
CELL = ("data_set", "split", "language")


def score_rows(systems: Mapping[str, Records], rates: Callable[[Records], Row]) -> list[Row]:
    """A row for each system, data set, split and language.

    Args:
        systems: the records of each system, by its name.
        rates: makes scores of records, such as `error_rates_of`.

    Returns:
        `system`, `data_set`, `split`, `language`, the scores of `rates`, `hours` of audio, and `real_time_factor`,
        seconds of computation per second of audio.
    """
    rows = []
    for system, records in systems.items():
        for cell, cell_records in _cells(records).items():
            seconds = sum(record["seconds"] for record in cell_records)
            compute_seconds = sum(record["compute_seconds"] for record in cell_records)
            row = {"system": system, **dict(zip(CELL, cell, strict=True)), **rates(cell_records)}
            rows.append(row | {"hours": seconds / 3600, "real_time_factor": compute_seconds / seconds})
    return rows


def error_rates_of(records: Records, normalizer: str) -> Row:
    """`ErrorCounts.rates` with `wer_low` and `wer_high`, the ends of its 95 % interval."""
    counts = _counts(records, normalizer)
    low, high = counts.wer_interval() or (None, None)
    return counts.rates() | {"wer_low": low, "wer_high": high}


def group_rows(scores: Sequence[Row], gap: tuple[str, str] | None = None) -> list[Row]:
    """Mean WER over languages, by group of languages: all, resource classes (Table 4), sub-families (Table 5).

    Args:
        scores: rows of `score_rows`.
        gap: names of student and teacher. Every other system then gets a column with the share of the gap between the
            two that it closes, as in the report (39 %, section 5.2).

    Returns:
        A row for each data set, split and group, with a column for each system, and the `unit` of the rates. A mean is
        over the languages that all systems were scored on.
    """
    wers: dict[tuple, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    units = {(score["data_set"], score["split"], score["language"]): score["unit"] for score in scores}
    for score in scores:
        wers[score["data_set"], score["split"]][score["system"]][score["language"]] = score["wer"]
    rows = []
    for (data_set, split), by_system in wers.items():
        shared = set.intersection(*map(set, by_system.values()))
        for group, members in _groups(shared):
            means = {system: mean(by_language[code] for code in members) for system, by_language in by_system.items()}
            row: Row = {"data_set": data_set, "split": split, "group": group, "languages": " ".join(members)}
            kinds = dict.fromkeys(units[data_set, split, code] for code in members)
            row |= {**means, "unit": ", ".join(kinds), "normalizer": scores[0]["normalizer"]}
            if gap is not None:
                row |= {f"gap closed, {name}": gap_closed(means, name, gap) for name in means if name not in gap}
            rows.append(row)
    return rows


def gap_closed(wers: Mapping[str, float], system: str, gap: tuple[str, str]) -> float | None:
    """The share of the gap between student and teacher that a system closes; `None` if the teacher is not better.

    Example:
        >>> gap_closed({"small": 0.5, "ours": 0.25, "large": 0.0}, "ours", ("small", "large"))
        0.5
    """
    student, teacher = (wers.get(name) for name in gap)
    if student is None or teacher is None or student <= teacher:
        return None
    return (student - wers[system]) / (student - teacher)


def difference_rows(first: Records, second: Records, difference: Callable[[Records, Records], Row]) -> list[Row]:
    """The difference of two systems, a row for each data set, split and language with two or more utterances.

    Args:
        first: the records of the one system.
        second: those of the other.
        difference: compares records, such as `wer_difference`.

    Raises:
        ValueError: the systems transcribed different utterances of one of them.
    """
    rows: list[Row] = []
    second_cells = _cells(second)
    for cell, records in _cells(first).items():
        others = second_cells.get(cell)
        if others is None or len(records) < 2:
            continue
        if [_utterance(record) for record in records] != [_utterance(record) for record in others]:
            raise ValueError(f"The two systems transcribed different utterances of {' '.join(cell)}.")
        row = {**dict(zip(CELL, cell, strict=True)), "utterances": len(records)}
        rows.append(row | difference(records, others))
    return rows


def wer_difference(first: Records, second: Records, normalizer: str) -> Row:
    """The first system's WER minus the second's on the same records.

    Returns:
        `difference`, the ends of its 95 % interval by paired bootstrap, `low` and `high`, and `real`: whether 0 is
        outside the interval.
    """
    counts = _counts(first, normalizer)
    difference = compare_errors(counts, _counts(second, normalizer))
    row: Row = {"difference": difference.wer, "low": difference.low, "high": difference.high}
    return row | {"real": difference.is_real, "unit": counts.unit, "normalizer": counts.normalizer}


def _utterance(record: Mapping) -> tuple[str, str]:
    return record["id"], record["reference"]


def _cells(records: Records) -> dict[tuple[str, ...], list[Mapping]]:
    """The records of each data set, split and language, in the order of their ids."""
    cells: dict[tuple[str, ...], list[Mapping]] = defaultdict(list)
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
