"""Scores of a model on several data sets, in and out of domain, by language."""

from collections.abc import Mapping

from datasets import Dataset

from .trainer import DistilWhisperTrainer

TestSets = Mapping[str, Mapping[str, Dataset]]  # by name and language
Scores = dict[str, dict[str, dict[str, float | str | None]]]  # by name and language


def score(trainer: DistilWhisperTrainer, tests: TestSets) -> Scores:
    """Error rates of the trainer's model, by data set and language.

    Returns:
        For each `wer` with the ends of its 95 % interval, `wer_low` and `wer_high` (`None` for a single utterance),
        `cer`, `words`, `utterances` and the normaliser's name.
    """
    return {
        name: {language: _rates(trainer, rows) for language, rows in by_language.items()}
        for name, by_language in tests.items()
    }


def _rates(trainer: DistilWhisperTrainer, rows: Dataset) -> dict[str, float | str | None]:
    counts = trainer.count_errors(trainer.predict(rows, metric_key_prefix="test"))
    rates = {name: counts.rates()[name] for name in ("wer", "cer", "words", "utterances", "normalizer")}
    low, high = counts.wer_interval() or (None, None)
    return rates | {"wer_low": low, "wer_high": high}


def wer_rows(scores: Mapping[str, Scores]) -> list[dict[str, float | str | None]]:
    """A table's rows, one for each data set and language: words, and the WER of each system that was scored on it.

    The rows are the first system's data sets and languages.
    """
    rows = []
    for name, by_language in next(iter(scores.values())).items():
        for language, rates in by_language.items():
            row = {"data_set": name, "language": language, "words": rates["words"], "normalizer": rates["normalizer"]}
            for system, system_scores in scores.items():
                row[system] = system_scores.get(name, {}).get(language, {}).get("wer")
            rows.append(row)
    return rows
