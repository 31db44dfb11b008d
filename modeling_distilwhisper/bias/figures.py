"""Figures 2 to 12 of the report, by name, for the data at hand."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..figures import DASHES, MARKERS, PALETTE, add_legend, save_figure
from ..languages import RESOURCE_CLASSES
from ..run_folder import file_name
from .sentences import CHANGES, THRESHOLD
from .study import Study

RESOURCES = (*RESOURCE_CLASSES, "unknown")
COLOURS = dict(zip(RESOURCES, PALETTE, strict=False))
CHANGE_LABELS = (
    f"worse\n(by more than {THRESHOLD})",
    f"similar\n(within {THRESHOLD})",
    f"better\n(by more than {THRESHOLD})",
)
FAINT = 0.35  # of cells that are too small


def wer_by_score(found: Study, data_set: str) -> Iterator[tuple[str, Figure]]:
    """WER by language of the largest model before compression, ordered by score."""
    model = list(found.sizes)[-1]
    own = _before(found.languages, found, data_set, model).sort_values("wer")
    if len(own):
        yield (
            data_set,
            _bars_of_languages(own, f"{model}, {data_set}", "wer", f"WER, % (normaliser: {found.normalizer})"),
        )


def gender_gaps(found: Study, data_set: str) -> Iterator[tuple[str, Figure]]:
    """Relative or absolute difference of the genders by language, in the largest model before compression."""
    model = list(found.sizes)[-1]
    own = _before(found.genders, found, data_set, model)
    if not len(own):
        return
    relative = own["measure"].iloc[0] == "relative"
    keys = ["resource", "difference"] if relative else ["difference"]
    own = own.sort_values(keys, key=lambda values: values.map(RESOURCES.index) if values.name == "resource" else values)
    label = "relative difference of WER, %" if relative else "difference of WER, points"
    figure = _bars_of_languages(own, f"{model}, {data_set}", "difference", f"{label}\n(above 0: higher for women)")
    figure.axes[0].axhline(0, color="black", linewidth=0.8)
    yield data_set, figure


def wer_by_hours(found: Study, data_set: str) -> Iterator[tuple[str, Figure]]:
    """WER by language of every model before compression, languages ordered by their hours in Whisper's training."""
    own = _before(found.languages, found, data_set)
    if not len(own):
        return
    hours = own.drop_duplicates("language").sort_values(["hours", "language"], ascending=[False, True])
    order = list(hours["language"])
    figure = Figure(figsize=(max(6, 0.3 * len(order) + 2), 4), layout="constrained")
    panel = figure.subplots()
    for index, model in enumerate(found.sizes):
        rows = own[own["model"] == model].set_index("language").reindex(order)
        style = {"marker": MARKERS[index % len(MARKERS)], "color": PALETTE[index % len(PALETTE)]}
        style["linestyle"] = DASHES[index // len(PALETTE) % len(DASHES)]
        ends = np.abs(rows[["low", "high"]].to_numpy().T - rows["wer"].to_numpy())
        panel.errorbar(range(len(order)), rows["wer"], yerr=ends, label=_model_label(found, model), capsize=2, **style)
    panel.set_xticks(range(len(order)), order, rotation=0 if len(order) < 30 else 90)
    panel.set(
        title=f"{data_set}, {found.baseline}", ylabel="WER, %", xlabel="languages, by hours in Whisper's training data"
    )
    _finish(figure, panel)
    yield data_set, figure


def classes_by(by: str):
    """How a figure is drawn that has, for each group, the shares of sentences made worse, left similar, made better."""

    def draw(found: Study, data_set: str) -> Iterator[tuple[str, Figure]]:
        if not len(found.classes):
            return
        own = found.classes[(found.classes["data_set"] == data_set) & (found.classes["by"] == by)]
        largest = [model for model in found.sizes if model in set(own["model"])][-1:]
        own = own[own["model"].isin(largest or ["all"])]
        if not len(own):
            return
        precisions = list(own["precision"].unique())
        figure = Figure(figsize=(4.5 * len(precisions) + 1, 4.2), layout="constrained")
        panels = figure.subplots(1, len(precisions), sharey=True, squeeze=False)[0]
        for panel, precision in zip(panels, precisions, strict=True):
            _histogram(panel, own[own["precision"] == precision])
            panel.set_title(f"{found.baseline} to {precision}")
        panels[0].set_ylabel("share of sentences, %")
        figure.suptitle(f"{data_set}, {largest[0] if largest else 'all models'}, by {by}")
        add_legend(figure, panels[0])
        yield data_set, figure

    return draw


# By name: whether it is of balanced corpora or of others (`None`: of all), and how it is drawn.
FIGURES = {
    "figure2": (True, wer_by_score),
    "figure3": (False, wer_by_score),
    "figure4": (True, gender_gaps),
    "figure5": (False, gender_gaps),
    "figure6": (None, wer_by_hours),
    "figure7": (True, classes_by("gender")),
    "figure8": (False, classes_by("gender")),
    "figure9": (False, classes_by("age")),
    "figure10": (True, classes_by("resource")),
    "figure11": (False, classes_by("resource")),
    "figure12": (None, classes_by("model")),  # of Common Voice too: section 3.3 refers to such a figure, as "??"
    "languages": (None, classes_by("language")),  # not in the report
}


def draw_figures(found: Study, folder: Path, names: Sequence[str] = tuple(FIGURES)) -> list[Path]:
    """Draws what the data has: `folder/<figure>.<data set>.png`. A figure whose data is not there is left out.

    Returns:
        The files, in the order of the names.
    """
    drawn = []
    for name in names:
        balanced, draw = FIGURES[name]
        for data_set, is_balanced in found.balanced.items():
            if balanced is not None and balanced != is_balanced:
                continue
            for label, figure in draw(found, data_set):
                path = folder / f"{name}.{file_name(label)}.png"
                save_figure(figure, path)
                drawn.append(path)
    return drawn


def _before(table: pd.DataFrame, found: Study, data_set: str, model: str | None = None) -> pd.DataFrame:
    if not len(table):
        return table
    own = table[(table["precision"] == found.baseline) & (table["data_set"] == data_set)]
    return own if model is None else own[own["model"] == model]


def _bars_of_languages(own: pd.DataFrame, title: str, value: str, label: str) -> Figure:
    figure = Figure(figsize=(max(6, 0.3 * len(own) + 2), 4), layout="constrained")
    panel = figure.subplots()
    for resource in RESOURCES:
        places = np.flatnonzero(own["resource"] == resource)
        if not len(places):
            continue
        rows = own.iloc[places]
        ends = np.abs(rows[["low", "high"]].to_numpy(dtype=float).T - rows[value].to_numpy(dtype=float))
        bars = panel.bar(places, rows[value], yerr=ends, capsize=2, color=COLOURS[resource], label=resource)
        _make_faint(bars, rows)
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
        label = f"{row['group']} ({row['utterances']}{', too few' if row['too small'] else ''})"
        style = {"color": PALETTE[index % len(PALETTE)], "hatch": "" if index < len(PALETTE) else "//"}
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
