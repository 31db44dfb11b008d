"""Error rates of a trainer's predictions, over all rows and by language."""

from typing import Any, NamedTuple

import numpy as np
from transformers import EvalPrediction, WhisperTokenizer
from transformers.trainer_utils import PredictionOutput

from ..data.labels import IGNORED
from ..evaluation.metrics import ErrorCounts, count_errors
from ..languages_distilwhisper import language_of_token


class PredictionErrors(NamedTuple):
    """The error counts of each row, and the code of each row's language."""

    counts: ErrorCounts
    languages: list[str]

    def scores(self) -> dict[str, float]:
        """`wer`, `cer`, `words` and `utterances` of all rows, and of each language, as `wer_gl`."""
        groups: dict[str, slice | np.ndarray] = {"": slice(None)}
        for language in dict.fromkeys(self.languages):
            groups[f"_{language}"] = np.array(self.languages) == language
        scores: dict[str, float] = {}
        for suffix, rows in groups.items():
            rates: dict[str, Any] = self.counts[rows].rates()
            scores |= {f"{name}{suffix}": rates[name] for name in ("wer", "cer", "words", "utterances")}
        return scores


def count_prediction_errors(
    predictions: PredictionOutput | EvalPrediction, tokenizer: WhisperTokenizer, normalizer: str
) -> PredictionErrors:
    """Compares generated tokens with labels, row by row.

    Args:
        predictions: with `predictions` and `label_ids`, both `(rows, tokens)`, padded with -100. Each row of labels
            begins with its language's token.
        tokenizer: the model's.
        normalizer: one of `NORMALIZERS`.
    """
    transcripts, labels = (
        [[token for token in row if token != IGNORED] for row in rows.tolist()]
        for rows in (np.asarray(predictions.predictions), np.asarray(predictions.label_ids))
    )
    hypotheses, references = (tokenizer.batch_decode(rows, skip_special_tokens=True) for rows in (transcripts, labels))
    tokens = tokenizer.convert_ids_to_tokens([row[0] for row in labels])
    languages = [language_of_token(token) for token in tokens]
    return PredictionErrors(count_errors(references, hypotheses, normalizer, languages), languages)
