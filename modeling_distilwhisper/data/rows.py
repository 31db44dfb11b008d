"""The one kind of row that every reader makes."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from datasets import Dataset, Features, Value

SPLITS = ("train", "validation", "test")
TEXT_COLUMNS = ("transcription", "sentence", "text")

_string = Value("string")
# `audio` is stored as datasets stores undecoded audio: the content of a file, or else where it lies. It is no `Audio`
# feature, which could not even be written without torchcodec.
FEATURES = Features(
    {
        "audio": {"bytes": Value("binary"), "path": _string},
        "text": _string,
        "language": _string,  # Whisper's code
        "data_set": _string,
        "split": _string,
        "id": _string,  # of the utterance, within its data set and split
        "sentence_id": _string,  # the same for all who read the sentence; empty where unknown, as are those below
        "gender": _string,  # "male", "female", or what else the corpus says
        "age": _string,  # as the corpus says: "twenties", "34"
        "accent": _string,  # as the corpus says
        "speaker": _string,  # the same for all that one person said
    }
)


def make_rows(rows: Iterable[Mapping]) -> Dataset:
    """A data set of rows given as mappings of `FEATURES`; what is not given is empty. `audio` may be a path."""
    columns: dict[str, list] = {name: [] for name in FEATURES}
    for row in rows:
        for name, column in columns.items():
            column.append(row.get(name, ""))
    columns["audio"] = [
        {"bytes": None, "path": str(audio)} if isinstance(audio, str | Path) else audio for audio in columns["audio"]
    ]
    return Dataset.from_dict(columns, features=FEATURES)


def check_split(split: str) -> None:
    """
    Raises:
        ValueError: it is none of `SPLITS`.
    """
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}. Expected one of {', '.join(SPLITS)}.")


def inside(folder: Path, name: str) -> str:
    """The path of a file that a listing names, or nothing where the name leads out of the listing's folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        return ""
    plain = os.path.normpath(name)
    if os.path.isabs(plain) or plain.split(os.sep)[0] == os.pardir:
        return ""
    return str(folder / plain)


def one_line(text) -> str:
    """The text with single spaces, without line breaks; nothing where it is no text."""
    return " ".join(text.split()) if isinstance(text, str) else ""
