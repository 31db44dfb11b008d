"""A folder of recordings with metadata.csv or metadata.jsonl: the layout that `datasets` calls `audiofolder`."""

import csv
import json
from collections import Counter
from pathlib import Path

from datasets import Dataset
from transformers.utils import logging

from .rows import SPLITS, TEXT_COLUMNS, make_rows, one_line, path_inside

logger = logging.get_logger(__name__)

LISTINGS = ("metadata.csv", "metadata.jsonl")
METADATA = ("sentence_id", "gender", "age", "accent", "speaker")


def read_folder(location: str | Path, split: str, language: str | None = None) -> Dataset:
    """Reads `location/<split>/metadata.csv` (or .jsonl), which lists the audio files of its folder.

    The listing has the columns `file_name`, one of `transcription`, `sentence` and `text`, and, if `language` is not
    given, `language`. The columns `id`, `sentence_id`, `gender`, `age`, `accent` and `speaker` are optional.

    Args:
        location: the folder that holds one folder for each split.
        split: "train", "validation" or "test".
        language: Whisper's code. Rows that name another language are left out, with a warning.

    Returns:
        Rows (`FEATURES`). Audio is not opened; its path is "" if the file is outside the folder.

    Raises:
        FileNotFoundError: the split has no listing.
        ValueError: a column is missing, or the listing is not CSV or JSON lines in UTF-8.

    Example:
        >>> from modeling_distilwhisper import read_folder
        >>> rows = read_folder("examples/quickstart/in_domain/ca", "test", "ca")
        >>> len(rows), rows[0]["id"], rows[0]["text"]
        (40, '000.ogg', 'disset quilograms')
    """
    folder = Path(location, split)
    listing = next((folder / name for name in LISTINGS if (folder / name).is_file()), None)
    if listing is None:
        splits = sorted({path.parent.name for name in LISTINGS for path in Path(location).glob(f"*/{name}")})
        raise FileNotFoundError(
            f"There is no {folder}/metadata.csv or .jsonl. Expected a folder with one of them and audio in each of "
            f"{', '.join(SPLITS)}; {location} has {', '.join(splits) or 'none of them'}."
        )
    columns, lines = _read_csv(listing) if listing.suffix == ".csv" else _read_jsonl(listing)
    text_column = next((name for name in TEXT_COLUMNS if name in columns), None)
    if "file_name" not in columns or text_column is None or (language is None and "language" not in columns):
        raise ValueError(
            f"{listing} has columns {columns}. Expected file_name, one of {', '.join(TEXT_COLUMNS)}, and language "
            "unless the language is given."
        )
    rows: list[dict] = []
    others: Counter[str] = Counter()
    for line in lines:
        row_language = str(line.get("language") or language or "").strip().lower()
        if language not in (None, row_language):
            others[row_language] += 1
            continue
        row = {column: str(line.get(column) or "") for column in METADATA}
        row |= {
            "id": str(line.get("id") or line.get("file_name") or ""),
            "data_set": Path(location).name,
            "split": split,
        }
        row |= {
            "audio": path_inside(folder, line.get("file_name")),
            "text": one_line(line.get(text_column)),
            "language": row_language,
        }
        rows.append(row)
    if others:
        counts = ", ".join(f"{count} of {name!r}" for name, count in others.most_common())
        logger.warning(f"{listing}: left out rows of other languages than {language!r}: {counts}")
    return make_rows(rows)


def _read_csv(listing: Path) -> tuple[list[str], list[dict]]:
    try:
        with open(listing, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            return list(reader.fieldnames or []), list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{listing} is not CSV in UTF-8 ({error}, after line {reader.line_num}).") from None


def _read_jsonl(listing: Path) -> tuple[list[str], list[dict]]:
    lines = []
    try:
        with open(listing, encoding="utf-8-sig") as file:
            for line in file:
                if line.strip():
                    lines.append(dict(json.loads(line)))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{listing} is not JSON lines in UTF-8 ({error}, after row {len(lines)}). Expected one object in each line."
        ) from None
    return list(dict.fromkeys(name for line in lines for name in line)), lines
