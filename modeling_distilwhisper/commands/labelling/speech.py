"""What is to be labelled: recordings in files and folders, or the rows of corpora, whose texts are not read."""

import argparse
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ...data.audio import read_audio
from ...data.sources import parse_sources
from ...data.voice import Detector, all_of_it
from ...runs.processes import on_main
from ...transcription.labelled_corpus import ABOUT
from ...transcription.recordings import find_recordings, find_unsupported
from ...transcription.sequential import is_silent
from ...transcription.windows import Window, cut_windows
from ..command_line import say

DETECT = "detect"
OF_FOLDERS = (DETECT, "folder")  # what `--language` may be for recordings, besides a code


@dataclass
class Unlabelled:
    """A recording, or a row of a corpus.

    Attributes:
        name: unique in the run. It comes from outside.
        audio: what `read_audio` takes, or the rows and the index of one.
        language: a code, or `None` to detect it.
        is_row: whether it is an utterance already: one that fits Whisper's window is not cut.
        size: of the file, in bytes.
        about: the speaker, as far as it is known.
    """

    name: str
    audio: Path | tuple[Dataset, int]
    language: str | None
    is_row: bool = False
    size: int | None = None
    about: dict[str, str] = field(default_factory=dict)

    def read(self) -> np.ndarray:
        """Its samples `(samples,)` at 16 kHz.

        Raises:
            ValueError: it cannot be read, or is empty.
        """
        source: Any = self.audio
        if isinstance(source, tuple):
            rows, index = source
            source = rows[index]["audio"]
        samples = read_audio(source)
        if not len(samples):
            raise ValueError("the recording is empty")
        return samples

    def windows(self, samples: np.ndarray, detector: Detector | None, limit: int) -> list[Window]:
        """Its utterances, of at most `limit` samples; none if it is silent."""
        if is_silent(samples):
            return []
        is_utterance = self.is_row and len(samples) <= limit
        return cut_windows((all_of_it if is_utterance or detector is None else detector)(samples), limit)


def read_speech(arguments: argparse.Namespace, known: set[str]) -> tuple[list[Unlabelled], dict[str, str]]:
    """All that is to be labelled, and what cannot be, with the reason. All processes call it.

    Args:
        arguments: of the command.
        known: codes that the model knows.

    Raises:
        ValueError: neither recordings nor corpora are given, or both; the model does not know a language; or what
            `find_recordings` and the readers raise.
    """
    if bool(arguments.recordings) == bool(arguments.data):
        raise ValueError("Expected recordings (files and folders) or corpora (--data), one of the two.")
    if arguments.data:
        return _rows_of(arguments, known), {}
    if len(arguments.language) != 1:
        raise ValueError(f"Expected one --language for recordings: a code, detect or folder; got {arguments.language}.")
    return on_main(_recordings_of, arguments, known)


def _recordings_of(arguments: argparse.Namespace, known: set[str]) -> tuple[list[Unlabelled], dict[str, str]]:
    output_dir = Path(arguments.output_dir)
    found = find_recordings(arguments.recordings, output_dir, arguments.language[0], known)
    inside = output_dir.resolve()  # what an earlier run wrote is no recording
    found = [recording for recording in found if not recording.path.resolve().is_relative_to(inside)]
    unlabelled, failures = [], {}
    for recording in found[: arguments.max_rows]:
        name = printable(recording.target.relative_to(output_dir))
        try:
            size = recording.path.stat().st_size
        except OSError as error:
            failures[name] = str(error)
            continue
        unlabelled.append(Unlabelled(name, recording.path, recording.language, size=size))
    unsupported = find_unsupported(arguments.recordings, found)
    return unlabelled, failures | {printable(path): reason for path, reason in unsupported.items()}


def _rows_of(arguments: argparse.Namespace, known: set[str]) -> list[Unlabelled]:
    languages = arguments.language
    if unknown := [code for code in languages if code in OF_FOLDERS or code not in known]:
        raise ValueError(
            f"--data needs the --language of its rows. Expected some of {', '.join(sorted(known))}, got {unknown[0]!r}."
        )
    unlabelled = []
    for source in parse_sources(arguments.data, languages):
        for language in languages:
            left_out: Counter[str] = Counter()
            rows = source.read(arguments.split, language, left_out, arguments.max_rows)
            rows = rows.select(range(min(len(rows), arguments.max_rows or len(rows))))
            say(f"{source.name} {arguments.split} {language}: {len(rows)} rows; left out: {dict(left_out) or 'none'}")
            about: Sequence[Mapping] = [
                {name: row[name] for name in ABOUT if row[name]} for row in rows.select_columns(list(ABOUT))
            ]
            unlabelled += [
                Unlabelled(
                    f"{source.name}/{arguments.split}/{language}/{name}", (rows, index), language, True, None, of
                )
                for index, (name, of) in enumerate(zip(rows["id"][:], map(dict, about), strict=True))
            ]
    return unlabelled


def printable(path: Path) -> str:
    """A path in a form that JSON can hold: file names may have bytes that are not text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
