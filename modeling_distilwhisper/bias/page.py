"""The study as CSV files, as text, and as one HTML page that needs no other file."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from ..reporting.spreadsheets import to_csv
from ..runs.files import write_atomically
from .figures import FIGURES
from .groups import MIN_GROUP_UTTERANCES, MIN_UNITS
from .sentences import CHANGES
from .statistics import LEVEL, SHUFFLES
from .study import Study

STYLE = """
body { font-family: sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; line-height: 1.4; color: #222 }
table { border-collapse: collapse; font-size: 85%; margin: 1em 0; display: block; overflow-x: auto }
th, td { border-bottom: 1px solid #ccc; padding: .2em .6em; text-align: left; vertical-align: top }
th { border-bottom: 2px solid #555 } th, td:nth-child(-n+6) { white-space: nowrap }
figure { display: inline-block; margin: 1%; max-width: 98%; vertical-align: top }
img { height: 22em; max-width: 100%; object-fit: contain }
figcaption { font-size: 85%; color: #555 }
"""
METHOD = f"""
A sentence is worse, similar or better by the change of its WER: worse or better if the change is more than 5 points.
Sentences with a WER of 100 or more before compression are left out, for each model separately. Intervals are of 95 %,
by bootstrap over units; for shares of 0 or 100 % they are Wilson's. Units are speakers if a corpus names them; else
sentences with all their recordings; else utterances. Tests shuffle the names of groups over units, {SHUFFLES} times,
within strata: within a sentence for genders in balanced corpora and for models, else within a language. For resource
classes the units are languages. p-values are adjusted by the false discovery rate for the number of rows of their table
(for genders by language: for the number of languages of a system; those in the table of resource classes are not
adjusted), and count below {LEVEL}. Cells with fewer than {MIN_GROUP_UTTERANCES} utterances or {MIN_UNITS} units are too
small to tell: they are shown, paler or hollow in figures, but not tested; such accents are not reported. If a corpus
does not name speakers, such as FLEURS, a few people may have read all of it: then intervals and tests are about its
sentences, and not about women and men in general.
"""


def all_tables(study: Study) -> dict[str, tuple[str, pd.DataFrame]]:
    """Title and table by file name, in the order of the page."""
    return {
        "findings_after": ("What compression did to each bias", study.after),
        "findings_before": (f"What holds before compression ({study.baseline})", study.before),
        "classes": ("Sentences made worse, similar, better by compression, %", study.classes),
        "tests": ("Do groups differ?", study.tests),
        "excluded": ("Sentences left out of these", study.excluded),
        "languages": ("WER by language, %", study.languages),
        "resources": ("WER by resource class, %", study.resources),
        "genders": ("WER of women and men, %", study.genders),
        "rows": ("Rows of the corpora", study.rows),
    }


def write_tables(study: Study, folder: Path) -> str:
    """Writes each table as `folder/tables/<name>.csv`.

    Returns:
        The findings, and the shares of sentences made worse, similar or better, as text.
    """
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    for name, (_, table) in all_tables(study).items():
        rows = table.itertuples(index=False, name=None)
        write_atomically(folder / "tables" / f"{name}.csv", to_csv(list(table), rows))
    shown = {**all_tables(study), "classes": ("Sentences by change, %", _with_intervals(study.classes))}
    chosen = [shown[name] for name in ("findings_after", "findings_before", "classes")]
    return "\n\n".join(f"## {title}\n\n{_text(table)}" for title, table in chosen)


def write_page(study: Study, pictures: Sequence[Path], folder: Path) -> Path:
    """Writes `folder/bias.html`: findings, figures, tables.

    Args:
        study: its tables.
        pictures: PNG files of the figures.
        folder: of the page.

    Returns:
        The path of the page.
    """
    parts = [f"<h1>Bias of {escape(', '.join(study.sizes))}</h1>", f"<p>{_about(study)}</p>"]
    for number, (title, table) in enumerate(all_tables(study).values()):
        shown = _with_intervals(table) if table is study.classes else table
        parts += [f"<h2>{escape(title)}</h2>", _html(shown)]
        if number == 1:  # after the findings
            parts += ["<h2>Figures</h2>", *map(_picture, pictures), "<h2>Method</h2>", f"<p>{METHOD}</p>"]
    head = f'<meta charset="utf-8"><title>Bias study</title><style>{STYLE}</style>'
    body = "\n".join(parts)
    path = folder / "bias.html"
    write_atomically(path, f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n')
    return path


def _about(study: Study) -> str:
    sizes = ", ".join(f"{model} ({size})" for model, size in study.sizes.items())
    sets = ", ".join(f"{name}{' (balanced)' if balanced else ''}" for name, balanced in study.balanced.items())
    text = (
        f"Models, by size: {sizes}. Data: {sets}. Before compression: {study.baseline}. Normaliser: {study.normalizer}."
    )
    if study.unfinished:
        text += f" Left out, because their transcripts are not complete: {'; '.join(study.unfinished)}."
    return escape(text)


def _with_intervals(classes: pd.DataFrame) -> pd.DataFrame:
    """The class table with each share and its interval in one column."""
    shown = classes.copy()
    for change in CHANGES if len(classes) else ():  # an empty table has no intervals
        ends = classes[[change, f"{change} low", f"{change} high"]].to_numpy()
        shown[change] = [f"{share:.1f} ({low:.1f} to {high:.1f})" for share, low, high in ends]
    return shown.drop(columns=[name for name in shown if name.endswith((" low", " high"))])


def _text(table: pd.DataFrame) -> str:
    if not len(table):
        return "No data."
    return tabulate(_cells(table), headers=list(table), tablefmt="github", disable_numparse=True)


def _html(table: pd.DataFrame) -> str:
    if not len(table):
        return "<p>No data.</p>"
    return tabulate(_cells(table), headers=list(table), tablefmt="html", disable_numparse=True)


def _cells(table: pd.DataFrame) -> list[list[str]]:
    return [[_cell(value, name) for name, value in row.items()] for row in table.to_dict("records")]


def _cell(value, name: str) -> str:
    if isinstance(value, float):
        digits = 4 if name == "p" or name.startswith("p ") else 2 if name == "rho" else 1
        return "" if value != value else f"{value:.{digits}f}"
    if isinstance(value, bool):
        return "yes" if value else ""
    return str(value)


def _picture(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    name, _, data_set = path.stem.partition(".")
    name = escape(f"{name}, {data_set}: {FIGURES[name][2]}")
    return f'<figure><img src="data:image/png;base64,{content}" alt="{name}"><figcaption>{name}</figcaption></figure>'
