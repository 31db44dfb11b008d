"""The study as CSV files, as text, and as one page of HTML that needs no other file."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd
from tabulate import tabulate

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
A sentence is worse, similar or better by the change of its own WER: by more than 5 points, or not. Sentences with a WER
of 100 or more before are left out, of each model its own. Intervals hold 95 %, by bootstrap over units; shares of 0 or
100 % have Wilson's. Units are speakers where a corpus names them, else sentences with all their recordings, else
utterances. Tests shuffle the names of groups over units, {SHUFFLES} times, and only among alike ones: within a sentence
for genders in balanced corpora and for models, else within a language; for resource classes languages are the units.
p-values are adjusted by the false discovery rate over the table that they stand in (for genders by language: over the
languages of a system; beside resource classes stands the bare one), and count below {LEVEL}. Cells with fewer than
{MIN_GROUP_UTTERANCES} utterances or {MIN_UNITS} units are too small to speak: they are shown, in pictures paler or
hollow, and not tested; of accents they are not reported. Where a corpus names no speakers, as FLEURS, a few people may have
read all of it: intervals and tests are then of its sentences and not of women and men at large.
"""


def all_tables(found: Study) -> dict[str, tuple[str, pd.DataFrame]]:
    """Title and table by file name, in the order of the page."""
    return {
        "findings_after": ("What compression did to each bias", found.after),
        "findings_before": (f"What holds before compression ({found.baseline})", found.before),
        "classes": ("Sentences made worse, similar, better by compression, %", found.classes),
        "tests": ("Do groups differ?", found.tests),
        "excluded": ("Sentences that these leave out", found.excluded),
        "languages": ("WER by language, %", found.languages),
        "resources": ("WER by resource class, %", found.resources),
        "genders": ("WER of women and men, %", found.genders),
        "rows": ("Rows of the corpora", found.rows),
    }


def write_tables(found: Study, folder: Path) -> str:
    """Writes each table as `folder/tables/<name>.csv`.

    Returns:
        The findings and the three classes, as text.
    """
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    for name, (_, table) in all_tables(found).items():
        write_atomically(folder / "tables" / f"{name}.csv", table.to_csv(index=False))
    shown = {**all_tables(found), "classes": ("Sentences by change, %", _with_intervals(found.classes))}
    chosen = [shown[name] for name in ("findings_after", "findings_before", "classes")]
    return "\n\n".join(f"## {title}\n\n{_text(table)}" for title, table in chosen)


def write_page(found: Study, pictures: Sequence[Path], folder: Path) -> Path:
    """Writes `folder/bias.html`: findings, pictures, tables.

    Returns:
        Its path.
    """
    parts = [f"<h1>Bias of {escape(', '.join(found.sizes))}</h1>", f"<p>{_about(found)}</p>"]
    for number, (title, table) in enumerate(all_tables(found).values()):
        shown = _with_intervals(table) if table is found.classes else table
        parts += [f"<h2>{escape(title)}</h2>", _html(shown)]
        if number == 1:  # behind the findings
            parts += ["<h2>Pictures</h2>", *map(_picture, pictures), "<h2>How it is counted</h2>", f"<p>{METHOD}</p>"]
    head = f'<meta charset="utf-8"><title>Bias study</title><style>{STYLE}</style>'
    body = "\n".join(parts)
    path = folder / "bias.html"
    write_atomically(path, f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n')
    return path


def _about(found: Study) -> str:
    sizes = ", ".join(f"{model} ({size})" for model, size in found.sizes.items())
    sets = ", ".join(f"{name}{' (balanced)' if balanced else ''}" for name, balanced in found.balanced.items())
    told = (
        f"Models, by size: {sizes}. Data: {sets}. Before compression: {found.baseline}. Normaliser: {found.normalizer}."
    )
    if found.unfinished:
        told += f" Not transcribed to the end, and left out: {'; '.join(found.unfinished)}."
    return escape(told)


def _with_intervals(classes: pd.DataFrame) -> pd.DataFrame:
    """The table of classes with each share and its ends in one column."""
    shown = classes.copy()
    for change in CHANGES if len(classes) else ():  # of none there are no ends
        ends = classes[[change, f"{change} low", f"{change} high"]].to_numpy()
        shown[change] = [f"{share:.1f} ({low:.1f} to {high:.1f})" for share, low, high in ends]
    return shown.drop(columns=[name for name in shown if name.endswith((" low", " high"))])


def _text(table: pd.DataFrame) -> str:
    if not len(table):
        return "Nothing to show."
    return tabulate(_cells(table), headers=list(table), tablefmt="github", disable_numparse=True)


def _html(table: pd.DataFrame) -> str:
    if not len(table):
        return "<p>Nothing to show.</p>"
    return tabulate(_cells(table), headers=list(table), tablefmt="html", disable_numparse=True)


def _cells(table: pd.DataFrame) -> list[list[str]]:
    return [[_cell(value, name) for name, value in row.items()] for row in table.to_dict("records")]


def _cell(value, name: str) -> str:
    if isinstance(value, float):
        digits = 4 if name == "p" or name.startswith("p ") else 2 if name == "rho" else 1
        return "" if value != value else f"{value:.{digits}f}"
    return {True: "yes", False: ""}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _picture(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    name, _, data_set = path.stem.partition(".")
    name = escape(f"{name}, {data_set}: {FIGURES[name][2]}")
    return f'<figure><img src="data:image/png;base64,{content}" alt="{name}"><figcaption>{name}</figcaption></figure>'
