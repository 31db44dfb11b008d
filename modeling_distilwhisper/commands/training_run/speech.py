"""The rows of a training run: which are trained on, which choose the checkpoint, which are tested on."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from datasets import Dataset, concatenate_datasets
from transformers import WhisperProcessor

from ...data.rows import SPLITS
from ...data.selection import read_rows
from ...data.sources import Source, parse_sources
from ...runs.results import DataRecord
from ..command_line import say
from .arguments import DataArguments


class SpeechData:
    """All rows that can be used, and how many cannot, by reason.

    Args:
        data_args: the corpora.
        languages: the trained languages.
        processor: the student's.
        max_tokens: the student's longest target.
        splits: those that are wanted. The others are not read.

    Attributes:
        train, validation: rows of the trained languages, of all corpora; `None` if that split is not wanted.
        tests: test rows by corpus and language, also of languages that are only tested; empty if not wanted.
        languages: the trained languages.
        first: the name of the first corpus.
        records: rows, hours and rows left out, of each corpus, split and language.
        chosen: the corpora with their settings, and the ids of the rows that are used: what `rows.json` holds.
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

        def read(source: Source, split: str, language: str) -> Dataset:
            selection = read_rows(
                source,
                split,
                language,
                max_rows=data_args.max_rows,
                processor=processor,
                max_tokens=max_tokens,
                purpose={"train": "train on", "test": "score"}.get(split),
            )
            say(str(selection))
            rows, left_out = selection.rows, dict(selection.left_out)
            ids[selection.title] = list(rows["id"])
            self.records.append(DataRecord(source.name, split, language, len(rows), selection.hours, left_out))
            return rows

        tested = list(dict.fromkeys([*languages, *data_args.test_languages]))
        sources = parse_sources([*data_args.data, *data_args.test_data], tested)
        trained = sources[: len(data_args.data)]
        self.first = trained[0].name
        self.train, self.validation = (
            concatenate_datasets([read(source, split, language) for source in trained for language in languages])
            if split in splits
            else None
            for split in ("train", "validation")
        )
        if self.validation is not None and not len(self.validation):
            raise ValueError("No usable row for validation, by which the best checkpoint is chosen.")
        self.tests = (
            {source.name: {language: read(source, "test", language) for language in tested} for source in sources}
            if "test" in splits
            else {}
        )
        self.chosen: dict[str, Any] = {"sources": [asdict(source) for source in sources], "rows": ids}

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
