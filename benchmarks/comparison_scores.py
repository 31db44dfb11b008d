"""Error rates of the comparison's runs and their paired differences, counted from the transcripts."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np

from modeling_distilwhisper.evaluation.metrics import Difference, bootstrap_interval, count_errors, ratio


class Utterance(NamedTuple):
    """A recording as it was transcribed: `name` is that of the unchanged recording in every domain."""

    language: str
    split: str
    domain: str  # "clean", or the name of a shift
    name: str


class Errors(NamedTuple):
    """What was counted in the transcript of an utterance."""

    words: int
    errors: int
    insertions: int
    loops: bool


@dataclass(frozen=True)
class ScoredRun:
    """A run, and the errors of each of its utterances.

    Attributes:
        record: the run without its transcripts.
        errors: by utterance.
        transcripts: by utterance.
    """

    record: dict
    errors: dict[Utterance, Errors]
    transcripts: dict[Utterance, str]

    @property
    def key(self) -> tuple[str, int]:
        """Language and seed: what two runs have in common that are compared."""
        return self.record["language"], self.record["seed"]

    def test_errors(self, belongs: "Group") -> dict[Utterance, Errors]:
        """The errors of the test utterances of a group."""
        language = self.record["language"]
        chosen = (item for item in self.errors.items() if item[0].split == "test")
        return {utterance: errors for utterance, errors in chosen if belongs(utterance, language)}

    def wer(self, belongs: "Group") -> float:
        """The word error rate on a group of test utterances."""
        return wer(self.test_errors(belongs).values())


Group = Callable[[Utterance, str], bool]  # whether an utterance belongs to it, of a run that trained this language
SHIFTS = ("gsm", "fast", "room", "noise-10", "noise-5")


def in_domain(utterance: Utterance, language: str) -> bool:
    """The recordings as they are, in the trained language."""
    return utterance.language == language and utterance.domain == "clean"


def out_of_domain(utterance: Utterance, language: str) -> bool:
    """All shifts, in the trained language."""
    return utterance.language == language and utterance.domain != "clean"


def other_languages(utterance: Utterance, language: str) -> bool:
    """The recordings as they are, in the languages that were not trained."""
    return utterance.language != language


def everywhere(utterance: Utterance, language: str) -> bool:
    return True


def one_shift(name: str) -> Group:
    """The utterances of one domain, in the trained language."""
    return lambda utterance, language: utterance.language == language and utterance.domain == name


def score(run: dict, normalizer: str = "report") -> ScoredRun:
    """Counts the errors of a run's transcripts. A run without transcripts (a search) has none."""
    record = {name: value for name, value in run.items() if name not in ("transcripts", "log")}
    lines = run.get("transcripts") or []
    if not lines:
        return ScoredRun(record, {}, {})
    utterances = [Utterance(*(line[name] for name in ("language", "split", "domain", "id"))) for line in lines]
    references, hypotheses = ([line[name] for line in lines] for name in ("reference", "hypothesis"))
    counts = count_errors(references, hypotheses, normalizer, [line["language"] for line in lines])
    columns = (counts.words.tolist(), counts.errors.tolist(), counts.insertions.tolist(), counts.loops.tolist())
    errors = dict(zip(utterances, map(Errors, *columns), strict=True))
    return ScoredRun(record, errors, dict(zip(utterances, hypotheses, strict=True)))


def wer(errors: Iterable[Errors]) -> float:
    """Errors over words, pooled."""
    errors = list(errors)
    return sum(one.errors for one in errors) / max(sum(one.words for one in errors), 1)


def mean_over_languages(runs: list[ScoredRun], measure: Callable[[ScoredRun], float]) -> float:
    """The mean over languages of the mean over seeds."""
    by_language = defaultdict(list)
    for run in runs:
        by_language[run.record["language"]].append(measure(run))
    return mean(map(mean, by_language.values()))


def spread_of_seeds(runs: list[ScoredRun], belongs: Group) -> float | None:
    """The mean over languages of the standard deviation over seeds; `None` for a single seed."""
    by_language = defaultdict(list)
    for run in runs:
        by_language[run.record["language"]].append(run.wer(belongs))
    spreads = [stdev(wers) for wers in by_language.values() if len(wers) > 1]
    return mean(spreads) if spreads else None


@dataclass(frozen=True)
class PairedDifference:
    """A difference of pooled WER, and on how much it rests.

    Attributes:
        difference: with its 95 % interval.
        recordings: how many different recordings were drawn.
        runs: pairs of runs of one language and seed.
        words: of the references, over all pairs.
    """

    difference: Difference
    recordings: int
    runs: int
    words: int


def compare(
    first: list[ScoredRun], second: list[ScoredRun], belongs: Group, *, insertions: bool = True
) -> PairedDifference | None:
    """WER of the first system minus that of the second, over the languages and seeds that both have.

    The bootstrap draws recordings: all shifts of a recording, and what all seeds made of it, are drawn together. So
    the interval says what other recordings might give, not what other seeds might.

    Args:
        second: the untrained model, which has one seed, is compared with each of the first's seeds.
        insertions: whether inserted words count. A transcript that loops has hundreds, and outweighs all others.

    Returns:
        `None` if the systems share no language and seed.
    """
    others = {run.key: run for run in second}
    untrained = {run.record["language"]: run for run in second if run.record["kind"] == "plain"}
    sums: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(2))
    pairs = 0
    for run in first:
        other = untrained.get(run.record["language"]) or others.get(run.key)
        if other is None:
            continue
        pairs += 1
        theirs = other.test_errors(belongs)
        for utterance, errors in run.test_errors(belongs).items():
            difference = errors.errors - theirs[utterance].errors
            if not insertions:
                difference -= errors.insertions - theirs[utterance].insertions
            sums[utterance.language, utterance.name] += difference, errors.words
    if not sums:
        return None
    differences, words = np.array([sums[key] for key in sorted(sums)]).T
    low, high = bootstrap_interval(ratio, (differences, words)) or (np.nan, np.nan)
    difference = Difference(float(ratio(differences, words)), low, high)
    return PairedDifference(difference, len(sums), pairs, int(words.sum()))


def changed_transcripts(runs: list[ScoredRun], untrained: list[ScoredRun], belongs: Group) -> tuple[int, int]:
    """How many test transcripts of a group differ from those of the untrained model, and of how many."""
    by_language = {run.record["language"]: run for run in untrained}
    changed = total = 0
    for run in runs:
        before = by_language[run.record["language"]].transcripts
        for utterance in run.test_errors(belongs):
            changed += run.transcripts[utterance] != before[utterance]
            total += 1
    return changed, total
