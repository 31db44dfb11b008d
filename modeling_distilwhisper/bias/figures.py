"""Figures 2 to 12 of the report, by name, for the data at hand."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..evaluation.languages import RESOURCE_CLASSES, transcription_hours
from ..reporting.figures import DASHES, MARKERS, PALETTE, add_legend, save_figure
from ..runs.files import file_name
from .sentences import CHANGES, THRESHOLD
from .study import Study

RESOURCES = (*RESOURCE_CLASSES, "unknown")
COLOURS = dict(zip(RESOURCES, PALETTE, strict=False))
BEYOND = f"(more than {THRESHOLD} points)"
CHANGE_LABELS = (f"worse\n{BEYOND}", f"similar\n(within {THRESHOLD} points)", f"better\n{BEYOND}")
_WORSE = {"group": "language", "worse low": "low", "worse high": "high"}
FAINT = 0.35  # of cells that are too small
TOO_FEW = "too few to speak"


def wer_by_score(found: Study, data_set: str) -> Figure | None:
    """WER by language of the largest model before compression, ordered by score."""
    own = _of_largest(_before(found.languages, found, data_set), found)
    if not len(own):
        return None
    label = f"WER, % (normaliser: {found.normalizer})"
    return _bars_of_languages(own.sort_values("wer"), f"{_model_of(own)}, {data_set}", "wer", label)


def gender_gaps(found: Study, data_set: str) -> Figure | None:
    """Relative or absolute difference of the genders by language, in the largest model before compression."""
    own = _of_largest(_before(found.genders, found, data_set), found)
    if not len(own):
        return None
    relative = own["measure"].iloc[0] == "relative"
    keys = ["resource", "difference"] if relative else ["difference"]
    own = own.sort_values(keys, key=lambda values: values.map(RESOURCES.index) if values.name == "resource" else values)
    label = "relative difference of WER, %" if relative else "difference of WER, points"
    label = f"{label}\n(above 0: higher for women)"
    figure = _bars_of_languages(own, f"{_model_of(own)}, {data_set}", "difference", label)
    figure.axes[0].axhline(0, color="black", linewidth=0.8)
    return figure


def wer_by_hours(found: Study, data_set: str) -> Figure | None:
    """WER by language of every model before compression, languages ordered by their hours in Whisper's training."""
    own = _before(found.languages, found, data_set)
    models = [model for model in found.sizes if model in set(own["model"])]
    series = {_model_label(found, model): own[own["model"] == model] for model in models}
    return _lines_over_languages(series, f"{data_set}, {found.baseline}", "wer", "WER, %")


def worse_by_hours(found: Study, data_set: str) -> Figure | None:
    """The share of sentences that each compression of the largest model made worse, by language, ordered likewise."""
    own = _classes(found, data_set, "language")
    series = {precision: own[own["precision"] == precision] for precision in own["precision"].unique()}
    series = {name: rows.rename(columns=_WORSE) for name, rows in series.items()}
    title = f"{data_set}, {_model_of(own)}"
    return _lines_over_languages(series, title, "worse", "sentences made worse, %")


def classes_by(by: str) -> Callable[[Study, str], Figure | None]:
    """How a figure is drawn that has, for each group, the shares of sentences made worse, left similar, made better."""

    def draw(found: Study, data_set: str) -> Figure | None:
        own = _classes(found, data_set, by)
        if not len(own):
            return None
        precisions = list(own["precision"].unique())
        figure = Figure(figsize=(4.5 * len(precisions) + 1, 4.2), layout="constrained")
        panels = figure.subplots(1, len(precisions), sharey=True, squeeze=False)[0]
        for panel, precision in zip(panels, precisions, strict=True):
            _histogram(panel, own[own["precision"] == precision])
            panel.set_title(f"{found.baseline} to {precision}")
        panels[0].set_ylabel("share of sentences, %")
        figure.suptitle(f"{data_set}, by {by}" if by == "model" else f"{data_set}, {_model_of(own)}, by {by}")
        add_legend(figure, panels[0], columns=2 * len(precisions))
        return figure

    return draw


# By name: whether it is of balanced corpora or of others (`None`: of all), how it is drawn, and what it shows.
FIGURES = {
    "figure2": (True, wer_by_score, "WER by language, ordered by score"),
    "figure3": (False, wer_by_score, "WER by language, ordered by score"),
    "figure4": (True, gender_gaps, "women and men on the same sentences, before compression"),
    "figure5": (False, gender_gaps, "women and men, before compression"),
    "figure6": (None, wer_by_hours, "WER by language and model, before compression"),
    "figure7": (True, classes_by("gender"), "what compression changed, by gender"),
    "figure8": (False, classes_by("gender"), "what compression changed, by gender"),
    "figure9": (False, classes_by("age"), "what compression changed, by age"),
    "figure10": (True, classes_by("resource"), "what compression changed, by resource class"),
    "figure11": (False, classes_by("resource"), "what compression changed, by resource class"),
    # Of Common Voice too: section 3.3 refers to such a figure, as "??".
    "figure12": (None, classes_by("model"), "what compression changed, by model"),
    "languages": (None, worse_by_hours, "sentences made worse, by language (not in the report)"),
}


