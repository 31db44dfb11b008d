"""Scores of a model on several data sets, in and out of domain, by language."""

from collections.abc import Mapping

from datasets import Dataset

from .trainer import DistilWhisperTrainer

TestSets = Mapping[str, Mapping[str, Dataset]]  # by name and language
Scores = dict[str, dict[str, dict[str, float | str | None]]]  # by name and language


def score(trainer: DistilWhisperTrainer, tests: TestSets) -> Scores:
    """Error rates of the trainer's model, by data set and language.

    Returns:
        For each `ErrorCounts.rates`, with the ends of the WER's 95 % interval, `wer_low` and `wer_high` (`None` for a
        single utterance); of translations, `translation_rates`.
    """
    return {
        name: {language: _rates(trainer, rows) for language, rows in by_language.items()}
        for name, by_language in tests.items()
    }


def _rates(trainer: DistilWhisperTrainer, rows: Dataset) -> dict[str, float | str | None]:
    predictions = trainer.predict(rows, metric_key_prefix="test")
    if getattr(trainer.data_collator, "task", "transcribe") == "translate":
        from ..evaluation.translation import translation_rates  # here alone: the module needs an extra
        from .translation_scores import records_of

        return {**translation_rates(records_of(predictions, trainer.processing_class.tokenizer))}
    counts = trainer.count_errors(predictions)
    low, high = counts.wer_interval() or (None, None)
    return counts.rates() | {"wer_low": low, "wer_high": high}


def translation_rows(scores: Mapping[str, Scores]) -> list[dict[str, float | str | None]]:
    """A table's rows, one for each data set and language: utterances, and BLEU and chrF of each system."""
    rows = []
    for name, by_language in next(iter(scores.values())).items():
        for language, rates in by_language.items():
            row = {"data_set": name, "language": language, "utterances": rates["utterances"]}
            for system, system_scores in scores.items():
                for metric, title in {"bleu": "BLEU", "chrf": "chrF"}.items():
                    row[f"{title}, {system}"] = system_scores.get(name, {}).get(language, {}).get(metric)
            rows.append(row)
    return rows


def wer_rows(scores: Mapping[str, Scores]) -> list[dict[str, float | str | None]]:
    """A table's rows, one for each data set and language: words, and the WER of each system that was scored on it.

    The rows are the first system's data sets and languages. Where systems were scored by different rules, `normalizer`
    names all of them.
    """
    rows = []
    for name, by_language in next(iter(scores.values())).items():
        for language, rates in by_language.items():
            by_system = {system: scored.get(name, {}).get(language, {}) for system, scored in scores.items()}
            rules = dict.fromkeys(str(one["normalizer"]) for one in by_system.values() if one)
            row = {"data_set": name, "language": language, "words": rates["words"]}
            row |= {"unit": rates["unit"]} if "unit" in rates else {}  # earlier versions counted words alone
            row["normalizer"] = ", ".join(rules)
            rows.append(row | {system: one.get("wer") for system, one in by_system.items()})
    return rows
