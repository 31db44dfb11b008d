"""Word and character error rates of a corpus, by jiwer, with bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import regex

from .normalization import NORMALIZERS, normalizer_name

RESAMPLES = 1000
CONFIDENCE = 0.95
# The same 2 to 100 characters, a letter among them, five times in a row: the text of a decoder in a loop.
LOOP = regex.compile(r"(.{2,100}?)\1{4,}")


@dataclass(frozen=True)
class ErrorCounts:
    """Counts of each utterance, as arrays `(utterances,)`. Indexing returns the counts of some utterances.

    Attributes:
        hits, substitutions, deletions, insertions: words; in scripts that do not space words, characters.
        character_errors: wrong, missing and extra characters.
        characters: characters of the reference.
        loops: whether the transcript repeats a text five times or more and the reference does not.
        empty: whether the transcript is empty and the reference is not.
        by_character: whether characters are counted in place of words (`unit`).
        normalizer: the rule by which both texts were compared: the name of the normaliser, with its version.

    Example:
        >>> from modeling_distilwhisper import count_errors
        >>> counts = count_errors(["one two three", "four"], ["one too three", "four"])
        >>> counts.errors.tolist(), counts[:1].rates()["wer"] == 1 / 3
        ([1, 0], True)
    """

    hits: np.ndarray
    substitutions: np.ndarray
    deletions: np.ndarray
    insertions: np.ndarray
    character_errors: np.ndarray
    characters: np.ndarray
    loops: np.ndarray
    empty: np.ndarray
    by_character: np.ndarray
    normalizer: str

    @cached_property
    def words(self) -> np.ndarray:
        """Words of the reference, or its characters in scripts that do not space words."""
        return self.hits + self.substitutions + self.deletions

    @cached_property
    def errors(self) -> np.ndarray:
        """Wrong, missing and extra words."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def unit(self) -> str:
        """What the WER counts: "words", "characters", or in some utterances the one and in some the other."""
        kinds = {"words": not self.by_character.all(), "characters": self.by_character.any()}
        return " and ".join(name for name, occurs in kinds.items() if occurs)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, chosen) -> "ErrorCounts":
        """The counts of some utterances; `chosen` is a slice, indices or a mask, as for NumPy."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "normalizer"}
        return ErrorCounts(**{name: array[chosen] for name, array in arrays.items()}, normalizer=self.normalizer)

    def rates(self) -> dict[str, float | int | str]:
        """Rates of the corpus: sums of errors over sums of words.

        Returns:
            `wer` and `cer` (0.1 is 10 %; if no reference has a word, the number of errors), `words`, `unit` (what is
            counted as a word), `hits`, `substitutions`, `deletions`, `insertions`, `loop_rate` and `empty_rate` (shares
            of utterances), `utterances` and `normalizer`.
        """
        counts = {name: int(getattr(self, name).sum()) for name in ("words", "hits", "substitutions", "deletions")}
        return {
            "wer": float(ratio(self.errors, self.words)),
            "cer": float(ratio(self.character_errors, self.characters)),
            **counts,
            "insertions": int(self.insertions.sum()),
            "loop_rate": float(self.loops.mean()),
            "empty_rate": float(self.empty.mean()),
            "utterances": len(self),
            "unit": self.unit,
            "normalizer": self.normalizer,
        }

    def wer_interval(self, seed: int = 0) -> tuple[float, float] | None:
        """The 95 % bootstrap interval of the WER over utterances (Bisani and Ney, ICASSP 2004), by percentiles.

        Args:
            seed: of the draws.

        Returns:
            Lower and upper end, or `None` for fewer than two utterances.
        """
        return bootstrap_interval(ratio, (self.errors, self.words), seed)


@dataclass(frozen=True)
class Difference:
    """The WER of one system minus that of another, on the same utterances.

    Attributes:
        wer: the difference; below 0, the first system makes fewer errors.
        low, high: ends of its 95 % paired bootstrap interval.
    """

    wer: float
    low: float
    high: float

    @property
    def is_real(self) -> bool:
        """Whether 0 is outside the interval."""
        return self.low > 0 or self.high < 0


def count_errors(
    references: Sequence[str],
    hypotheses: Sequence[str],
    normalizer: str = "marks",
    languages: str | Sequence[str] | None = None,
) -> ErrorCounts:
    """Compares transcripts with references, utterance by utterance.

    Args:
        references: the correct texts.
        hypotheses: the transcripts, in the same order.
        normalizer: "marks" keeps combining marks with their letters; "report" is the report's (section 5.1.4).
        languages: Whisper's code, of all utterances or of each: some rules are those of a language, such as Turkish i.

    Returns:
        The counts of each utterance.

    Raises:
        ValueError: lists of different length, nothing to score, or an unknown normaliser.

    Example:
        >>> from modeling_distilwhisper import count_errors
        >>> count_errors(["one two three", "four"], ["one too three", "four five"]).errors.tolist()
        [1, 1]
    """
    one_for_all = isinstance(languages, str) or languages is None
    codes: Any = [languages] * len(references) if one_for_all else languages
    if not len(references) == len(hypotheses) == len(codes) or not len(references):
        raise ValueError(
            f"Expected as many hypotheses as references, at least one, and a language for each; got {len(hypotheses)}, "
            f"{len(references)} and {len(codes)}."
        )
    rule = NORMALIZERS[normalizer_name(normalizer)]
    compared = [
        [rule.compare(text, language) for text, language in zip(texts, codes, strict=True)]
        for texts in (references, hypotheses)
    ]
    references, hypotheses = ([" ".join(text.units) for text in texts] for texts in compared)
    import jiwer  # here and not above: training on a machine without it needs the rest of this module

    words = _edits(jiwer.process_words(references, hypotheses).alignments)
    references, hypotheses = ([text.characters for text in texts] for texts in compared)
    characters = _edits(jiwer.process_characters(references, hypotheses).alignments)
    pairs = list(zip(references, hypotheses, strict=True))
    return ErrorCounts(
        **words,
        character_errors=characters["substitutions"] + characters["deletions"] + characters["insertions"],
        characters=characters["hits"] + characters["substitutions"] + characters["deletions"],
        loops=np.array([has_loop(hypothesis) and not has_loop(reference) for reference, hypothesis in pairs]),
        empty=np.array([bool(reference and not hypothesis) for reference, hypothesis in pairs]),
        by_character=np.array([text.by_character for text in compared[0]]),
        normalizer=rule.name,
    )


def error_rates(
    references: Sequence[str],
    hypotheses: Sequence[str],
    normalizer: str = "marks",
    languages: str | Sequence[str] | None = None,
) -> dict[str, float | int | str]:
    """Error rates of a corpus: `ErrorCounts.rates` of `count_errors`.

    Args:
        references: the correct texts.
        hypotheses: the transcripts, in the same order.
        normalizer: as for `count_errors`.
        languages: as for `count_errors`.

    Returns:
        `wer`, `cer` and more, as `ErrorCounts.rates` lists them.

    Raises:
        ValueError: as for `count_errors`.

    Example:
        >>> from modeling_distilwhisper import error_rates
        >>> rates = error_rates(["one two three four"], ["one two three for"])
        >>> rates["wer"], rates["words"], rates["normalizer"]
        (0.25, 4, 'marks-2')
    """
    return count_errors(references, hypotheses, normalizer, languages).rates()


def compare_errors(first: ErrorCounts, second: ErrorCounts, seed: int = 0) -> Difference:
    """The difference in WER of two systems on the same utterances, by paired bootstrap.

    Args:
        first: of the one system.
        second: of the other, on the same references in the same order.
        seed: of the draws.

    Returns:
        The first system's WER minus the second's, with its 95 % interval.

    Raises:
        ValueError: the references or the normalisers differ, or there are fewer than two utterances.

    Example:
        >>> from modeling_distilwhisper import compare_errors, count_errors
        >>> references = ["one two", "three four"] * 20
        >>> first, second = count_errors(references, references), count_errors(references, ["one"] * 40)
        >>> difference = compare_errors(first, second)
        >>> difference.wer, difference.is_real
        (-0.75, True)
    """
    same = first.normalizer == second.normalizer and np.array_equal(first.words, second.words)
    if not same or len(first) < 2:
        raise ValueError(
            "Expected counts of the same two or more utterances under one normaliser; got "
            f"{len(first)} ({first.words.sum()} words, {first.normalizer!r}) and "
            f"{len(second)} ({second.words.sum()} words, {second.normalizer!r})."
        )
    samples = (first.errors - second.errors, first.words)
    low, high = bootstrap_interval(ratio, samples, seed) or (np.nan, np.nan)
    return Difference(float(ratio(*samples)), low, high)


def has_loop(text: str) -> bool:
    return begins_loop(f"{text} ")  # with a space, so that the last word ends as the others do


def begins_loop(text: str) -> bool:
    """Whether each text that begins with this one has a loop."""
    return any(regex.search(r"\p{L}", match[1]) for match in LOOP.finditer(text))


def ratio(errors: np.ndarray, words: np.ndarray, axis: int = -1) -> np.ndarray | float:
    """Sum of errors divided by sum of words, along an axis; the sum of errors if there are no words."""
    value = errors.sum(axis=axis) / np.maximum(words.sum(axis=axis), 1)
    return float(value) if value.ndim == 0 else value


def bootstrap_interval(statistic, samples, seed: int = 0, paired: bool = True) -> tuple[float, float] | None:
    """The 95 % bootstrap interval of a statistic, by percentiles.

    Args:
        statistic: a function of the samples and an `axis`, as `scipy.stats.bootstrap` takes it.
        samples: arrays with an element for each unit that is drawn: an utterance, or the sums of a speaker.
        seed: of the draws.
        paired: whether elements with the same index belong to the same unit.

    Returns:
        Lower and upper end, or `None` where a sample has fewer than two units.
    """
    if min(map(len, samples)) < 2:
        return None
    from scipy.stats import bootstrap  # it takes seconds to import

    ends = bootstrap(
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
    return float(ends.low), float(ends.high)


def _edits(alignments) -> dict[str, np.ndarray]:
    """Counts of each utterance, by kind, from jiwer's alignments."""
    kinds = {"equal": "hits", "substitute": "substitutions", "delete": "deletions", "insert": "insertions"}
    counts = {name: np.zeros(len(alignments), dtype=np.int64) for name in kinds.values()}
    for row, chunks in enumerate(alignments):
        for chunk in chunks:
            in_reference = chunk.ref_end_idx - chunk.ref_start_idx
            in_hypothesis = chunk.hyp_end_idx - chunk.hyp_start_idx
            counts[kinds[chunk.type]][row] += max(in_reference, in_hypothesis)
    return counts
