"""Speech data as rows of (audio, text, language, split, speaker), and which rows can be trained on."""

import csv
from collections import Counter
from pathlib import Path

from datasets import Dataset
from tqdm.auto import tqdm
from transformers import WhisperProcessor

from .audio import SAMPLING_RATE, read_audio
from .collate import label_ids

SPLITS = ("train", "validation", "test")
TEXT_COLUMNS = ("transcription", "sentence", "text")


def read_folder(data_dir: str | Path, split: str, language: str | None = None) -> Dataset:
    """Reads `data_dir/<split>/metadata.csv` and the audio files beside it, the layout of Transformers' `audiofolder`.

    The file has a header with `file_name`, one of `transcription`, `sentence` or `text`, and, if `language` is not
    given, `language`. `gender` and `age` are kept where there are any.

    Args:
        split: "train", "validation" or "test".
        language: code of the language of every row; rows of another are left out if the file has that column.

    Returns:
        Rows of `audio` (path), `text`, `language`, `split`, `gender` and `age`. Audio is not opened yet.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, or a file name leads out of the folder.
    """
    folder = Path(data_dir, split)
    listing = folder / "metadata.csv"
    if not listing.is_file():
        there = sorted(path.parent.name for path in Path(data_dir).glob("*/metadata.csv"))
        raise FileNotFoundError(
            f"There is no {listing}. Expected a folder with metadata.csv and audio in each of {', '.join(SPLITS)}; "
            f"{data_dir} has {', '.join(there) or 'none of them'}."
        )
    with open(listing, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        text_column = next((name for name in TEXT_COLUMNS if name in columns), None)
        if "file_name" not in columns or text_column is None or (language is None and "language" not in columns):
            raise ValueError(
                f"{listing} has columns {columns}. Expected file_name, one of {', '.join(TEXT_COLUMNS)}, and language "
                "unless the language is given."
            )
        rows = [
            {
                "audio": str(_inside(folder, row["file_name"], listing)),
                "text": " ".join((row[text_column] or "").split()),
                "language": row.get("language") or language,
                "split": split,
                "gender": row.get("gender") or "",
                "age": row.get("age") or "",
            }
            for row in reader
            if language is None or row.get("language") in (None, "", language)
        ]
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
    if not Path(row["audio"]).is_file():
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
    if len(label_ids(processor.tokenizer, row["text"], row["language"])) > max_tokens:
        return f"text over {max_tokens} tokens", duration
    return None, duration


def _inside(folder: Path, file_name: str, listing: Path) -> Path:
    """The path of a file named by a data set, which may name nothing outside its folder."""
    path = folder / (file_name or "")
    if not file_name or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{listing} names the file {file_name!r}. Expected names of files inside {folder}.")
    return path
