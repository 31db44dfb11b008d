"""Tables in Markdown from data: a file of `results/` that declares its tables, or that a command wrote.

The commands are `distilwhisper compare` (`comparison.json`) and `distilwhisper benchmark quality` (`quality.json`).

A declared table has columns and rows:

    {"columns": [{"title": ""}, {"title": "WER", "digits": 3}],
     "rows": [["LoRA", [0.137, 0.09, 0.21]]],
     "bold": [[0, 1]]}

A cell is a number, printed with the digits of its column; a list, whose second number, or second and third, stand in
brackets, as an interval does; a text; or null, which is an empty cell. `bold` has the row and column of cells whose
first number is bold.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from modeling_distilwhisper.commands.comparison import tables as comparison
from modeling_distilwhisper.reporting import quality

Cell = float | int | str | list | None
BROUGHT_IN = "which brought the numbers in"


def tables_of(content: Mapping[str, Any]) -> dict[str, str]:
    """All tables of a file of `results/` by name; "origin" is the line that says where its numbers come from."""
    if "runs" in content and "scores" in content:
        tables = {"means": comparison.means(content), "differences": comparison.differences(content)}
        tables |= {"languages": comparison.languages(content), "notes": comparison.notes(content)}
        tables = {name: compact(table) for name, table in tables.items()}
    elif "systems" in content and "packed windows" in content:
        tables = {"wer": quality.quality_table(content), "times": quality.time_table(content)}
        tables = {name: compact(table) for name, table in tables.items()}
    else:
        tables = {name: table_of(table) for name, table in content["tables"].items()}
    return tables | {"origin": origin_of(content)}


def table_of(table: Mapping[str, Any]) -> str:
    """A declared table."""
    columns, bold = table["columns"], {tuple(place) for place in table.get("bold", [])}
    rows = []
    for number, row in enumerate(table["rows"]):
        if len(row) != len(columns):
            raise ValueError(f"Row {number} has {len(row)} cells and the table {len(columns)} columns: {row}.")
        rows.append(
            [
                cell_text(cell, column, (number, place) in bold)
                for place, (cell, column) in enumerate(zip(row, columns, strict=True))
            ]
        )
    return markdown([column["title"] for column in columns], rows)


def cell_text(cell: Cell, column: Mapping[str, Any], is_bold: bool = False) -> str:
    """A cell as it is printed."""
    digits = column.get("digits")
    each = digits if isinstance(digits, list) else [digits] * 3
    first, *rest = cell if isinstance(cell, list) else [cell]
    text = number_text(first, each[0])
    text = f"**{text}**" if is_bold else text
    others = " to ".join(number_text(one, place) for one, place in zip(rest, each[1:], strict=False))
    return f"{text} ({others})" if rest else text


def number_text(value: float | int | str | None, digits: int | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return str(value) if digits is None else f"{value:.{digits}f}"


def markdown(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown, its cells as they are."""
    titles = list(titles)
    lines = [titles, *rows]
    text = ["|" + "".join(f" {cell} |" if cell else " |" for cell in line) for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(titles), *text[1:]])


def compact(table: str) -> str:
    """A table of `tabulate` without the spaces and lines that fill its columns."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    if len(lines) < 2 or not set("".join(lines[1])) <= set("-: "):
        return table
    return markdown(lines[0], [lines[0], *lines[2:]][1:])


def origin_of(content: Mapping[str, Any]) -> str:
    """Commit, day, machine and minutes of the numbers, as a sentence.

    A file of `results/` says them itself; in that of a comparison, its runs say them.
    """
    runs = content.get("runs", [content])
    commits = _listed(run["commit"][:7] for run in runs if run.get("commit"))
    code = f"Commit {commits}" if commits else f"Version {_listed(run.get('version', 'unknown') for run in runs)}"
    days = sorted({run["date"] for run in runs if run.get("date")})
    machines = _listed(run["machine"] + _threads(run) for run in runs if run.get("machine"))
    changed = " with changes" if any(run.get("modified") for run in runs) else ""
    known = f", {BROUGHT_IN}" if content.get("commit is") == BROUGHT_IN else ""
    spent = [run["minutes"] for run in runs if isinstance(run.get("minutes"), float | int)]
    minutes = f"; {len(runs)} runs, together {sum(spent):.0f} minutes" if "runs" in content and spent else ""
    if "runs" not in content and spent and spent[0]:
        minutes = f"; {spent[0]:.0f} minutes" if spent[0] > 99 else f"; {round(spent[0], 1)} minutes"
    elif isinstance(content.get("minutes"), str):  # such as "11 to 13"
        minutes = f"; {content['minutes']} minutes"
    when = f"; {' to '.join(dict.fromkeys([days[0], days[-1]]))}" if days else ""
    others = "".join(f" Of commit {commit}: {what}." for what, commit in content.get("other commits", {}).items())
    return f"{code}{changed}{known}{when}; {machines}{minutes}.{others}"


def _threads(run: Mapping[str, Any]) -> str:
    threads = run.get("threads")
    return f" ({threads} thread{'s' if threads > 1 else ''})" if threads else ""


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))
