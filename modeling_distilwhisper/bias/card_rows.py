"""The tables of a study for one model, as rows of the model card's table about groups of speakers."""

from pathlib import Path

from ..reporting.card_tables import language_name
from ..reporting.markdown import Row
from ..reporting.spreadsheets import read_csv
from .findings import NOT_SHOWN
from .statistics import LEVEL

TABLES = ("languages", "genders", "findings_before", "findings_after")


def card_rows(folder: str | Path, model: str) -> list[Row]:
    """Differences between women and men by language, then the findings before compression and of each compression.

    Args:
        folder: the output folder of `distilwhisper bias`.
        model: name of the model in the study.

    Returns:
        Rows with `data set`, `precision`, `groups`, `finding` and `numbers`.

    Raises:
        FileNotFoundError: the folder has no tables of a study.
        ValueError: the study has no such model.
    """
    tables = {name: _read(Path(folder), name) for name in TABLES}
    models = list(dict.fromkeys(row["model"] for row in tables["languages"]))  # every model has rows there
    if model not in models:
        raise ValueError(f"The study in {folder} has no model {model!r}. It has: {', '.join(models)}.")
    model_tables = {name: [row for row in rows if row["model"] == model] for name, rows in tables.items()}
    return [
        *(_row(row, row["precision"], _genders(row), _verdict(row), _numbers(row)) for row in model_tables["genders"]),
        *(
            _row(row, "before compression", row["finding"], row["here"], row["why"])
            for row in model_tables["findings_before"]
        ),
        *(
            _row(row, row["precision"], row["bias"], _compressed(row), row["why"])
            for row in model_tables["findings_after"]
        ),
    ]


def _read(folder: Path, name: str) -> list[dict[str, str]]:
    path = folder / "tables" / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no bias study: it lacks {path}. Give the output folder of `distilwhisper bias`."
        )
    return read_csv(path.read_bytes().decode())


def _row(row: dict[str, str], precision: str, groups: str, finding: str, numbers: str) -> Row:
    return {
        "data set": row["data_set"],
        "precision": precision,
        "groups": groups,
        "finding": finding,
        "numbers": numbers,
    }


def _genders(row: dict[str, str]) -> str:
    return f"women and men, {language_name(row['language'])}"


def _verdict(row: dict[str, str]) -> str:
    if not row["p adjusted"]:  # not tested
        return "too few to tell"
    if float(row["p adjusted"]) >= LEVEL:
        return NOT_SHOWN
    return f"more errors for {'women' if float(row['difference']) > 0 else 'men'}"


def _compressed(row: dict[str, str]) -> str:
    return row["here"] if row["here"] == NOT_SHOWN else f"{row['here']} by compression"


def _numbers(row: dict[str, str]) -> str:
    """WER of both genders and their difference: relative if they read the same sentences, else in points."""
    female, male = (f"{float(row[gender]):.1f}" for gender in ("female", "male"))
    unit = " %" if row["measure"] == "relative" else " points"
    difference, low, high = (f"{float(row[name]):+.1f}" for name in ("difference", "low", "high"))
    tested = f", p = {float(row['p adjusted']):.3f}" if row["p adjusted"] else ""
    return (
        f"WER {female} % of women, {male} % of men; {row['measure']} difference {difference}{unit} ({low} to {high})"
        f"{tested}; {row['utterances']} utterances of the smaller group"
    )
