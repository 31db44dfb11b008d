"""Speech data as rows of (audio, text, language, split, speaker), and which rows can be trained on."""

import csv
import os
import re
from collections import Counter
from pathlib import Path

from datasets import Dataset
from tqdm.auto import tqdm
from transformers import WhisperProcessor
from transformers.utils import logging

from .audio import SAMPLING_RATE, read_audio
from .collate import label_ids

logger = logging.get_logger(__name__)

SPLITS = ("train", "validation", "test")
SPEAKER_COLUMNS = ("gender", "age")
CONTROL_TOKEN = re.compile(r"<\|[^|]*\|>")
TEXT_COLUMNS = ("transcription", "sentence", "text")


def read_folder(data_dir: str | Path, split: str, language: str | None = None) -> Dataset:
    """Reads `data_dir/<split>/metadata.csv` and the audio files beside it, the layout of Transformers' `audiofolder`.

    The file has a header with `file_name`, one of `transcription`, `sentence` or `text`, and, if `language` is not
    given, `language`. `gender` and `age` are kept where there are any.

    Args:
        split: "train", "validation" or "test".
        language: code of the language of every row; rows of another are left out if the file has that column.

    Returns:
        Rows of `audio` (path; empty where the name leads out of the folder), `text`, `language`, `split`, `gender` and
        `age`. Audio is not opened yet.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, or the file is no CSV in UTF-8.
    """
    folder = Path(data_dir, split)
    listing = folder / "metadata.csv"
    if not listing.is_file():
        there = sorted(path.parent.name for path in Path(data_dir).glob("*/metadata.csv"))
        raise FileNotFoundError(
            f"There is no {listing}. Expected a folder with metadata.csv and audio in each of {', '.join(SPLITS)}; "
            f"{data_dir} has {', '.join(there) or 'none of them'}."
        )
    try:
        with open(listing, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns, lines = reader.fieldnames or [], list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{listing} is no CSV in UTF-8 ({error}, after line {reader.line_num}).") from None
    text_column = next((name for name in TEXT_COLUMNS if name in columns), None)
    if "file_name" not in columns or text_column is None or (language is None and "language" not in columns):
        raise ValueError(
            f"{listing} has columns {columns}. Expected file_name, one of {', '.join(TEXT_COLUMNS)}, and language "
            "unless the language is given."
        )
    rows, others = [], Counter()
    for line in lines:
        own = (line.get("language") or language or "").strip().lower()
        if language in (None, own):
            row = {
                "audio": _inside(folder, line["file_name"] or ""),
                "text": " ".join((line[text_column] or "").split()),
                "language": own,
                "split": split,
            }
            rows.append(row | {name: line.get(name) or "" for name in SPEAKER_COLUMNS})
        else:
            others[own] += 1
    if others:
        told = ", ".join(f"{count} of {name!r}" for name, count in others.most_common())
        logger.warning(f"{listing}: left out rows of other languages than {language!r}: {told}")
    return Dataset.from_list(rows) if rows else Dataset.from_dict({name: [] for name in ("audio", "text", "language")})


def keep_usable(rows: Dataset, processor: WhisperProcessor, max_tokens: int = 448) -> tuple[Dataset, Counter]:
    """Leaves out rows that cannot be trained on, and counts them by reason. No row is ever fatal.

    Args:
        processor: the model's: its window (30 s) bounds the audio, its tokenizer counts the text.
        max_tokens: the model's longest target, prompt and end token included.

    Returns:
        The other rows, with a column `seconds`, and a count a reason.
    """
    left_out: Counter[str] = Counter()
    kept, seconds = [], []
    for index, row in enumerate(tqdm(rows, desc="Checking rows", unit="row", disable=len(rows) < 1000)):
        reason, duration = _check(row, processor, max_tokens)
        if reason is None:
            kept.append(index)
            seconds.append(duration)
        else:
            left_out[reason] += 1
    return rows.select(kept).add_column("seconds", seconds), left_out


def _check(row: dict, processor: WhisperProcessor, max_tokens: int) -> tuple[str | None, float]:
    if not row["text"].strip():
        return "empty text", 0.0
    if CONTROL_TOKEN.search(row["text"]):
        return "control token in the text", 0.0
    try:
        labels = label_ids(processor.tokenizer, row["text"], row["language"])
    except ValueError:
        return "unknown language", 0.0
    if not os.path.isfile(row["audio"]):
        return "missing audio file", 0.0
    try:
        duration = len(read_audio(row["audio"])) / SAMPLING_RATE  # by the samples: headers of cut mp3 files lie
    except ValueError:
        return "unreadable audio", 0.0
    if duration == 0:
        return "empty audio", 0.0
    window = processor.feature_extractor.chunk_length
    if duration > window:
        return f"audio over {window} s", duration
    if len(labels) > max_tokens:
        return f"text over {max_tokens} tokens", duration
    return None, duration


def _inside(folder: Path, file_name: str) -> str:
    """The path of a file that a listing names, or nothing where the name leads out of the listing's folder."""
    name = os.path.normpath(file_name)
    if not file_name or "\0" in file_name or os.path.isabs(name) or name.split(os.sep)[0] == os.pardir:
        return ""
    return str(folder / name)
