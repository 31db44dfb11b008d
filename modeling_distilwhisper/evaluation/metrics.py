"""Word and character error rates at corpus level, by jiwer, and how sure they are."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import jiwer
import numpy as np
import regex
from scipy.stats import bootstrap

from .normalization import NORMALIZERS, normalizer_name

RESAMPLES = 1000
CONFIDENCE = 0.95
# The same two to hundred characters, a letter among them, five times in a row: what a decoder caught in a loop writes.
LOOP = regex.compile(r"(.{2,100}?)\1{4,}")


@dataclass(frozen=True)
class ErrorCounts:
    """What was counted in each utterance, as arrays `(utterances,)`.

    Attributes:
        hits, substitutions, deletions, insertions: words.
        character_errors, characters: edits, and characters of the reference.
        loops: whether the transcript repeats itself five times in a row where the reference does not.
        empty: whether there is no transcript where there is a reference.
        normalizer: the name of the normaliser of both texts.
    """

    hits: np.ndarray
    substitutions: np.ndarray
    deletions: np.ndarray
    insertions: np.ndarray
    character_errors: np.ndarray
    characters: np.ndarray
    loops: np.ndarray
    empty: np.ndarray
    normalizer: str

    @cached_property
    def words(self) -> np.ndarray:
        """Words of the reference."""
        return self.hits + self.substitutions + self.deletions

    @cached_property
    def errors(self) -> np.ndarray:
        """Words that are wrong, missing or too many."""
        return self.substitutions + self.deletions + self.insertions

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, chosen) -> "ErrorCounts":
        """The same of some utterances."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "normalizer"}
        return ErrorCounts(**{name: array[chosen] for name, array in arrays.items()}, normalizer=self.normalizer)

    def rates(self) -> dict[str, float | int | str]:
        """Rates of the corpus: sums of errors over sums of words.

        Returns:
            `wer` and `cer` (0.1 is 10 %; where no reference has a word, the number of errors), `words`, `hits`,
            `substitutions`, `deletions`, `insertions`, `loop_rate` and `empty_rate` (shares of utterances),
            `utterances` and `normalizer`.
        """
        counts = {name: int(getattr(self, name).sum()) for name in ("words", "hits", "substitutions", "deletions")}
        return {
            "wer": ratio(self.errors, self.words),
            "cer": ratio(self.character_errors, self.characters),
            **counts,
            "insertions": int(self.insertions.sum()),
            "loop_rate": float(self.loops.mean()),
            "empty_rate": float(self.empty.mean()),
            "utterances": len(self),
            "normalizer": self.normalizer,
        }

    def wer_interval(self, seed: int = 0) -> tuple[float, float] | None:
        """The 95 % bootstrap interval of the WER over utterances (Bisani and Ney, ICASSP 2004), by percentiles.

        Returns:
            Lower and upper end, or `None` for fewer than two utterances.
        """
        return bootstrap_interval(ratio, (self.errors, self.words), seed)


