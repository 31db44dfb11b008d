"""A folder of recordings with metadata.csv or metadata.jsonl: the layout that `datasets` calls `audiofolder`."""

from collections import Counter
from pathlib import Path

from datasets import Dataset

from ..runs.language_codes import as_own, chosen_language, is_part_of, language_code
from .rows import SPLITS, TEXT_COLUMNS, check_split, loss_weight, make_rows, one_line, path_inside, require_inside
from .tables import (
    MISSING,
    NO_WEIGHT,
    OTHER_LANGUAGE,
    OUTSIDE,
    UNKNOWN_LANGUAGE,
    Row,
    Table,
    read_csv,
    read_json_lines,
)

LISTINGS = ("metadata.csv", "metadata.jsonl")
METADATA = ("sentence_id", "gender", "age", "accent", "speaker")


def read_folder(
    location: str | Path, split: str, language: str | None = None, *, left_out: Counter[str] | None = None
) -> Dataset:
    """Reads `location/<split>/metadata.csv` (or .jsonl), which lists the audio files of its folder.

    The listing has the columns `file_name`, one of `transcription`, `sentence` and `text`, and, if `language` is not
    given, `language`. The columns `id`, `sentence_id`, `gender`, `age`, `accent` and `speaker` are optional, and
    so is `loss_weight`, the weight of the row in the loss of a training (1 if it is empty).

    A row is left out, with a warning that names its line, if it does not have the cells of the header, if its language
    is another or unknown (`Catalan`, `CA` and `ca-ES` are known), if its file is outside `location`, also by a link, or
    if its `loss_weight` is none.

    Args:
        location: the folder that holds one folder for each split.
        split: "train", "validation" or "test".
        language: Whisper's code or name. `None` reads the rows of all languages.
        left_out: gets the number of rows left out, by reason.

    Returns:
        Rows (`FEATURES`). Audio is not opened.

    Raises:
        FileNotFoundError: the split has no listing.
        ValueError: the split has two listings; a column is missing or named twice; the listing is not UTF-8, or not
            CSV; or none of its rows can be read.

    Example:
        >>> from modeling_distilwhisper import read_folder
        >>> rows = read_folder("examples/quickstart/in_domain/ca", "test", "ca")
        >>> len(rows), rows[0]["id"], rows[0]["text"]
        (40, '000.ogg', 'disset quilograms')
    """
    check_split(split)
    language = None if language is None else chosen_language(language)
    folder = Path(location, split)
    table = _read_listing(_listing_of(Path(location), split))
    columns = table.columns
    if not columns:
        table.report()  # JSON over several lines has no row
    text_column = next((name for name in TEXT_COLUMNS if name in columns), None)
    if "file_name" not in columns or text_column is None or (language is None and "language" not in columns):
        raise ValueError(
            f"{table.path} has columns {columns}. Expected file_name, one of {', '.join(TEXT_COLUMNS)}, and language "
            "unless the language is given; in CSV, with commas between them."
        )

    # The rows of a name such as de-CH are those that say so; if none does, those of the language that it is a part of.
    own = {language} if language is not None and "-" in language else set()
    named = any(as_own(row.get("language", "").strip(), own) in own for row in table.rows)

    def reason_of(row: Row) -> str | None:
        if "file_name" not in row or text_column not in row:
            return MISSING
        if row["file_name"] and not path_inside(folder, row["file_name"], location):
            return OUTSIDE
        try:
            row["language"] = language_code(as_own(row.get("language", "").strip(), own) or language or "")
        except ValueError:
            return UNKNOWN_LANGUAGE
        if own and not named and is_part_of(language or "", row["language"]):
            row["language"] = language or ""
        if loss_weight(row.get("loss_weight")) is None:
            return NO_WEIGHT
        return OTHER_LANGUAGE if language not in (None, row["language"]) else None

    table.check(reason_of)
    table.report(left_out)
    return make_rows(
        {column: row.get(column, "") for column in METADATA}
        | {
            "audio": path_inside(folder, row["file_name"], location),
            "text": one_line(row[text_column]),
            "language": row["language"],
            "data_set": Path(location).name,
            "split": split,
            "id": row.get("id") or row["file_name"],
            "loss_weight": loss_weight(row.get("loss_weight")),
        }
        for row in table.rows
    )


def _listing_of(location: Path, split: str) -> Path:
    listings = [path for name in LISTINGS if (path := location / split / name).is_file()]
    if len(listings) > 1:
        raise ValueError(
            f"{location / split} has both {' and '.join(LISTINGS)}. Expected one of them: remove the other."
        )
    if not listings:
        splits = sorted({path.parent.name for name in LISTINGS for path in location.glob(f"*/{name}")})
        raise FileNotFoundError(
            f"There is no {location / split}/metadata.csv or .jsonl. Expected a folder with one of them and audio in "
            f"each of {', '.join(SPLITS)}; {location} has {', '.join(splits) or 'none of them'}."
        )
    require_inside(listings[0], location)
    return listings[0]


def _read_listing(listing: Path) -> Table:
    if listing.suffix == ".csv":
        return read_csv(listing)
    return read_json_lines(
        listing, texts=("file_name", "language", *TEXT_COLUMNS), others=("id", "loss_weight", *METADATA)
    )
