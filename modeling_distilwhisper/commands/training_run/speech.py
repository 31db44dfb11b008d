"""The rows of a training run: which are trained on, which choose the checkpoint, which are tested on."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from datasets import Dataset, concatenate_datasets
from transformers import WhisperProcessor

from ...data.rows import FEATURES, SPLITS
from ...data.selection import read_rows
from ...data.sources import Source, parse_sources
from ...runs.results import DataRecord
from ..command_line import say
from .arguments import DataArguments

WEIGHTLESS = "weight 0"  # why a row is left out


def weighed(rows: Dataset, factor: float) -> tuple[Dataset, int]:
    """Rows with their `loss_weight` times a factor, without those of weight 0, and the number of these."""
    if factor != 1:
        weights = [weight * factor for weight in rows["loss_weight"][:]]
        rows = rows.remove_columns("loss_weight").add_column("loss_weight", weights, feature=FEATURES["loss_weight"])
    kept = [index for index, weight in enumerate(rows["loss_weight"][:]) if weight]
    return (rows.select(kept) if len(kept) < len(rows) else rows), len(rows) - len(kept)


class SpeechData:
    """All rows that can be used, and how many cannot, by reason.

    Args:
        data_args: the corpora.
        languages: the trained languages.
        processor: the student's.
        max_tokens: the student's longest target.
        splits: those that are wanted. The others are not read.

    Attributes:
        train, validation: rows of the trained languages, of all corpora, those of `train_data` in the former alone;
            `None` if that split is not wanted.
        tests: test rows by corpus and language, also of languages that are only tested; empty if not wanted.
        languages: the trained languages.
        first: the name of the first corpus.
        records: rows, hours and rows left out, of each corpus, split and language.
        chosen: the corpora with their settings, and the ids of the rows that are used, with weights that are not 1:
            what `rows.json` holds.
    """

    def __init__(
        self,
        data_args: DataArguments,
        languages: list[str],
        processor: WhisperProcessor,
        max_tokens: int,
        splits: Collection[str] = SPLITS,
    ):
        self.languages = languages
        self.records: list[DataRecord] = []
        ids: dict[str, list[str]] = {}
        weights: dict[str, list[float]] = {}

        def read(source: Source, split: str, language: str) -> Dataset:
            selection = read_rows(
                source,
                split,
                language,
                max_rows=data_args.max_rows,
                processor=processor,
                max_tokens=max_tokens,
                purpose=None if source in more else {"train": "train on", "test": "score"}.get(split),
            )
            say(str(selection))
            rows, left_out = selection.rows, dict(selection.left_out)
            if split == "train":
                rows, without = weighed(rows, data_args.train_data_weight if source in more else 1.0)
                left_out |= {WEIGHTLESS: without} if without else {}
                if any(weight != 1 for weight in rows["loss_weight"][:]):
                    weights[selection.title] = list(rows["loss_weight"])
            ids[selection.title] = list(rows["id"])
            self.records.append(
                DataRecord(source.name, split, language, len(rows), sum(rows["seconds"]) / 3600, left_out)
            )
            return rows

        tested = list(dict.fromkeys([*languages, *data_args.test_languages]))
        sources = parse_sources([*data_args.data, *data_args.test_data, *data_args.train_data], tested)
        trained = sources[: len(data_args.data)]
        more = sources[len(data_args.data) + len(data_args.test_data) :]  # a corpus without test and validation rows
        sources = [source for source in sources if source not in more]
        self.first = trained[0].name
        self.train, self.validation = (
            concatenate_datasets(
                [
                    read(source, split, language)
                    for source in ([*trained, *more] if split == "train" else trained)
                    for language in languages
                ]
            )
            if split in splits
            else None
            for split in ("train", "validation")
        )
        if self.validation is not None and not len(self.validation):
            raise ValueError("No usable row for validation, by which the best checkpoint is chosen.")
        if self.train is not None and not len(self.train):
            raise ValueError("No usable row to train on: all have a loss_weight of 0.")
        for source in more:
            if self.train is not None and not any(
                record.rows for record in self.records if record.data_set == source.name
            ):
                raise ValueError(f"No usable row to train on in {source.spec!r}, of --train_data.")
        self.tests = (
            {source.name: {language: read(source, "test", language) for language in tested} for source in sources}
            if "test" in splits
            else {}
        )
        self.chosen: dict[str, Any] = {"sources": [asdict(source) for source in [*sources, *more]], "rows": ids}
        self.chosen |= {"weights": weights} if weights else {}

    def count(self, split: str) -> int:
        """Number of rows of a split, of all corpora and languages."""
        return sum(record.rows for record in self.records if record.split == split)

    @property
    def trained_tests(self) -> dict[str, dict[str, Dataset]]:
        """`tests` of the trained languages alone."""
        return {
            corpus: {language: rows[language] for language in self.languages} for corpus, rows in self.tests.items()
        }

    @property
    def example(self) -> dict:
        """A test row of the first corpus and language, to try the saved model on."""
        return self.tests[self.first][self.languages[0]][0]