def draw_figures(found: Study, folder: Path, names: Sequence[str] = tuple(FIGURES)) -> list[Path]:
    """Draws what the data has: `folder/<figure>.<data set>.png`. A figure whose data is not there is left out.

    Returns:
        The files, in the order of the names.
    """
    drawn = []
    for name in names:
        balanced, draw, _ = FIGURES[name]
        for data_set, is_balanced in found.balanced.items():
            if balanced is not None and balanced != is_balanced:
                continue
            if (figure := draw(found, data_set)) is not None:
                drawn.append(folder / f"{name}.{file_name(data_set)}.png")
                save_figure(figure, drawn[-1])
    return drawn


def _before(table: pd.DataFrame, found: Study, data_set: str) -> pd.DataFrame:
    return table[(table["precision"] == found.baseline) & (table["data_set"] == data_set)]


def _of_largest(own: pd.DataFrame, found: Study) -> pd.DataFrame:
    largest = [model for model in found.sizes if model in set(own["model"])][-1:]
    return own[own["model"].isin(largest)] if largest else own


def _model_of(own: pd.DataFrame) -> str:
    return own["model"].iloc[0] if len(own) else ""


def _classes(found: Study, data_set: str, by: str) -> pd.DataFrame:
    """The largest model's classes, or all models' where these are the groups."""
    own = found.classes[(found.classes["data_set"] == data_set) & (found.classes["by"] == by)]
    return _of_largest(own, found)  # of models as groups there is only "all"


def _lines_over_languages(series: Mapping[str, pd.DataFrame], title: str, value: str, label: str) -> Figure | None:
    """A line over the languages for each of the series, tables with `language`, the value, `low` and `high`."""
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
        # Side by side, or the intervals of one would hide those of another.
        places = np.arange(len(order)) + 0.3 * ((index + 0.5) / len(series) - 0.5)
        panel.errorbar(places, rows[value], yerr=_ends(rows, value), label=name, capsize=2, **style)
        hollow = style | {"linestyle": "", "markerfacecolor": "white", "zorder": 3}
        small = (rows["too small"] == True).to_numpy()  # noqa: E712 (a language that is not there is NaN)
        panel.plot(places[small], rows[value][small], **hollow)
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


def _bars_of_languages(own: pd.DataFrame, title: str, value: str, label: str) -> Figure:
    figure = Figure(figsize=(max(6, 0.3 * len(own) + 2), 4), layout="constrained")
    panel = figure.subplots()
    for resource in RESOURCES:
        places = np.flatnonzero(own["resource"] == resource)
        if not len(places):
            continue
        rows = own.iloc[places]
        _make_faint(panel.bar(places, rows[value], yerr=_ends(rows, value), capsize=2, color=COLOURS[resource]), rows)
        panel.plot([], [], "s", markersize=9, color=COLOURS[resource], label=resource)  # as large cells are drawn
    if own["too small"].any():
        panel.plot([], [], "s", markersize=9, color="grey", alpha=FAINT, label=f"paler: {TOO_FEW}")
    panel.set_xticks(range(len(own)), own["language"], rotation=0 if len(own) < 30 else 90)
    panel.set(title=title, ylabel=label)
    _finish(figure, panel)
    return figure


def _histogram(panel, own: pd.DataFrame) -> None:
    """Bars of shares, a cluster for each class of change, a bar for each group."""
    width = 0.8 / len(own)
    for index, (_, row) in enumerate(own.iterrows()):
        shares = np.array([row[change] for change in CHANGES])
        ends = np.abs(np.array([[row[f"{change} {end}"] for change in CHANGES] for end in ("low", "high")]) - shares)
        places = np.arange(len(CHANGES)) + (index + 0.5) * width - 0.4
        label = f"{row['group']} (n = {row['utterances']}{f', {TOO_FEW}' if row['too small'] else ''})"
        style = {"color": COLOURS.get(row["group"], PALETTE[index % len(PALETTE)])}
        style["hatch"] = "" if index < len(PALETTE) else "//"
        bars = panel.bar(places, shares, width, yerr=ends, capsize=2, label=label, **style)
        _make_faint(bars, pd.DataFrame([row] * len(CHANGES)))
    panel.set_xticks(range(len(CHANGES)), CHANGE_LABELS)
    panel.set_ylim(0, 105)
    panel.spines[["top", "right"]].set_visible(False)


def _make_faint(bars, rows: pd.DataFrame) -> None:
    for bar, too_small in zip(bars, rows["too small"], strict=True):
        bar.set_alpha(FAINT if too_small else 1)


def _model_label(found: Study, model: str) -> str:
    return model if found.sizes[model] in model else f"{model} ({found.sizes[model]})"


def _finish(figure: Figure, panel) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    add_legend(figure, panel)
