"""Figures 2 to 12 of the report, by name, for this study's data."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..evaluation.languages import RESOURCE_CLASSES, transcription_hours
from ..reporting.figures import DASHES, MARKERS, PALETTE, add_legend, in_legend, save_figure
from ..runs.files import file_name
from .sentences import CHANGES, THRESHOLD
from .study import Study

RESOURCES = (*RESOURCE_CLASSES, "unknown")
COLOURS = dict(zip(RESOURCES, PALETTE, strict=False))
MORE_THAN = f"(more than {THRESHOLD} points)"
CHANGE_LABELS = (f"worse\n{MORE_THAN}", f"similar\n(within {THRESHOLD} points)", f"better\n{MORE_THAN}")
Draw = Callable[[Study, str], Figure | None]  # gets a study and the name of a data set
_WORSE = {"group": "language", "worse low": "low", "worse high": "high"}
FAINT = 0.35  # opacity of cells that are too small
TOO_FEW = "too few to tell"


def wer_by_score(study: Study, data_set: str) -> Figure | None:
    """WER by language of the largest model before compression, sorted by WER."""
    table = _of_largest(_before(study.languages, study, data_set), study)
    if not len(table):
        return None
    label = f"WER, % (normaliser: {study.normalizer})"
    return _bars_of_languages(table.sort_values("wer"), f"{_model_of(table)}, {data_set}", "wer", label)


def gender_gaps(study: Study, data_set: str) -> Figure | None:
    """Difference of WER between women and men by language, in the largest model before compression."""
    table = _of_largest(_before(study.genders, study, data_set), study)
    if not len(table):
        return None
    relative = table["measure"].iloc[0] == "relative"
    keys = ["resource", "difference"] if relative else ["difference"]
    table = table.sort_values(
        keys, key=lambda values: values.map(RESOURCES.index) if values.name == "resource" else values
    )
    label = "relative difference of WER, %" if relative else "difference of WER, points"
    label = f"{label}\n(above 0: higher for women)"
    figure = _bars_of_languages(table, f"{_model_of(table)}, {data_set}", "difference", label)
    figure.axes[0].axhline(0, color="black", linewidth=0.8)
    return figure


def wer_by_hours(study: Study, data_set: str) -> Figure | None:
    """WER by language of every model before compression. Languages are sorted by hours in Whisper's training data."""
    table = _before(study.languages, study, data_set)
    models = [model for model in study.sizes if model in set(table["model"])]
    series = {_model_label(study, model): table[table["model"] == model] for model in models}
    return _lines_over_languages(series, f"{data_set}, {study.baseline}", "wer", "WER, %")


def worse_by_hours(study: Study, data_set: str) -> Figure | None:
    """Share of sentences that a compression of the largest model made worse, by language, sorted by training hours."""
    table = _classes(study, data_set, "language")
    series = {precision: table[table["precision"] == precision] for precision in table["precision"].unique()}
    series = {name: rows.rename(columns=_WORSE) for name, rows in series.items()}
    title = f"{data_set}, {_model_of(table)}"
    return _lines_over_languages(series, title, "worse", "sentences made worse, %")


def classes_by(by: str) -> Draw:
    """A function that draws, for each group, the shares of sentences made worse, left similar and made better."""

    def draw(study: Study, data_set: str) -> Figure | None:
        table = _classes(study, data_set, by)
        if not len(table):
            return None
        precisions = list(table["precision"].unique())
        figure = Figure(figsize=(4.5 * len(precisions) + 1, 4.2), layout="constrained")
        panels = figure.subplots(1, len(precisions), sharey=True, squeeze=False)[0]
        for panel, precision in zip(panels, precisions, strict=True):
            _histogram(panel, table[table["precision"] == precision])
            panel.set_title(f"{study.baseline} to {precision}")
        panels[0].set_ylabel("share of sentences, %")
        figure.suptitle(f"{data_set}, by {by}" if by == "model" else f"{data_set}, {_model_of(table)}, by {by}")
        add_legend(figure, panels[0], columns=2 * len(precisions))
        return figure

    return draw


# By name: the corpora (`True`: balanced corpora only; `False`: others only; `None`: all), the function, the caption.
FIGURES: dict[str, tuple[bool | None, Draw, str]] = {
    "figure2": (True, wer_by_score, "WER by language, sorted by WER"),
    "figure3": (False, wer_by_score, "WER by language, sorted by WER"),
    "figure4": (True, gender_gaps, "women and men on the same sentences, before compression"),
    "figure5": (False, gender_gaps, "women and men, before compression"),
    "figure6": (None, wer_by_hours, "WER by language and model, before compression"),
    "figure7": (True, classes_by("gender"), "what compression changed, by gender"),
    "figure8": (False, classes_by("gender"), "what compression changed, by gender"),
    "figure9": (False, classes_by("age"), "what compression changed, by age"),
    "figure10": (True, classes_by("resource"), "what compression changed, by resource class"),
    "figure11": (False, classes_by("resource"), "what compression changed, by resource class"),
    # For Common Voice too: section 3.3 refers to such a figure as "??".
    "figure12": (None, classes_by("model"), "what compression changed, by model"),
    "languages": (None, worse_by_hours, "sentences made worse, by language (not in the report)"),
}


def draw_figures(study: Study, folder: Path, names: Sequence[str] = tuple(FIGURES)) -> list[Path]:
    """Draws figures as `folder/<figure>.<data set>.png`. A figure without data is left out.

    Args:
        study: its tables.
        folder: of the files.
        names: of the figures, keys of `FIGURES`.

    Returns:
        The files, in the order of the names.
    """
    drawn = []
    for name in names:
        balanced, draw, _ = FIGURES[name]
        for data_set, is_balanced in study.balanced.items():
            if balanced is not None and balanced != is_balanced:
                continue
            if (figure := draw(study, data_set)) is not None:
                drawn.append(folder / f"{name}.{file_name(data_set)}.png")
                save_figure(figure, drawn[-1])
    return drawn


