"""Systems that were trained with several seeds: means over languages and seeds, and paired differences over all."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .metrics import Difference, ErrorCounts, bootstrap_interval, ratio

Utterance = TypeVar("Utterance", bound=Hashable)


class Errors(NamedTuple):
    """What was counted in the transcript of an utterance."""

    words: int
    errors: int
    insertions: int
    loops: bool


@dataclass(frozen=True)
class PairedDifference:
    """A difference of pooled WER, and on how much it rests.

    Attributes:
        difference: with its 95 % interval.
        recordings: how many different recordings were drawn.
        runs: pairs of runs.
        words: of the references, over all pairs.
    """

    difference: Difference
    recordings: int
    runs: int
    words: int


def errors_of(counts: ErrorCounts) -> list[Errors]:
    """The counts of each utterance.

    Example:
        >>> from modeling_distilwhisper.evaluation.metrics import count_errors
        >>> from modeling_distilwhisper.evaluation.seeds import errors_of
        >>> errors_of(count_errors(["one two"], ["one two three"]))
        [Errors(words=2, errors=1, insertions=1, loops=False)]
    """
    columns = (counts.words, counts.errors, counts.insertions, counts.loops)
    return [Errors(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def wer(errors: Iterable[Errors]) -> float:
    """Errors over words, pooled."""
    errors = list(errors)
    return sum(one.errors for one in errors) / max(sum(one.words for one in errors), 1)


def mean_over_languages(by_language: Mapping[str, Iterable[float]]) -> float:
    """The mean over languages of the mean over seeds."""
    return mean(mean(values) for values in by_language.values())


def spread_of_seeds(by_language: Mapping[str, Iterable[float]]) -> float | None:
    """The mean over languages of the standard deviation over seeds; `None` for a single seed."""
    spreads = [stdev(values) for values in map(list, by_language.values()) if len(values) > 1]
    return mean(spreads) if spreads else None


def paired_difference(
    pairs: Iterable[tuple[Mapping[Utterance, Errors], Mapping[Utterance, Errors]]],
    recording: Callable[[Utterance], Any] = lambda utterance: utterance,
    *,
    insertions: bool = True,
) -> PairedDifference | None:
    """WER of one system minus that of another, over pairs of their runs, pooled over all words.

    The bootstrap draws recordings: what all runs made of a recording is drawn together. So the interval says what other
    recordings might give, not what other seeds might.

    Args:
        pairs: the errors of both systems by utterance, for each pair of runs. The second has all utterances of the
            first.
        recording: of an utterance; several utterances may come from one recording, such as its shifts.
        insertions: whether inserted words count. A transcript that loops has hundreds, and outweighs all others.

    Returns:
        `None` without utterances.

    Example:
        >>> right, wrong = Errors(2, 0, 0, False), Errors(2, 1, 0, False)
        >>> compared = paired_difference([({"a": right, "b": right}, {"a": wrong, "b": wrong})])
        >>> compared.difference.wer, compared.recordings
        (-0.5, 2)
    """
    sums: dict[Any, np.ndarray] = defaultdict(lambda: np.zeros(2))
    runs = 0
    for first, second in pairs:
        runs += 1
        for utterance, errors in first.items():
            other = second[utterance]
            difference = errors.errors - other.errors
            if not insertions:
                difference -= errors.insertions - other.insertions
            sums[recording(utterance)] += difference, errors.words
    if not sums:
        return None
    differences, words = np.array([sums[key] for key in sorted(sums)]).T
    low, high = bootstrap_interval(ratio, (differences, words)) or (np.nan, np.nan)
    return PairedDifference(Difference(float(ratio(differences, words)), low, high), len(sums), runs, int(words.sum()))
