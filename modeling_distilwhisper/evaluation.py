"""Scores of a model on several test sets, in and out of domain, by language."""

from collections.abc import Mapping

from datasets import Dataset

from .trainer import DistilWhisperTrainer

TestSets = Mapping[str, Mapping[str, Dataset]]  # by name and language
Scores = dict[str, dict[str, dict[str, float | str]]]  # likewise


def score(trainer: DistilWhisperTrainer, tests: TestSets) -> Scores:
    """Error rates of the trainer's model, by test set and language.

    Returns:
        `wer`, `cer`, `words`, `utterances` and the normaliser's name for each.
    """
    return {name: {language: _rates(trainer, rows) for language, rows in own.items()} for name, own in tests.items()}


def _rates(trainer: DistilWhisperTrainer, rows: Dataset) -> dict[str, float | str]:
    metrics = trainer.predict(rows, metric_key_prefix="test").metrics
    rates = {name: metrics[f"test_{name}"] for name in ("wer", "cer", "words", "utterances")}
    return rates | {"normalizer": trainer.args.normalizer}


def wer_rows(scores: Mapping[str, Scores]) -> list[dict[str, float | str]]:
    """A table's rows, one for each test set and language: words, and the WER of every system that was scored there."""
    rows = []
    for name, own in next(iter(scores.values())).items():
        for language, rates in own.items():
            row = {"test set": name, "language": language, "words": rates["words"], "normalizer": rates["normalizer"]}
            there = {system: found.get(name, {}).get(language) for system, found in scores.items()}
            rows.append(row | {system: None if rates is None else rates["wer"] for system, rates in there.items()})
    return rows
