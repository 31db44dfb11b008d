"""A folder of recordings with metadata.csv or metadata.jsonl, the layout of Transformers' `audiofolder`."""

import csv
import json
from collections import Counter
from pathlib import Path

from datasets import Dataset
from transformers.utils import logging

from .rows import SPLITS, TEXT_COLUMNS, inside, make_rows, one_line

logger = logging.get_logger(__name__)

LISTINGS = ("metadata.csv", "metadata.jsonl")
ABOUT = ("sentence_id", "gender", "age", "accent", "speaker")


def read_folder(data_dir: str | Path, split: str, language: str | None = None) -> Dataset:
    """Reads `data_dir/<split>/metadata.csv` (or .jsonl) and the audio files beside it.

    A row has `file_name`, one of `transcription`, `sentence` or `text`, and, if `language` is not given, `language`.
    `id` and the columns of `ABOUT` are kept where there are any.

    Args:
        split: "train", "validation" or "test".
        language: code of the language of every row; rows of another are left out if they name it.

    Returns:
        Rows (`FEATURES`). Audio is not opened yet; its path is empty where the name leads out of the folder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, or the file is no CSV or JSON lines in UTF-8.
    """
    folder = Path(data_dir, split)
    listing = next((folder / name for name in LISTINGS if (folder / name).is_file()), None)
    if listing is None:
        there = sorted({path.parent.name for name in LISTINGS for path in Path(data_dir).glob(f"*/{name}")})
        raise FileNotFoundError(
            f"There is no {folder}/metadata.csv or .jsonl. Expected a folder with one of them and audio in each of "
            f"{', '.join(SPLITS)}; {data_dir} has {', '.join(there) or 'none of them'}."
        )
    columns, lines = _read_csv(listing) if listing.suffix == ".csv" else _read_jsonl(listing)
    text_column = next((name for name in TEXT_COLUMNS if name in columns), None)
    if "file_name" not in columns or text_column is None or (language is None and "language" not in columns):
        raise ValueError(
            f"{listing} has columns {columns}. Expected file_name, one of {', '.join(TEXT_COLUMNS)}, and language "
            "unless the language is given."
        )
    rows, others = [], Counter()
    for line in lines:
        own = str(line.get("language") or language or "").strip().lower()
        if language not in (None, own):
            others[own] += 1
            continue
        row = {column: str(line.get(column) or "") for column in ABOUT}
        row |= {
            "id": str(line.get("id") or line.get("file_name") or ""),
            "data_set": Path(data_dir).name,
            "split": split,
        }
        row |= {
            "audio": inside(folder, line.get("file_name")),
            "text": one_line(line.get(text_column)),
            "language": own,
        }
        rows.append(row)
    if others:
        told = ", ".join(f"{count} of {name!r}" for name, count in others.most_common())
        logger.warning(f"{listing}: left out rows of other languages than {language!r}: {told}")
    return make_rows(rows)


def _read_csv(listing: Path) -> tuple[list[str], list[dict]]:
    try:
        with open(listing, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            return list(reader.fieldnames or []), list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{listing} is no CSV in UTF-8 ({error}, after line {reader.line_num}).") from None


def _read_jsonl(listing: Path) -> tuple[list[str], list[dict]]:
    lines = []
    try:
        with open(listing, encoding="utf-8-sig") as file:
            for line in file:
                if line.strip():
                    lines.append(dict(json.loads(line)))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{listing} has no JSON object in UTF-8 ({error}) after row {len(lines)}.") from None
    return list(dict.fromkeys(name for line in lines for name in line)), lines
