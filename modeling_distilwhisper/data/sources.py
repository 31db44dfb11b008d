"""Corpora named by one string each, in command lines and settings files."""

import glob
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from datasets import Dataset, concatenate_datasets
from transformers.utils import logging

from ..runs.language_codes import chosen_language, chosen_languages
from ..runs.settings import split_name
from .common_voice import read_common_voice
from .fleurs import read_fleurs
from .folder import read_folder
from .hub import read_hub
from .rows import FEATURES, SPLITS, check_split

logger = logging.get_logger(__name__)

READERS: dict[str, Callable[..., Dataset]] = {
    "folder": read_folder,
    "common_voice": read_common_voice,
    "fleurs": read_fleurs,
    "hub": read_hub,
}
# The form of a corpus's string, for the help texts of commands.
SPEC_FORM = f"[name=][{'|'.join(f'{reader}:' for reader in READERS)}]location[?setting=value]"
READER_NAME = re.compile(r"[A-Za-z_]{2,}")  # one letter is a drive of Windows


@dataclass(frozen=True)
class Source:
    """A corpus, and how many of its rows to use.

    Attributes:
        spec: the string that `parse` was given.
        name: `data_set` of the corpus's rows.
        reader: one of `READERS`.
        location: folder, archive or Hub id. `{language}` in it stands for the code of each language.
        counts: number of rows to keep, by split. Common Voice's are chosen by votes, as in the report; those of other
            corpora at random.
        seed: of the random choice.
        settings: further arguments of the reader.
    """

    spec: str
    name: str
    reader: str
    location: str
    counts: dict[str, int] = field(default_factory=dict)
    seed: int = 0
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, spec: str) -> "Source":
        """Parses `[name=][reader:]location[?setting=value&...]`. Without a reader, the location is a folder.

        For example `recordings/{language}`, `common_voice:cv-corpus-13.0.tar.gz?train=10000&validation=1000`,
        `fleurs:google/fleurs?text=raw_transcription`, `out-of-domain=hub:org/corpus?config=gl&text=sentence`.

        Raises:
            ValueError: the reader is unknown; the location is missing; or a number of rows or a seed is not a number
                from 0.
        """
        target, _, query = spec.partition("?")
        name, target = split_name(target)
        reader, colon, location = target.partition(":")
        if not colon or reader not in READERS:
            if colon and READER_NAME.fullmatch(reader) and not _exists(target):
                raise ValueError(
                    f"No reader {reader!r}. Known: {', '.join(READERS)}. Name a folder so: folder:{target}."
                )
            reader, location = "folder", target
        try:
            options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else {}
            numbers = {name: int(options.pop(name)) for name in (*SPLITS, "seed") if name in options}
        except ValueError:
            location = ""
        if not location or min(numbers.values(), default=0) < 0 or "" in options:
            raise ValueError(
                f"{spec!r} is not a valid corpus. Expected "
                "[name=][reader:]location[?train=10000&validation=1000&seed=0], "
                f"the reader one of {', '.join(READERS)}."
            )
        seed = numbers.pop("seed", 0)
        last_part = Path(location.replace("{language}", "")).name
        name = name or (last_part if reader in ("folder", "hub") else reader)
        return cls(spec, name, reader, location, counts=numbers, seed=seed, settings=options)

    @property
    def english(self) -> "Source":
        """The same corpus, to read its English sentences: all of them, with case and punctuation, like Whisper's."""
        raw = {"text": "raw_transcription"} if self.reader == "fleurs" else {}
        return replace(self, counts={}, settings=raw | self.settings)

    def _with_language(self, language: str) -> tuple[str, dict[str, str]]:
        settings = {name: value.replace("{language}", language) for name, value in self.settings.items()}
        return self.location.replace("{language}", language), settings

    def read(
        self, split: str, language: str, left_out: Counter[str] | None = None, at_most: int | None = None
    ) -> Dataset:
        """Reads the rows of a split in a language (`FEATURES`).

        Args:
            split: "train", "validation" or "test".
            language: Whisper's code or name. A code takes the place of `{language}`, so that no path (`../x`) can.
            left_out: gets the number of rows of a table that the reader left out, by reason.
            at_most: fetch no more than this many rows of a corpus that is streamed. Others are read whole.

        Raises:
            ValueError: split or language is unknown, the reader lacks a setting, or what the reader raises.
            FileNotFoundError: the corpus has no such split or language.
        """
        check_split(split)
        language = chosen_language(language)
        read, count = READERS[self.reader], self.counts.get(split)
        takes_count = self.reader == "common_voice" or "streaming" in self.settings
        extra: dict[str, Any] = {"count": count} if takes_count else {}
        if at_most is not None and self.settings.get("streaming", "").lower() == "true":
            count = extra["count"] = min(at_most, at_most if count is None else count)
        if self.reader != "hub":  # it reads no table
            extra["left_out"] = left_out
        location, settings = self._with_language(language)
        try:
            signature(read).bind(location, split, language, **extra, **settings)
        except TypeError as error:
            raise ValueError(f"The reader {self.reader} cannot take {self.settings}: {error}.") from None
        rows = read(location, split, language, **extra, **settings)
        ids = rows["id"][:]
        if len(set(ids) - {""}) < len(ids):  # each row needs an id that no other row has
            ids = [f"{number} {name}".strip() for number, name in enumerate(ids)]
        rows = rows.remove_columns(["id", "data_set"])
        for column, values in {"id": ids, "data_set": [self.name] * len(ids)}.items():
            rows = rows.add_column(column, values, feature=FEATURES[column])
        rows = rows.select_columns(list(FEATURES))
        if count is not None and count > len(rows) and count != at_most:
            logger.warning(f"{self.spec}: expected {count} rows of {split} {language}, got {len(rows)}.")
        if count is None or count >= len(rows):
            return rows
        return rows.shuffle(seed=self.seed).select(range(count))