def _before(table: pd.DataFrame, study: Study, data_set: str) -> pd.DataFrame:
    return table[(table["precision"] == study.baseline) & (table["data_set"] == data_set)]


def _of_largest(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    largest = [model for model in study.sizes if model in set(table["model"])][-1:]
    return table[table["model"].isin(largest)] if largest else table


def _model_of(table: pd.DataFrame) -> str:
    return table["model"].iloc[0] if len(table) else ""


def _classes(study: Study, data_set: str, by: str) -> pd.DataFrame:
    """The class table of the largest model; that of all models if these are the groups."""
    table = study.classes[(study.classes["data_set"] == data_set) & (study.classes["by"] == by)]
    return _of_largest(table, study)  # if models are the groups, the only model is "all"


def _lines_over_languages(series: Mapping[str, pd.DataFrame], title: str, value: str, label: str) -> Figure | None:
    """Draws a line over the languages for each series, a table with `language`, the value, `low` and `high`."""
    languages = {language for rows in series.values() for language in rows["language"]}
    if not languages:
        return None
    order = sorted(languages, key=lambda language: (-transcription_hours().get(language, 0), language))
    figure = Figure(figsize=(max(6, 0.3 * len(order) + 2), 4), layout="constrained")
    panel = figure.subplots()
    for index, (name, rows) in enumerate(series.items()):
        rows = rows.set_index("language").reindex(order)
        style: dict[str, Any] = {"marker": MARKERS[index % len(MARKERS)], "color": PALETTE[index % len(PALETTE)]}
        style["linestyle"] = DASHES[index // len(PALETTE) % len(DASHES)]
        # The series stand side by side, so that no interval hides another.
        positions = np.arange(len(order)) + 0.3 * ((index + 0.5) / len(series) - 0.5)
        panel.errorbar(positions, rows[value], yerr=_ends(rows, value), label=in_legend(name), capsize=2, **style)
        hollow = style | {"linestyle": "", "markerfacecolor": "white", "zorder": 3}
        small = (rows["too small"] == True).to_numpy()  # noqa: E712 (a missing language is NaN)
        panel.plot(positions[small], rows[value][small], **hollow)
    if any(rows["too small"].any() for rows in series.values()):
        panel.plot([], [], "o", color="grey", markerfacecolor="white", label=TOO_FEW)
    panel.set_xticks(range(len(order)), order, rotation=0 if len(order) < 30 else 90)
    panel.set(title=title, ylabel=label, xlabel="languages, most training hours first", ylim=(0, None))
    panel.set_xlim(-0.5, len(order) - 0.5)
    _finish(figure, panel)
    return figure


def _ends(rows: pd.DataFrame, value: str) -> np.ndarray:
    """Lengths of error bars, `(2, rows)`."""
    return np.abs(rows[["low", "high"]].to_numpy(dtype=float).T - rows[value].to_numpy(dtype=float))


def _bars_of_languages(table: pd.DataFrame, title: str, value: str, label: str) -> Figure:
    figure = Figure(figsize=(max(6, 0.3 * len(table) + 2), 4), layout="constrained")
    panel = figure.subplots()
    for resource in RESOURCES:
        positions = np.flatnonzero(table["resource"] == resource)
        if not len(positions):
            continue
        rows = table.iloc[positions]
        bars = panel.bar(positions, rows[value], yerr=_ends(rows, value), capsize=2, color=COLOURS[resource])
        _make_faint(bars, rows)
        panel.plot([], [], "s", markersize=9, color=COLOURS[resource], label=resource)  # the legend shows no faint bar
    if table["too small"].any():
        panel.plot([], [], "s", markersize=9, color="grey", alpha=FAINT, label=f"paler: {TOO_FEW}")
    panel.set_xticks(range(len(table)), table["language"], rotation=0 if len(table) < 30 else 90)
    panel.set(title=title, ylabel=label)
    _finish(figure, panel)
    return figure


def _histogram(panel, table: pd.DataFrame) -> None:
    """Draws bars of shares: a cluster for each class of change, a bar for each group."""
    width = 0.8 / len(table)
    for index, (_, row) in enumerate(table.iterrows()):
        shares = np.array([row[change] for change in CHANGES])
        ends = np.abs(np.array([[row[f"{change} {end}"] for change in CHANGES] for end in ("low", "high")]) - shares)
        positions = np.arange(len(CHANGES)) + (index + 0.5) * width - 0.4
        label = f"{row['group']} (n = {row['utterances']}{f', {TOO_FEW}' if row['too small'] else ''})"
        style = {"color": COLOURS.get(row["group"], PALETTE[index % len(PALETTE)])}
        style["hatch"] = "" if index < len(PALETTE) else "//"
        bars = panel.bar(positions, shares, width, yerr=ends, capsize=2, label=in_legend(label), **style)
        _make_faint(bars, pd.DataFrame([row] * len(CHANGES)))
    panel.set_xticks(range(len(CHANGES)), CHANGE_LABELS)
    panel.set_ylim(0, 105)
    panel.spines[["top", "right"]].set_visible(False)


def _make_faint(bars, rows: pd.DataFrame) -> None:
    for bar, too_small in zip(bars, rows["too small"], strict=True):
        bar.set_alpha(FAINT if too_small else 1)


def _model_label(study: Study, model: str) -> str:
    return model if study.sizes[model] in model else f"{model} ({study.sizes[model]})"


def _finish(figure: Figure, panel) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    add_legend(figure, panel)
