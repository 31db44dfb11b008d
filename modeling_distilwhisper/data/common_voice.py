"""Common Voice as Mozilla releases it: a folder or a tar.gz, with TSV files and MP3 clips."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset

from ..runs.language_codes import chosen_language, language_code
from .archives import unpack
from .rows import check_split, make_rows, one_line, path_inside, require_inside
from .tables import OTHER_LANGUAGE, OUTSIDE, Row, read_tsv

FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
# Codes of Common Voice, by the language's name, where they differ.
CODES = {"hy": "hy-AM", "jw": "jv", "ne": "ne-NP", "nn": "nn-NO", "pa": "pa-IN", "sv": "sv-SE", "zh": "zh-CN"}
CODES |= {"fy": "fy-NL", "ga": "ga-IE"}  # Whisper does not know these
# Further codes that a release or a part of it may have, if it lacks that one.
OTHER_CODES = {"no": ("nb-NO",), "tl": ("fil",), "zh": ("zh-TW",)}
# Genders have longer names from release 17 on. "fourties" is spelt so in all releases.
GENDERS = {"male_masculine": "male", "female_feminine": "female", "do_not_wish_to_say": ""}
AGES = {"fourties": "forties"}


def read_common_voice(
    location: str | Path,
    split: str,
    language: str,
    count: int | None = None,
    *,
    left_out: Counter[str] | None = None,
) -> Dataset:
    r"""Reads a split of a release. The report used release 13.0.

    A row is left out, with a warning that names its line, if it does not have the cells of the header, if its `locale`
    is another language, or if its clip is outside `location`, also by a link.

    Args:
        location: the folder of the release, the folder of a language in it, or a tar.gz of either. Of an archive, only
            the listings and the chosen clips are extracted.
        split: "train", "validation" (the file dev.tsv) or "test".
        language: Whisper's code or name. For Chinese, zh-CN is read, and zh-TW if there is no zh-CN or `location` is
            its folder.
        count: number of rows to keep, chosen as in the report (section 5.1.1): most up-votes first, then fewest
            down-votes, then the order of the file. `None` keeps all.
        left_out: gets the number of rows left out, by reason.

    Returns:
        Rows (`FEATURES`). The `id` is the file name of the clip. Audio is not opened.

    Raises:
        FileNotFoundError: the release has no such language or split.
        ValueError: the listing lacks a column, is not UTF-8 or has no row that can be read; or several releases in the
            folder have the language.

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
    language = chosen_language(language)
    release = Path(location)
    name = FILES[split]
    folder = _folder_of(release, language, name)
    corpus = folder if release.is_file() else release
    require_inside(folder / name, corpus)
    table = read_tsv(folder / name)
    if missing := {"path", "sentence"} - set(table.columns):
        raise ValueError(f"{table.path} has columns {table.columns}, and lacks {', '.join(sorted(missing))}.")
    clips = folder / "clips"

    def reason_of(row: Row) -> str | None:
        if row["path"] and not path_inside(clips, row["path"], corpus):
            return OUTSIDE
        locale = row.get("locale", "").strip()
        return None if locale in ("", folder.name) or _is(language, locale) else OTHER_LANGUAGE

    table.check(reason_of)
    table.report(left_out)
    rows = table.rows if count is None else by_votes(table.rows)[:count]
    if release.is_file():
        unpack(release, [f"{folder.name}/clips/{row['path']}" for row in rows if row["path"]])
    return make_rows(
        {
            "audio": path_inside(clips, row["path"], corpus),
            "text": one_line(row["sentence"]),
            "language": language,
            "data_set": "common_voice",
            "split": split,
            "id": row["path"],
            "sentence_id": row.get("sentence_id", ""),
            "gender": GENDERS.get(row.get("gender", ""), row.get("gender", "")),
            "age": AGES.get(row.get("age", ""), row.get("age", "")),
            "accent": one_line(row.get("accents") or row.get("accent")),  # "accent" before release 8
            "speaker": row.get("client_id", ""),
        }
        for row in rows
    )


def _folder_of(release: Path, language: str, name: str) -> Path:
    """The folder of a language in a release, which has the listing `name`. An archive's listings are extracted."""
    if (release / name).is_file() and _is(language, release.resolve().name):
        return release
    codes = list(dict.fromkeys([CODES.get(language, language), language, *OTHER_CODES.get(language, ())]))
    for code in codes:
        if release.is_file():
            folders = [unpack(release, [f"{code}/{file}" for file in FILES.values()]) / code]  # one pass for all splits
        else:
            folders = [release / code, *sorted(release.glob(f"*/{code}"))]
        folders = [folder for folder in folders if (folder / name).is_file()]
        if len(folders) > 1:
            raise ValueError(f"Several releases have {code}/{name}: {', '.join(map(str, folders))}. Name one of them.")
        if folders:
            return folders[0]
    raise FileNotFoundError(
        f"{release} has no {codes[0]}/{name}. Expected a Common Voice release (a folder such as "
        "cv-corpus-13.0-2023-03-09 or its tar.gz) with that language in it."
    )


def _is(language: str, written: str) -> bool:
    try:
        return language_code(written) == language
    except ValueError:
        return False


def by_votes(lines: Sequence[Row]) -> list[Row]:
    """Sorts rows by up-votes (most first), then down-votes (fewest first). A vote that is not a number counts as 0."""
    return sorted(lines, key=lambda line: (-_votes(line.get("up_votes")), _votes(line.get("down_votes"))))


def _votes(cell: str | None) -> int:
    return int(cell) if cell and cell.isdecimal() else 0