def _exists(target: str) -> bool:
    """Whether a path exists, for some language if `{language}` is in it."""
    return bool(glob.glob("*".join(glob.escape(part) for part in target.split("{language}"))))


def parse_sources(specs: Sequence[str], languages: Sequence[str]) -> list[Source]:
    """Parses the strings that name corpora.

    Args:
        specs: strings such as `recordings/{language}` (see `Source.parse`).
        languages: codes or names of the languages to read.

    Raises:
        ValueError: a string cannot be parsed; a language is unknown; two corpora have the same name; or the string of a
            Hub corpus lacks `{language}` and there are several languages.

    Example:
        >>> from modeling_distilwhisper import parse_sources
        >>> specs = ["recordings/{language}", "common_voice:cv-corpus-13.0-2023-03-09?train=10000"]
        >>> [(source.name, source.reader, source.counts) for source in parse_sources(specs, ["gl", "ca"])]
        [('recordings', 'folder', {}), ('common_voice', 'common_voice', {'train': 10000})]
    """
    languages = chosen_languages(languages)
    sources = [Source.parse(spec) for spec in specs]
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise ValueError(f"Two corpora have the same name ({', '.join(names)}). Name them: name=location.")
    for source in sources:
        if source.reader == "hub" and len(languages) > 1 and "{language}" not in source.spec:
            raise ValueError(
                f"{source.spec} would give the same rows for {' and '.join(languages)}. Put {{language}} into it, "
                "such as hub:org/corpus?config={language}."
            )
    return sources


def read_sources(sources: Sequence[Source], split: str, languages: Sequence[str]) -> Dataset:
    """Reads several corpora and languages, one after the other.

    Returns:
        Rows (`FEATURES`).

    Raises:
        ValueError: what `Source.read` raises.
        FileNotFoundError: a corpus has no such split or language.

    Example:
        >>> from modeling_distilwhisper import parse_sources, read_sources
        >>> sources = parse_sources(["examples/quickstart/in_domain/{language}"], ["ca", "hu"])
        >>> rows = read_sources(sources, "test", ["ca", "hu"])
        >>> rows["data_set"][0], sorted(set(rows["language"]))
        ('in_domain', ['ca', 'hu'])
    """
    codes = chosen_languages(languages)
    return concatenate_datasets([source.read(split, code) for source in sources for code in codes])
