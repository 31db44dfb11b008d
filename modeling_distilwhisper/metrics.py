"""Word and character error rates at corpus level, by jiwer."""

from collections.abc import Sequence

import jiwer

from .normalization import NORMALIZERS


def error_rates(
    references: Sequence[str], hypotheses: Sequence[str], normalizer: str = "marks"
) -> dict[str, float | int | str]:
    """Scores transcripts against references.

    Args:
        references, hypotheses: as many texts, in the same order.
        normalizer: name of the normaliser, one of `NORMALIZERS`; it stands in the result.

    Returns:
        `wer` and `cer` (errors over all reference words or characters: 0.1 is 10 %), `words`, `hits`,
        `substitutions`, `deletions`, `insertions`, `utterances` and `normalizer`.

    Raises:
        ValueError: lists of different length, nothing to score, or an unknown normaliser.
    """
    if len(references) != len(hypotheses) or not references:
        raise ValueError(
            f"Expected as many hypotheses as references, at least one; got {len(hypotheses)} and {len(references)}."
        )
    if normalizer not in NORMALIZERS:
        raise ValueError(f"Unknown normalizer {normalizer!r}. Expected one of: {', '.join(NORMALIZERS)}.")
    normalize = NORMALIZERS[normalizer]
    references, hypotheses = [normalize(text) for text in references], [normalize(text) for text in hypotheses]
    words = jiwer.process_words(references, hypotheses)
    return {
        "wer": words.wer,
        "cer": jiwer.cer(references, hypotheses),
        "words": words.hits + words.substitutions + words.deletions,
        "hits": words.hits,
        "substitutions": words.substitutions,
        "deletions": words.deletions,
        "insertions": words.insertions,
        "utterances": len(references),
        "normalizer": normalizer,
    }
