"""Figures of a run, as PNG files."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from ..runs.files import atomic_path

# The colours of Okabe and Ito, which colour-blind readers can distinguish.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
MARKERS = "os^Dv<>p"
DASHES = ("-", "--", "-.")
SET_BY_BUDGET = (
    "Thresholds followed the budget in training: usage is the budget's by construction, "
    "and says nothing of language, data or method"
)


def draw_wer(rows: Sequence[Mapping], systems: Sequence[str], path: str | Path) -> None:
    """Draws WER in % as bars: a panel for each data set, a group for each language, a bar for each system.

    Args:
        rows: from `training.scoring.wer_rows`. Each has `data_set`, `language`, `words`, `normalizer`, the
            WER of each system as a share, and, but in results of earlier versions, `unit` of WER. A system without a
            WER has no bar.
        systems: the systems to draw.
        path: file of the PNG.

    Example:
        >>> import os, tempfile
        >>> from modeling_distilwhisper import draw_wer
        >>> row = {"data_set": "fleurs", "language": "gl", "words": 900, "normalizer": "marks"}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "wer.png")
        ...     draw_wer([row | {"before": 0.31, "after": 0.24}], ["before", "after"], path)
        ...     os.path.getsize(path) > 10_000
        True
    """
    data_sets = list(dict.fromkeys(row["data_set"] for row in rows))
    figure = Figure(figsize=(max(6, 0.35 * len(systems) * len(rows)), 4), layout="constrained")
    panels = figure.subplots(1, len(data_sets), sharey=True, squeeze=False)[0]
    width = 0.8 / len(systems)
    for panel, data_set in zip(panels, data_sets, strict=True):
        set_rows = [row for row in rows if row["data_set"] == data_set]
        for index, system in enumerate(systems):
            wers = {x: 100 * row[system] for x, row in enumerate(set_rows) if row.get(system) is not None}
            centres = [x + (index + 0.5) * width - 0.4 for x in wers]
            bars = panel.bar(
                centres, list(wers.values()), width, label=in_legend(system), color=PALETTE[index % len(PALETTE)]
            )
            panel.bar_label(bars, fmt="%.0f", fontsize=7)
        panel.set_xticks(
            range(len(set_rows)), [f"{row['language']}\n{row['words']} {row.get('unit', 'words')}" for row in set_rows]
        )
        panel.set_title(data_set)
        panel.spines[["top", "right"]].set_visible(False)
    rules = dict.fromkeys(row["normalizer"] for row in rows)
    panels[0].set_ylabel(f"WER, % (normaliser: {', '.join(rules)})")
    add_legend(figure, panels[0])
    save_figure(figure, path)


def draw_expert_usage(
    usage: Mapping[str, Mapping[str, float]],
    budgets: Collection[float],
    path: str | Path,
    *,
    set_by_budget: Collection[str] = (),
) -> None:
    """Draws the expert usage of each layer: a panel for each side, a line for each language.

    Args:
        usage: by language (or model and language), from `measure_expert_usage`.
        budgets: the shares that training aimed at, each drawn as a dotted line.
        path: file of the PNG.
        set_by_budget: those of `usage` whose thresholds followed the budget (`usage_set_by`). The figure says so.
    """
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, side in zip(panels, ("encoder", "decoder"), strict=True):
        for index, (language, shares) in enumerate(usage.items()):
            layers = [share for name, share in shares.items() if name.startswith(f"{side} ")]
            style = {"marker": MARKERS[index % len(MARKERS)], "color": PALETTE[index % len(PALETTE)]}
            style["linestyle"] = DASHES[index // len(PALETTE) % len(DASHES)]
            panel.plot(np.arange(len(layers)), layers, label=in_legend(language), **style)
        for budget in budgets:
            panel.axhline(budget, color="grey", linestyle=":", label="budget")
        panel.set(title=side, xlabel="layer", ylim=(0, 1), xticks=range(len(layers)))
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("expert usage (share of tokens)")
    add_legend(figure, panels[0])
    if set_by_budget:
        which = "" if len(set_by_budget) == len(usage) else f" ({', '.join(set_by_budget)})"
        figure.suptitle(f"{SET_BY_BUDGET}{which}", fontsize=8, wrap=True)
    save_figure(figure, path)


def draw_usage_by_model(rows: Sequence[Mapping], path: str | Path) -> None:
    """Draws expert usage by language, model and data set, as the report's Figure 14.

    There is a panel for each language, a group of bars for each model, and a bar for each data set. Bars of models
    whose thresholds followed the budget are hatched, and the figure says what that means.

    Args:
        rows: each has `model`, `method` (or `None`), `data_set`, `language`, `all` (the share of tokens that takes the
            expert), `budget`, and `is_set_by_budget`.
        path: file of the PNG.
    """
    models, data_sets, languages = (
        list(dict.fromkeys(row[name] for row in rows)) for name in ("model", "data_set", "language")
    )
    size = max(5, 0.8 * len(models) * len(languages) + 0.25 * len(rows))
    figure = Figure(figsize=(size, 4), layout="constrained")
    panels = figure.subplots(1, len(languages), sharey=True, squeeze=False)[0]
    width = 0.8 / len(data_sets)
    for panel, language in zip(panels, languages, strict=True):
        of_language = [row for row in rows if row["language"] == language]
        for number, data_set in enumerate(data_sets):
            bars = {models.index(row["model"]): row for row in of_language if row["data_set"] == data_set}
            centres = [x + (number + 0.5) * width - 0.4 for x in bars]
            style = {"color": PALETTE[number % len(PALETTE)], "edgecolor": "white", "label": in_legend(data_set)}
            hatches = ["///" if row["is_set_by_budget"] else "" for row in bars.values()]
            drawn = panel.bar(centres, [row["all"] for row in bars.values()], width, hatch=hatches, **style)
            panel.bar_label(drawn, fmt="%.2f", fontsize=7)
        for row in of_language:
            x = models.index(row["model"])
            panel.hlines(row["budget"], x - 0.4, x + 0.4, color="black", linestyle=":")
        methods = {row["model"]: f"\n{row['method']}" for row in of_language if row["method"]}
        panel.set_xticks(range(len(models)), [f"{model}{methods.get(model, '')}" for model in models], fontsize=8)
        panel.set(title=language, ylim=(0, 1.05))
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("expert usage (share of tokens)\ndotted: budget")
    handles = {text: bars for panel in panels for bars, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False)
    if any(row["is_set_by_budget"] for row in rows):
        figure.suptitle(f"Hatched: {SET_BY_BUDGET[0].lower()}{SET_BY_BUDGET[1:]}", fontsize=8, wrap=True)
    save_figure(figure, path)


def draw_gates(
    gates: Mapping[str, np.ndarray], seconds: float, tokens: Sequence[str], path: str | Path, title: str = ""
) -> None:
    """Draws the gates of one utterance, layer by layer: dark where a token took the expert.

    Args:
        gates: "encoder" `(layers, frames)` and "decoder" `(layers, tokens)`, from 0 (closed) to 1 (open).
        seconds: duration of the frames.
        tokens: text of each decoder token.
        path: file of the PNG.
        title: of the figure.
    """
    figure = Figure(figsize=(max(8, 0.35 * len(tokens)), 5), layout="constrained")
    panels = dict(zip(("encoder", "decoder"), figure.subplots(2, 1), strict=True))
    for side, panel in panels.items():
        layers = len(gates[side])
        extent = (0, seconds if side == "encoder" else len(tokens), layers - 0.5, -0.5)
        panel.imshow(gates[side], vmin=0, vmax=1, cmap="Blues", aspect="auto", interpolation="none", extent=extent)
        panel.set(ylabel=f"{side} layer", yticks=range(layers))
    panels["encoder"].set(xlabel="time, s")
    panels["encoder"].set_title(title)
    labels = {"rotation": 60, "ha": "right", "fontsize": 8}
    panels["decoder"].set_xticks(np.arange(len(tokens)) + 0.5, tokens, **labels)
    save_figure(figure, path)


def draw_histograms(tables: Mapping[str, Sequence[Mapping]], series: Sequence[str], path: str | Path) -> None:
    """Draws how numbers are spread: a panel for each, with the counts of the series on top of each other.

    Args:
        tables: by name of the number, its bins: each has `from`, `to`, and a count of each of the series.
        series: their names.
        path: file of the PNG.
    """
    columns = min(len(tables), 4)
    lines = -(-len(tables) // columns)
    figure = Figure(figsize=(3 * columns, 2.5 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for panel, (name, bins) in zip(panels, tables.items(), strict=False):
        starts, below = [row["from"] for row in bins], np.zeros(len(bins))
        for index, one in enumerate(series):
            counts = np.array([row[one] for row in bins])
            widths = [row["to"] - row["from"] for row in bins]
            panel.bar(starts, counts, widths, below, align="edge", color=PALETTE[index], label=in_legend(one))
            below += counts
        panel.set_xlabel(name)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(tables) :]:
        panel.set_axis_off()
    panels[0].set_ylabel("utterances")
    add_legend(figure, panels[0])
    save_figure(figure, path)


def draw_audio_gates(gates: np.ndarray, samples: np.ndarray, seconds: float, path: str | Path) -> None:
    """Draws the waveform of a recording and, under it, the encoder's gates: dark where a frame took the expert.

    Args:
        gates: `(layers, frames)`, from 0 (closed) to 1 (open).
        samples: `(samples,)` of the same recording.
        seconds: duration of the recording.
        path: file of the PNG.
    """
    figure = Figure(figsize=(5, 3), layout="constrained")  # readable on a phone
    wave, panel = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    spans = _columns(samples, 1500)
    times = np.linspace(0, seconds, len(spans))
    wave.fill_between(times, spans.min(axis=-1), spans.max(axis=-1), color=PALETTE[7], linewidth=0)
    wave.set_axis_off()
    shares = _columns(gates, 750).mean(axis=-1)
    extent = (0, seconds, len(gates) - 0.5, -0.5)
    panel.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto", interpolation="none", extent=extent)
    panel.set(xlabel="time, s", ylabel="encoder layer", xlim=(0, seconds))
    panel.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    save_figure(figure, path)


def _columns(values: np.ndarray, limit: int) -> np.ndarray:
    """`(..., time)` as `(..., columns, time in a column)`, with at most `limit` columns: more are not visible."""
    length = -(-values.shape[-1] // limit)
    padding = [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % length)]
    return np.pad(values, padding, mode="edge").reshape(*values.shape[:-1], -1, length)


def in_legend(name: str) -> str:
    """A name as the label of a series: one that begins with `_` would be left out of the legend."""
    return f" {name}" if name.startswith("_") else name


def add_legend(figure: Figure, panel, columns: int = 6) -> None:
    """Puts the legend of a panel below all panels."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), columns), frameon=False)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a PNG. An interruption leaves no partial file. Names with dollar signs are names, not formulas."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
