"""The report on labels: how many are kept, why the others are dropped, and how their scores are spread."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...reporting.markdown import table_of
from ...runs.files import write_atomically
from ...transcription.pseudo_labels import SCORES
from ..command_line import import_figures

BINS = 10
KEPT, DROPPED = "kept", "dropped"
Row = Mapping[str, Any]


def write_report(
    folder: Path,
    rows: Sequence[Row],
    reasons: Sequence[str | None],
    *,
    filters: Mapping[str, Any],
    weight: float,
    recordings: int,
    silent: Sequence[str],
    failures: Mapping[str, str],
) -> str:
    """Writes report.json, report.md and scores.png; returns the first tables of report.md, on labels.

    Args:
        folder: of the run.
        rows: of all labels (`LabelledCorpus.rows`).
        reasons: why each is dropped; `None` for one that is kept.
        filters: as they were given.
        weight: of the kept rows in the loss.
        recordings: how many there are.
        silent: names of those without speech.
        failures: why others could not be labelled, by name.
    """
    labels, dropped = label_table(rows, reasons), drop_table(rows, reasons)
    scores = {name: table for name in SCORES if (table := histogram(rows, reasons, name))}
    content = {
        "filters": filters,
        "weight": weight,
        "recordings": {"all": recordings, "without speech": len(silent), "not labelled": len(failures)},
        "labels": labels,
        "dropped": dropped,
        "scores": scores,
        "without speech": list(silent),
        "not labelled": dict(failures),
    }
    write_atomically(folder / "report.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    parts = [
        f"## labels\n\n{table_of(labels, '.2f')}",
        f"## dropped\n\n{table_of(dropped, '.2f')}",
    ]
    parts += [f"## {name}\n\n{table_of(table, '.3f')}" for name, table in scores.items()]
    write_atomically(folder / "report.md", "\n\n".join(parts) + "\n")
    figures = import_figures()
    if figures is not None and scores:
        figures.draw_histograms(scores, (KEPT, DROPPED), folder / "scores.png")
    return "\n\n".join(parts[:2])


def label_table(rows: Sequence[Row], reasons: Sequence[str | None]) -> list[dict[str, Any]]:
    """A row for each language: labels and hours, and how many of them are kept."""
    table = []
    for language in sorted({row["language"] for row in rows}):
        pairs = [(row, reason) for row, reason in zip(rows, reasons, strict=True) if row["language"] == language]
        kept = [row for row, reason in pairs if reason is None]
        hours, hours_kept = (_hours(of) for of in ([row for row, _ in pairs], kept))
        counts = {"language": language, "labels": len(pairs), "kept": len(kept), "share": len(kept) / len(pairs)}
        table.append(counts | {"hours": hours, "hours kept": hours_kept})
    return table


def drop_table(rows: Sequence[Row], reasons: Sequence[str | None]) -> list[dict[str, Any]]:
    """A row for each reason, with the number of labels and their hours."""
    counts = Counter(reason for reason in reasons if reason is not None)
    return [
        {
            "reason": reason,
            "labels": count,
            "hours": _hours([row for row, of_row in zip(rows, reasons, strict=True) if of_row == reason]),
        }
        for reason, count in counts.most_common()
    ]


def histogram(rows: Sequence[Row], reasons: Sequence[str | None], name: str) -> list[dict[str, float]]:
    """How a score is spread: ten bins of one width, with the labels that are kept and dropped in each; [] if no label
    has the score."""
    kept, dropped = (
        [
            row["scores"][name]
            for row, reason in zip(rows, reasons, strict=True)
            if (reason is None) == is_kept and row["scores"].get(name) is not None
        ]
        for is_kept in (True, False)
    )
    if not kept + dropped:
        return []
    is_probability = name in ("no_speech", "language_probability")
    edges = np.histogram_bin_edges(kept + dropped, BINS, (0.0, 1.0) if is_probability else None)
    counts = [np.histogram(values, edges)[0].tolist() for values in (kept, dropped)]
    return [
        {"from": float(start), "to": float(end), KEPT: of_kept, DROPPED: of_dropped}
        for start, end, of_kept, of_dropped in zip(edges, edges[1:], *counts, strict=False)
    ]


def _hours(rows: Sequence[Row]) -> float:
    return sum(row["seconds"] for row in rows) / 3600
