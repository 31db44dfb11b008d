"""Common Voice, as Mozilla releases it: a folder or a tar.gz with TSV files and MP3 clips."""

import csv
from pathlib import Path

from datasets import Dataset

from .archives import unpack
from .rows import check_split, inside, make_rows, one_line

FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
# Where Common Voice's code is not Whisper's.
CODES = {"hy": "hy-AM", "jw": "jv", "ne": "ne-NP", "nn": "nn-NO", "pa": "pa-IN", "sv": "sv-SE", "zh": "zh-CN"}
# From release 17 on genders have longer names; ages were misspelt from the start.
GENDERS = {"male_masculine": "male", "female_feminine": "female", "do_not_wish_to_say": ""}
AGES = {"fourties": "forties"}


def read_common_voice(release: str | Path, split: str, language: str, count: int | None = None) -> Dataset:
    """Reads a split of a release (the report used 13).

    Args:
        release: the release's folder, a language's folder in it, or a tar.gz of either; of an archive, only the
            listing and the chosen clips are unpacked.
        split: "train", "validation" (the file dev.tsv) or "test".
        language: Whisper's code.
        count: keep so many rows, as the report chose its samples (section 5.1.1): most up-votes first, then fewest
            down-votes, equal ones in the file's order. All where there are fewer.

    Returns:
        Rows (`FEATURES`); `id` is the clip's file name.

    Raises:
        FileNotFoundError: the release has no such language or split.
        ValueError: the listing lacks a column, or the folder holds several releases.
    """
    check_split(split)
    release = Path(release)
    code = CODES.get(language, language)
    name = FILES[split]
    if release.is_file():
        folder = unpack(release, [f"{code}/{file}" for file in FILES.values()]) / code  # all in one pass
    else:
        places = [place for place in (release / code, *sorted(release.glob(f"*/{code}"))) if (place / name).is_file()]
        if len(places) > 1:
            raise ValueError(f"Several releases have {code}/{name}: {', '.join(map(str, places))}. Name one of them.")
        folder = places[0] if places else release
    listing = folder / name
    if not listing.is_file() or (folder == release and release.resolve().name != code):
        raise FileNotFoundError(
            f"{release} has no {code}/{name}. Expected a Common Voice release (a folder such as "
            "cv-corpus-13.0-2023-03-09 or its tar.gz) with that language in it."
        )
    with open(listing, newline="", encoding="utf-8") as file:
        # No quoting: a sentence that begins with a quotation mark would swallow the rows behind it.
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
            "audio": inside(clips, line["path"] or ""),
            "text": one_line(line["sentence"]),
            "language": language,
            "data_set": "common_voice",
            "split": split,
            "id": line["path"] or "",
            "sentence_id": line.get("sentence_id") or "",
            "gender": GENDERS.get(line.get("gender") or "", line.get("gender") or ""),
            "age": AGES.get(line.get("age") or "", line.get("age") or ""),
            "accent": one_line(line.get("accents") or line.get("accent")),  # so called before release 8
            "speaker": line.get("client_id") or "",
        }
        for line in lines
    )


def by_votes(lines: list[dict]) -> list[dict]:
    """The rows by up-votes falling, then down-votes rising; a vote that is no number counts as none."""
    return sorted(lines, key=lambda line: (-_votes(line.get("up_votes")), _votes(line.get("down_votes"))))


def _votes(written: str | None) -> int:
    return int(written) if (written or "").isdecimal() else 0
