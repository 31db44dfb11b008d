"""Speech with its translation into English, where a corpus has the same sentences in both (FLEURS), and its scores."""

from collections.abc import Mapping, Sequence

import sacrebleu
from datasets import Dataset
from sacrebleu.significance import PairedTest

from ..data.rows import FEATURES


def with_english(rows: Dataset, english: Dataset) -> tuple[Dataset, int]:
    """The rows that have an English counterpart, with its text in place of their own.

    Args:
        rows, english: of a corpus that numbers its sentences (`sentence_id`).

    Returns:
        These rows, and how many have none.

    Raises:
        ValueError: no sentence is in both, or both are the same rows.
    """
    if rows["id"][:] == english["id"][:] and rows["text"][:] == english["text"][:]:
        raise ValueError("The corpus was read as English too. Say where a language is: put {language} into its name.")
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
    """BLEU and chrF of the corpus, from 0 to 100, with the ends of their 95 % intervals (bootstrap over utterances,
    1,000 samples) and sacrebleu's signatures, which say how they were counted.
    """
    hypotheses, references = ([record[name] for record in records] for name in ("hypothesis", "reference"))
    row: dict[str, float | str | int] = {"utterances": len(records)}
    for name, metric in _metrics().items():
        found = metric.corpus_score(hypotheses, [references], n_bootstrap=1000)
        low, high = (float(found._mean + side * found._ci) for side in (-1, 1))
        row |= {name: found.score, f"{name} low": low, f"{name} high": high}
        row[f"{name} signature"] = str(metric.get_signature())
    return row


def translation_difference(first: Sequence[Mapping], second: Sequence[Mapping]) -> dict[str, float | bool]:
    """BLEU and chrF of the first system less the second's on the same records, and whether they are real: whether
    paired bootstrap (Koehn, 2004; 1,000 samples) finds p < 0.05."""
    systems = [(name, [record["hypothesis"] for record in own]) for name, own in (("b", second), ("a", first))]
    references = [[record["reference"] for record in first]]
    _, found = PairedTest(systems, _metrics(), references, test_type="bs")()
    row: dict[str, float | bool] = {}
    for name, title in {"bleu": "BLEU", "chrf": "chrF2"}.items():
        theirs, ours = found[title]
        difference = ours.score - theirs.score  # of none at all, the bootstrap is sure
        is_real = difference != 0 and ours.p_value < 0.05
        row |= {name: difference, f"{name} p": ours.p_value, f"{name} real": is_real}
    return row


def _metrics() -> dict[str, sacrebleu.metrics.base.Metric]:
    return {"bleu": sacrebleu.BLEU(), "chrf": sacrebleu.CHRF()}
