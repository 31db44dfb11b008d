"""Scores of a model on several test sets, in and out of domain, by language."""

from collections.abc import Mapping

from datasets import Dataset

from .trainer import DistilWhisperTrainer

TestSets = Mapping[str, Mapping[str, Dataset]]  # by name and language
Scores = dict[str, dict[str, dict[str, float | str | None]]]  # likewise


def score(trainer: DistilWhisperTrainer, tests: TestSets) -> Scores:
    """Error rates of the trainer's model, by test set and language.

    Returns:
        For each `wer` with the ends of its 95 % interval, `wer_low` and `wer_high` (`None` for one utterance alone),
        `cer`, `words`, `utterances` and the normaliser's name.
    """
    return {name: {language: _rates(trainer, rows) for language, rows in own.items()} for name, own in tests.items()}


def _rates(trainer: DistilWhisperTrainer, rows: Dataset) -> dict[str, float | str | None]:
    counts, _ = trainer.count_errors(trainer.predict(rows, metric_key_prefix="test"))
    rates = {name: counts.rates()[name] for name in ("wer", "cer", "words", "utterances", "normalizer")}
    low, high = counts.wer_interval() or (None, None)
    return rates | {"wer_low": low, "wer_high": high}


def wer_rows(scores: Mapping[str, Scores]) -> list[dict[str, float | str]]:
    """A table's rows, one for each test set and language: words, and the WER of every system that was scored there."""
    rows = []
    for name, own in next(iter(scores.values())).items():
        for language, rates in own.items():
            row = {"test set": name, "language": language, "words": rates["words"], "normalizer": rates["normalizer"]}
            there = {system: found.get(name, {}).get(language) for system, found in scores.items()}
            rows.append(row | {system: None if rates is None else rates["wer"] for system, rates in there.items()})
    return rows