@dataclass(frozen=True)
class Difference:
    """The WER of a system less another's, on the same utterances.

    Attributes:
        wer: the difference; below 0, the first makes fewer errors.
        low, high: its 95 % paired bootstrap interval.
    """

    wer: float
    low: float
    high: float

    @property
    def is_real(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def count_errors(
    references: Sequence[str],
    hypotheses: Sequence[str],
    normalizer: str = "marks",
    languages: str | Sequence[str] | None = None,
) -> ErrorCounts:
    """Compares transcripts with references, utterance by utterance.

    Args:
        references, hypotheses: as many texts, in the same order.
        normalizer: name of the normaliser, one of `NORMALIZERS`; it stands with every score.
        languages: Whisper's code of all utterances, or of each: "report" treats some languages differently.

    Raises:
        ValueError: lists of different length, nothing to score, or an unknown normaliser.
    """
    if isinstance(languages, str) or languages is None:
        languages = [languages] * len(references)
    if not len(references) == len(hypotheses) == len(languages) or not len(references):
        raise ValueError(
            f"Expected as many hypotheses as references, at least one, and a language for each; got {len(hypotheses)}, "
            f"{len(references)} and {len(languages)}."
        )
    normalizer = normalizer_name(normalizer)
    normalize = NORMALIZERS[normalizer]
    references, hypotheses = (
        [normalize(text, language) for text, language in zip(texts, languages, strict=True)]
        for texts in (references, hypotheses)
    )
    words = _edits(jiwer.process_words(references, hypotheses).alignments)
    characters = _edits(jiwer.process_characters(references, hypotheses).alignments)
    pairs = list(zip(references, hypotheses, strict=True))
    return ErrorCounts(
        **words,
        character_errors=characters["substitutions"] + characters["deletions"] + characters["insertions"],
        characters=characters["hits"] + characters["substitutions"] + characters["deletions"],
        loops=np.array([_loops(heard) and not _loops(said) for said, heard in pairs]),
        empty=np.array([bool(said and not heard) for said, heard in pairs]),
        normalizer=normalizer,
    )


def error_rates(
    references: Sequence[str],
    hypotheses: Sequence[str],
    normalizer: str = "marks",
    languages: str | Sequence[str] | None = None,
) -> dict[str, float | int | str]:
    """The corpus's `ErrorCounts.rates`; arguments and errors as in `count_errors`."""
    return count_errors(references, hypotheses, normalizer, languages).rates()


def compare_errors(first: ErrorCounts, second: ErrorCounts, seed: int = 0) -> Difference:
    """Whether two systems differ on the same utterances, by paired bootstrap.

    Raises:
        ValueError: the counts are not of the same references under the same normaliser, or of fewer than two.
    """
    same = first.normalizer == second.normalizer and np.array_equal(first.words, second.words)
    if not same or len(first) < 2:
        raise ValueError(
            "Expected counts of the same two or more utterances under one normaliser; got "
            f"{len(first)} ({first.words.sum()} words, {first.normalizer!r}) and "
            f"{len(second)} ({second.words.sum()} words, {second.normalizer!r})."
        )
    low, high = bootstrap_interval(ratio, (first.errors - second.errors, first.words), seed)
    return Difference(ratio(first.errors - second.errors, first.words), low, high)


def _loops(text: str) -> bool:
    found = LOOP.finditer(f"{text} ")  # the space, so that the last word is like those before it
    return any(regex.search(r"\p{L}", match[1]) for match in found)


def ratio(errors: np.ndarray, words: np.ndarray, axis: int = -1) -> np.ndarray | float:
    """Sum over sum, along an axis; the sum of errors where there are no words."""
    found = errors.sum(axis=axis) / np.maximum(words.sum(axis=axis), 1)
    return float(found) if found.ndim == 0 else found


def bootstrap_interval(statistic, samples, seed: int = 0, paired: bool = True) -> tuple[float, float] | None:
    """The 95 % bootstrap interval of a statistic, by percentiles.

    Args:
        statistic: of the samples and an `axis`, as `scipy.stats.bootstrap` takes it.
        samples: arrays, an element for each unit that is drawn: an utterance, or the sums of a speaker.
        paired: whether the arrays say things of the same units.

    Returns:
        Lower and upper end, or `None` where a sample has fewer than two units.
    """
    if min(map(len, samples)) < 2:
        return None
    found = bootstrap(
        samples,
        statistic,
        paired=paired,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=100,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def _edits(alignments) -> dict[str, np.ndarray]:
    """Counts by kind, of each utterance, from jiwer's alignments."""
    kinds = {"equal": "hits", "substitute": "substitutions", "delete": "deletions", "insert": "insertions"}
    counts = {name: np.zeros(len(alignments), dtype=np.int64) for name in kinds.values()}
    for row, chunks in enumerate(alignments):
        for chunk in chunks:
            said, heard = chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
            counts[kinds[chunk.type]][row] += max(said, heard)
    return counts
