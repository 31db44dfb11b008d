"""Scores of a trainer's translations, over all rows and by language."""

from collections.abc import Callable

import numpy as np
from transformers import EvalPrediction, WhisperTokenizer
from transformers.trainer_utils import PredictionOutput

from ..data.labels import IGNORED
from ..evaluation.translation import translation_metrics
from ..languages_distilwhisper import language_of_token

METRIC = "chrf"  # chooses the best checkpoint: BLEU is 0 on a small set without four right words in a row


def translation_scores(tokenizer: WhisperTokenizer) -> Callable[[EvalPrediction], dict[str, float]]:
    """`compute_metrics` of a trainer: `bleu`, `chrf` and `utterances` of all rows, and of each language as `bleu_gl`.

    Args:
        tokenizer: the model's.
    """

    def compute(predictions: EvalPrediction) -> dict[str, float]:
        records = records_of(predictions, tokenizer)
        groups: dict[str, list[dict]] = {"": records}
        for record in records:
            groups.setdefault(f"_{record['language']}", []).append(record)
        scores: dict[str, float] = {}
        for suffix, of_group in groups.items():
            hypotheses, references = ([record[name] for record in of_group] for name in ("hypothesis", "reference"))
            for name, metric in translation_metrics().items():
                scores[f"{name}{suffix}"] = metric.corpus_score(hypotheses, [references]).score
            scores[f"utterances{suffix}"] = len(of_group)
        return scores

    return compute


def records_of(predictions: PredictionOutput | EvalPrediction, tokenizer: WhisperTokenizer) -> list[dict[str, str]]:
    """`hypothesis`, `reference` and `language` of each row.

    Args:
        predictions: with `predictions` and `label_ids`, both `(rows, tokens)`, padded with -100. Each row of labels
            begins with its language's token.
        tokenizer: the model's.
    """
    generated, labels = (
        [[token for token in row if token != IGNORED] for row in np.asarray(rows).tolist()]
        for rows in (predictions.predictions, predictions.label_ids)
    )
    texts = {
        name: [text.strip() for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]
        for name, rows in {"hypothesis": generated, "reference": labels}.items()
    }
    tokens = tokenizer.convert_ids_to_tokens([row[0] for row in labels])
    languages = [language_of_token(token) for token in tokens]
    rows = zip(texts["hypothesis"], texts["reference"], languages, strict=True)
    return [dict(zip(("hypothesis", "reference", "language"), row, strict=True)) for row in rows]
