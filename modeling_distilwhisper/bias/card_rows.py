"""What a study's tables say of one model, as rows of the table that its card has of groups of speakers."""

import csv
from pathlib import Path

from ..reporting.card_tables import Row, language_name
from .findings import NOT_SHOWN
from .statistics import LEVEL

TABLES = ("languages", "genders", "findings_before", "findings_after")


def card_rows(folder: str | Path, model: str) -> list[Row]:
    """Women and men by language, then what the study found before compression and of each compression.

    Args:
        folder: the output folder of `run_bias.py`.
        model: what the study calls the model.

    Returns:
        Rows of `data set`, `precision`, `groups`, `found` and `numbers`.

    Raises:
        FileNotFoundError: the folder has no tables of a study.
        ValueError: the model is not in them.
    """
    found = {name: _read(Path(folder), name) for name in TABLES}
    models = list(dict.fromkeys(row["model"] for row in found["languages"]))  # a row of each, whatever else is known
    if model not in models:
        raise ValueError(f"The study in {folder} has no model {model!r}. It has: {', '.join(models)}.")
    own = {name: [row for row in rows if row["model"] == model] for name, rows in found.items()}
    return [
        *(_row(row, row["precision"], _genders(row), _verdict(row), _numbers(row)) for row in own["genders"]),
        *(_row(row, "before compression", row["finding"], row["here"], row["why"]) for row in own["findings_before"]),
        *(_row(row, row["precision"], row["bias"], _compressed(row), row["why"]) for row in own["findings_after"]),
    ]


def _read(folder: Path, name: str) -> list[dict[str, str]]:
    path = folder / "tables" / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no bias study: {path} is not there. Name run_bias.py's output folder.")
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _row(row: dict[str, str], precision: str, groups: str, found: str, numbers: str) -> Row:
    return {
        "data set": row["data_set"],
        "precision": precision,
        "groups": groups,
        "found": found,
        "numbers": numbers,
    }


def _genders(row: dict[str, str]) -> str:
    return f"women and men, {language_name(row['language'])}"


def _verdict(row: dict[str, str]) -> str:
    if not row["p adjusted"]:  # not tested
        return "too few to say"
    if float(row["p adjusted"]) >= LEVEL:
        return NOT_SHOWN
    return f"more errors for {'women' if float(row['difference']) > 0 else 'men'}"


def _compressed(row: dict[str, str]) -> str:
    return row["here"] if row["here"] == NOT_SHOWN else f"{row['here']} by compression"


def _numbers(row: dict[str, str]) -> str:
    """WER and its difference, which is relative where women and men read the same sentences, else in points."""
    female, male = (f"{float(row[gender]):.1f}" for gender in ("female", "male"))
    unit = " %" if row["measure"] == "relative" else " points"
    difference, low, high = (f"{float(row[name]):+.1f}" for name in ("difference", "low", "high"))
    tested = f", p = {float(row['p adjusted']):.3f}" if row["p adjusted"] else ""
    return (
        f"WER {female} % of women, {male} % of men; {row['measure']} difference {difference}{unit} ({low} to {high})"
        f"{tested}; {row['utterances']} utterances of the smaller group"
    )
