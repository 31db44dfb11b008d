"""Where rows come from, as one word of a command line or a settings file."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from urllib.parse import parse_qsl

from datasets import Dataset, concatenate_datasets
from transformers.utils import logging

from ..runs.settings import split_name
from .common_voice import read_common_voice
from .fleurs import read_fleurs
from .folder import read_folder
from .hub import read_hub
from .rows import FEATURES, SPLITS, check_split

logger = logging.get_logger(__name__)

READERS = {"folder": read_folder, "common_voice": read_common_voice, "fleurs": read_fleurs, "hub": read_hub}


@dataclass(frozen=True)
class Source:
    """A corpus and how much of it.

    Attributes:
        written: as it was given to `parse`.
        name: what its rows say as `data_set`.
        reader: one of `READERS`.
        location: folder, archive or Hub id; `{language}` in it stands for each language's code.
        counts: rows to keep, by split. Common Voice's by votes, as in the report; of other corpora, chosen at random.
        seed: of that choice.
        settings: what else the reader takes.
    """

    written: str
    name: str
    reader: str
    location: str
    counts: dict[str, int] = field(default_factory=dict)
    seed: int = 0
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, written: str) -> "Source":
        """Reads `[name=][reader:]location[?setting=value&...]`; a plain location is a folder.

        `recordings/{language}`, `common_voice:cv-corpus-13.0.tar.gz?train=10000&validation=1000`,
        `fleurs:google/fleurs?text=raw_transcription`, `out-of-domain=hub:org/corpus?config=gl&text=sentence`.

        Raises:
            ValueError: nothing is named, or a number is none.
        """
        place, _, query = written.partition("?")
        name, place = split_name(place)
        reader, colon, location = place.partition(":")
        if not colon or reader not in READERS:
            reader, location = "folder", place
        try:
            options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else {}
            numbers = {name: int(options.pop(name)) for name in (*SPLITS, "seed") if name in options}
        except ValueError:
            location = ""
        if not location or min(numbers.values(), default=0) < 0:
            raise ValueError(
                f"{written!r} names no data. Expected [name=][reader:]location[?train=10000&validation=1000&seed=0], "
                f"the reader one of {', '.join(READERS)}."
            )
        seed = numbers.pop("seed", 0)
        place = Path(location.replace("{language}", "")).name
        name = name or (place if reader in ("folder", "hub") else reader)
        return cls(written, name, reader, location, counts=numbers, seed=seed, settings=options)

    @property
    def english(self) -> "Source":
        """The same corpus for its English sentences: all of them, and written as Whisper writes."""
        as_written = {"text": "raw_transcription"} if self.reader == "fleurs" else {}
        return replace(self, counts={}, settings=as_written | self.settings)

    def _filled(self, language: str) -> tuple[str, dict[str, str]]:
        settings = {name: value.replace("{language}", language) for name, value in self.settings.items()}
        return self.location.replace("{language}", language), settings

    def read(self, split: str, language: str) -> Dataset:
        """The rows of a split in a language (`FEATURES`).

        Raises:
            ValueError: an unknown split, a setting that the reader does not have, or what the reader raises.
        """
        check_split(split)
        read, count = READERS[self.reader], self.counts.get(split)
        by_votes = {"count": count} if self.reader == "common_voice" else {}
        location, settings = self._filled(language)
        try:
            signature(read).bind(location, split, language, **by_votes, **settings)
        except TypeError as error:
            raise ValueError(f"The reader {self.reader} cannot take {self.settings}: {error}.") from None
        rows = read(location, split, language, **by_votes, **settings)
        ids = rows["id"][:]
        if len(set(ids) - {""}) < len(ids):  # each row must be known by its own
            ids = [f"{number} {name}".strip() for number, name in enumerate(ids)]
        rows = rows.remove_columns(["id", "data_set"])
        for column, values in {"id": ids, "data_set": [self.name] * len(ids)}.items():
            rows = rows.add_column(column, values, feature=FEATURES[column])
        rows = rows.select_columns(list(FEATURES))
        if count is not None and count > len(rows):
            logger.warning(f"{self.written}: {count} rows of {split} {language} were asked for, there are {len(rows)}.")
        if count is None or count >= len(rows):
            return rows
        return rows.shuffle(seed=self.seed).select(range(count))


def parse_sources(written: Sequence[str], languages: Sequence[str]) -> list[Source]:
    """The corpora that are named, for these languages.

    Raises:
        ValueError: what `Source.parse` raises, two of one name, or a Hub data set without `{language}` for several
            languages, which would be read as each of them.
    """
    sources = [Source.parse(one) for one in written]
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise ValueError(f"Two corpora are called alike ({', '.join(names)}). Name them: name=location.")
    for source in sources:
        if source.reader == "hub" and len(set(languages)) > 1 and "{language}" not in source.written:
            raise ValueError(
                f"{source.written} would be read as each of {', '.join(languages)}. Say where a language is, as in "
                "hub:org/corpus?config={language}."
            )
    return sources


def read_sources(sources: Sequence[Source], split: str, languages: Sequence[str]) -> Dataset:
    """The rows of several corpora and languages, one after the other."""
    return concatenate_datasets([source.read(split, language) for source in sources for language in languages])
