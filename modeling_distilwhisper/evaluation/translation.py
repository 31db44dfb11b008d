"""Scores of translations into English, for corpora with the same sentences in both languages, such as FLEURS."""

from collections.abc import Mapping, Sequence
from typing import Any

import sacrebleu
from datasets import Dataset
from sacrebleu.significance import PairedTest

from ..data.rows import FEATURES
from ..workarounds import bootstrap_ends, with_plain_numbers


def with_english(rows: Dataset, english: Dataset) -> tuple[Dataset, int]:
    """The rows whose sentence exists in English, with the English text as their text.

    Args:
        rows: of a corpus that numbers its sentences (`sentence_id`).
        english: rows of the same corpus in English.

    Returns:
        These rows, and how many rows were left out.

    Raises:
        ValueError: no sentence exists in both languages, or both are the same rows.
    """
    if rows["id"][:] == english["id"][:] and rows["text"][:] == english["text"][:]:
        raise ValueError(
            "The corpus gave the same rows for English. Put {language} into its location, in the language's place."
        )
    texts = {number: text for number, text in zip(english["sentence_id"], english["text"], strict=True) if number}
    kept = [index for index, number in enumerate(rows["sentence_id"]) if number in texts]
    if not kept:
        raise ValueError(
            f"None of {len(rows)} rows has a sentence_id that one of {len(english)} English rows has. To score "
            "translation, give a corpus with the same sentences in English, such as FLEURS."
        )
    translated = [texts.get(number, "") for number in rows["sentence_id"]]
    paired = rows.remove_columns("text").add_column("text", translated, feature=FEATURES["text"])
    return paired.select_columns(rows.column_names).select(kept), len(rows) - len(kept)


def translation_rates(records: Sequence[Mapping]) -> dict[str, float | str | int]:
    """BLEU and chrF of a corpus, from 0 to 100.

    Args:
        records: as `transcribe_rows` makes them with `task="translate"`.

    Returns:
        `utterances`, and for `bleu` and `chrf` the score, the ends of its 95 % interval (`bleu low`, `bleu high`;
        bootstrap over utterances, 1,000 samples), and sacrebleu's signature, which describes the computation.
    """
    hypotheses, references = ([record[name] for record in records] for name in ("hypothesis", "reference"))
    row: dict[str, float | str | int] = {"utterances": len(records)}
    for name, metric in translation_metrics().items():
        score = metric.corpus_score(hypotheses, [references], n_bootstrap=1000)
        low, high = bootstrap_ends(score)
        row |= {name: score.score, f"{name} low": low, f"{name} high": high}
        row[f"{name} signature"] = str(metric.get_signature())
    return row


def translation_difference(first: Sequence[Mapping], second: Sequence[Mapping]) -> dict[str, float | bool]:
    """BLEU and chrF of the first system minus those of the second, on the same records.

    Args:
        first: the records of the one system.
        second: those of the other, in the same order.

    Returns:
        For `bleu` and `chrf` the difference, `bleu p`, and `bleu real`: whether paired bootstrap (Koehn, 2004; 1,000
        samples) gives p < 0.05.
    """
    systems: list[tuple[str, Sequence[str]]] = [
        (name, [record["hypothesis"] for record in records]) for name, records in (("b", second), ("a", first))
    ]
    references = [[record["reference"] for record in first]]
    results: tuple[Any, dict[str, Any]] = PairedTest(systems, translation_metrics(), references, test_type="bs")()
    scores = results[1]
    row: dict[str, float | bool] = {}
    for name, title in {"bleu": "BLEU", "chrf": "chrF2"}.items():
        of_second, of_first = scores[title]
        difference = of_first.score - of_second.score
        is_real = difference != 0 and of_first.p_value < 0.05  # for equal scores, p is small too
        row |= {name: difference, f"{name} p": of_first.p_value, f"{name} real": is_real}
    return row


def translation_metrics() -> dict[str, sacrebleu.metrics.base.Metric]:
    """BLEU and chrF as sacrebleu computes them."""
    return {"bleu": sacrebleu.BLEU(), "chrf": with_plain_numbers(sacrebleu.CHRF())}
