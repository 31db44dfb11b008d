"""The form of the rows that every reader returns."""

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from datasets import Dataset, Features, Value

from ..runs.numbers import LOSS_WEIGHT

SPLITS = ("train", "validation", "test")
TEXT_COLUMNS = ("transcription", "sentence", "text")

_string = Value("string")
# `audio` holds the bytes of a file or its path, the form of audio that `datasets` has not decoded. An `Audio` feature
# would need torchcodec. `Source.read` sets `data_set`, and replaces all ids if one is empty or repeated.
FEATURES = Features(
    {
        "audio": {"bytes": Value("binary"), "path": _string},
        "text": _string,
        "language": _string,  # Whisper's code
        "data_set": _string,
        "split": _string,
        "id": _string,  # of the utterance, unique in its data set and split
        "sentence_id": _string,  # the same for all recordings of a sentence; "" if unknown, as in the columns below
        "gender": _string,  # "male", "female", or the corpus's word
        "age": _string,  # the corpus's word: "twenties", "34"
        "accent": _string,  # the corpus's word
        "speaker": _string,  # the same for all recordings of one person
        "loss_weight": Value("float64"),  # of the row in the loss of a training; 1 unless a corpus says otherwise
    }
)


def make_rows(rows: Iterable[Mapping]) -> Dataset:
    """Makes a data set of mappings with the names of `FEATURES`. `audio` may be a path.

    Missing columns are "", and a missing `loss_weight` is 1.
    """
    columns: dict[str, list] = {name: [] for name in FEATURES}
    for row in rows:
        for name, column in columns.items():
            column.append(row.get(name, 1.0 if name == "loss_weight" else ""))
    columns["audio"] = [
        {"bytes": None, "path": str(audio)} if isinstance(audio, str | Path) else audio for audio in columns["audio"]
    ]
    return Dataset.from_dict(columns, features=FEATURES)


def check_split(split: str) -> None:
    """Refuses unknown splits.

    Raises:
        ValueError: the split is not one of `SPLITS`.
    """
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}. Expected one of {', '.join(SPLITS)}.")


def path_inside(folder: Path, name: str | None, corpus: str | Path | None = None) -> str:
    """The path of a file that a table names, or "" if the path is outside.

    Neither tables nor links are trusted: an absolute path, `..` and a NUL lead nowhere, and a link in the folder leads
    only to files of the corpus.

    A name may be written as on Windows (`clips\\a.wav`), or in another Unicode normal form than on the disk: macOS
    writes "é" as two code points where most tables have one. The file that is there counts.

    Args:
        folder: what the name is relative to.
        name: the cell.
        corpus: the folder that the user named, which holds `folder` and may be a link; by default `folder`.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        return ""
    path = _inside(folder, name)
    if "\\" in name and not (path and os.path.exists(path)):
        name = name.replace("\\", "/")
        path = "" if re.match("[A-Za-z]:", name) else _inside(folder, name)
    if path and not name.isascii() and not os.path.exists(path):
        path = _on_disk(folder, os.path.relpath(path, folder)) or path
    return path if path and _is_inside(path, corpus or folder) else ""


def require_inside(path: Path, corpus: str | Path) -> None:
    """Refuses a listing that a link puts outside the corpus.

    Raises:
        ValueError: it is outside.
    """
    if not _is_inside(str(path), corpus):
        raise ValueError(f"{path} is a link that leads out of {corpus}. Put the file itself there.")


def _is_inside(path: str, corpus: str | Path) -> bool:
    """Whether the file itself is in the corpus, where all links lead to."""
    root = Path(corpus)
    if root.absolute().parent.name == "snapshots":  # the Hub's cache: the files are in `blobs`, next to `snapshots`
        root = root.absolute().parent.parent
    real = os.path.realpath(path) if os.path.islink(path) else os.path.join(_real(os.path.dirname(path)), "file")
    return Path(real).is_relative_to(_real(str(root)))


@lru_cache(maxsize=256)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _inside(folder: Path, name: str) -> str:
    relative = os.path.normpath(name)
    if os.path.isabs(relative) or relative.split(os.sep)[0] == os.pardir:
        return ""
    return str(folder / relative)


def _on_disk(folder: Path, relative: str) -> str | None:
    """The path of a file whose name has the same characters in any normal form; `None` if there is none."""
    path = str(folder)
    for part in relative.split(os.sep):
        if not os.path.exists(os.path.join(path, part)):
            try:
                part = _by_normal_form(path, os.stat(path).st_mtime_ns)[unicodedata.normalize("NFC", part)]
            except (KeyError, OSError):
                return None
        path = os.path.join(path, part)
    return path


@lru_cache(maxsize=8)
def _by_normal_form(folder: str, modified: int) -> dict[str, str]:
    return {unicodedata.normalize("NFC", name): name for name in os.listdir(folder)}


def loss_weight(cell: str | None) -> float | None:
    """The weight of a row in the loss: 1 for an empty cell, `None` for one that is no weight (`LOSS_WEIGHT`)."""
    if cell is None or not cell.strip():
        return 1.0
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if value in LOSS_WEIGHT else None


def one_line(text) -> str:
    """The text on one line, with single spaces; "" if it is not a string."""
    return " ".join(text.split()) if isinstance(text, str) else ""
