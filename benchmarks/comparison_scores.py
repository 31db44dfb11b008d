"""Error rates of the comparison's runs and their paired differences, counted from the transcripts."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from modeling_distilwhisper.evaluation.metrics import count_errors
from modeling_distilwhisper.evaluation.seeds import Errors, PairedDifference, errors_of, paired_difference, wer


class Utterance(NamedTuple):
    """A recording as it was transcribed: `name` is that of the unchanged recording in every domain."""

    language: str
    split: str
    domain: str  # "clean", or the name of a shift
    name: str


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
    errors = dict(zip(utterances, errors_of(counts), strict=True))
    return ScoredRun(record, errors, dict(zip(utterances, hypotheses, strict=True)))


def by_language(runs: list[ScoredRun], measure: Callable[[ScoredRun], float]) -> dict[str, list[float]]:
    """What is measured of each run, by language."""
    values = defaultdict(list)
    for run in runs:
        values[run.record["language"]].append(measure(run))
    return values


def compare(
    first: list[ScoredRun], second: list[ScoredRun], belongs: Group, *, insertions: bool = True
) -> PairedDifference | None:
    """WER of the first system minus that of the second, over the languages and seeds that both have.

    All shifts of a recording, and what all seeds made of it, are drawn together.

    Args:
        second: the untrained model, which has one seed, is compared with each of the first's seeds.
        insertions: as for `paired_difference`.

    Returns:
        `None` if the systems share no language and seed.
    """
    others = {run.key: run for run in second}
    untrained = {run.record["language"]: run for run in second if run.record["kind"] == "plain"}
    pairs = [(run, untrained.get(run.record["language"]) or others.get(run.key)) for run in first]
    return paired_difference(
        [(run.test_errors(belongs), other.test_errors(belongs)) for run, other in pairs if other is not None],
        lambda utterance: (utterance.language, utterance.name),
        insertions=insertions,
    )


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
