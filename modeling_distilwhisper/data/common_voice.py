"""Common Voice as Mozilla releases it: a folder or a tar.gz, with TSV files and MP3 clips."""

import csv
from pathlib import Path

from datasets import Dataset

from .archives import unpack
from .rows import check_split, make_rows, one_line, path_inside

FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
# Codes of Common Voice, by Whisper's code, where they differ.
CODES = {"hy": "hy-AM", "jw": "jv", "ne": "ne-NP", "nn": "nn-NO", "pa": "pa-IN", "sv": "sv-SE", "zh": "zh-CN"}
# Genders have longer names from release 17 on. "fourties" is spelt so in all releases.
GENDERS = {"male_masculine": "male", "female_feminine": "female", "do_not_wish_to_say": ""}
AGES = {"fourties": "forties"}


def read_common_voice(location: str | Path, split: str, language: str, count: int | None = None) -> Dataset:
    r"""Reads a split of a release. The report used release 13.0.

    Args:
        location: the folder of the release, the folder of a language in it, or a tar.gz of either. Of an archive, only
            the listings and the chosen clips are extracted.
        split: "train", "validation" (the file dev.tsv) or "test".
        language: Whisper's code.
        count: number of rows to keep, chosen as in the report (section 5.1.1): most up-votes first, then fewest
            down-votes, then the order of the file. `None` keeps all.

    Returns:
        Rows (`FEATURES`). The `id` is the file name of the clip. Audio is not opened.

    Raises:
        FileNotFoundError: the release has no such language or split.
        ValueError: the listing lacks a column, or several releases in the folder have the language.

    Example:
        >>> import pathlib, tempfile
        >>> from modeling_distilwhisper import read_common_voice
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     listing = pathlib.Path(folder, "cv-corpus-13.0-2023-03-09/gl/test.tsv")
        ...     listing.parent.mkdir(parents=True)
        ...     lines = ["path\tsentence\tup_votes", "a.mp3\tOla.\t2", "b.mp3\tBoas noites.\t5"]
        ...     _ = listing.write_text("\n".join(lines))
        ...     rows = read_common_voice(folder, "test", "gl", count=1)
        >>> rows["id"][:], rows["text"][:], rows["language"][:]
        (['b.mp3'], ['Boas noites.'], ['gl'])
    """
    check_split(split)
    release = Path(location)
    code = CODES.get(language, language)
    name = FILES[split]
    if release.is_file():
        folder = unpack(release, [f"{code}/{file}" for file in FILES.values()]) / code  # one pass for all splits
    else:
        folders = [path for path in (release / code, *sorted(release.glob(f"*/{code}"))) if (path / name).is_file()]
        if len(folders) > 1:
            raise ValueError(f"Several releases have {code}/{name}: {', '.join(map(str, folders))}. Name one of them.")
        folder = folders[0] if folders else release
    listing = folder / name
    if not listing.is_file() or (folder == release and release.resolve().name != code):
        raise FileNotFoundError(
            f"{release} has no {code}/{name}. Expected a Common Voice release (a folder such as "
            "cv-corpus-13.0-2023-03-09 or its tar.gz) with that language in it."
        )
    with open(listing, newline="", encoding="utf-8") as file:
        # Without QUOTE_NONE, a sentence that begins with a quotation mark would swallow the next rows.
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        lines, columns = list(reader), reader.fieldnames or []
    if missing := {"path", "sentence"} - set(columns):
        raise ValueError(f"{listing} has columns {columns}, and lacks {', '.join(sorted(missing))}.")
    if count is not None:
        lines = by_votes(lines)[:count]
    clips = folder / "clips"
    if release.is_file():
        unpack(release, [f"{code}/clips/{line['path']}" for line in lines if line["path"]])
    return make_rows(
        {
            "audio": path_inside(clips, line["path"] or ""),
            "text": one_line(line["sentence"]),
            "language": language,
            "data_set": "common_voice",
            "split": split,
            "id": line["path"] or "",
            "sentence_id": line.get("sentence_id") or "",
            "gender": GENDERS.get(line.get("gender") or "", line.get("gender") or ""),
            "age": AGES.get(line.get("age") or "", line.get("age") or ""),
            "accent": one_line(line.get("accents") or line.get("accent")),  # "accent" before release 8
            "speaker": line.get("client_id") or "",
        }
        for line in lines
    )


def by_votes(lines: list[dict]) -> list[dict]:
    """Sorts rows by up-votes (most first), then down-votes (fewest first). A vote that is not a number counts as 0."""
    return sorted(lines, key=lambda line: (-_votes(line.get("up_votes")), _votes(line.get("down_votes"))))


def _votes(cell: str | None) -> int:
    return int(cell) if cell and cell.isdecimal() else 0
