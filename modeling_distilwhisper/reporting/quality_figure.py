"""WER against size and against time: a point for each system, from what `distilwhisper benchmark quality` measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox, ScaledTranslation

from .figures import MARKERS, PALETTE, save_figure
from .labels import Point, label_points, scaled

LOGARITHMIC_FROM = 8  # the largest value, in smallest ones
SPACE = 0.15  # beside the points, as a share of the panel
WIDTH = 350  # of a panel, about; in points (1/72 inch), as the lengths below
STEP = 8  # systems that are nearer to each other are drawn side by side, so far apart
MARKER = 7
COLORS = (*PALETTE[:6], "black", PALETTE[7])  # of thin lines: yellow would hardly be seen

Spans = Sequence[tuple[float, float, float]]  # low, value and high of each system


def draw_quality(content: Mapping[str, Any], path: str | Path) -> None:
    """Draws WER in %, with its 95 % interval, against megabytes to fetch and against time to compute.

    Time is that of the pass whose transcripts are scored, the first task; its bar reaches from the fastest round to the
    slowest. Systems at one place are drawn side by side.

    Args:
        content: of `quality.json`.
        path: file of the PNG.
    """
    systems = content["systems"]
    task = next(iter(systems[0]["seconds"]))
    clips, hours = (sum(part[key] for part in content["data"]) for key in ("rows", "hours"))
    figure = Figure(figsize=(11, 5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    panels[0].set(xlabel="megabytes to fetch", ylabel=f"WER, % (normaliser: {systems[0]['normalizer']})")
    panels[1].set_xlabel(
        f"seconds of computing for an hour of speech\n({task}, {3600 * hours / clips:.1f} s in the mean)"
    )
    megabytes = [span(system["download"] / 1e6) for system in systems]
    times = [
        span(system["seconds per hour"][task], *(seconds / hours for seconds in system["seconds"][task]))
        for system in systems
    ]
    rates = [
        span(*(100 * system[name] for name in ("wer", "wer_low", "wer_high") if system[name] is not None))
        for system in systems
    ]
    panels[0].set_ylim(0, 1.1 * max(max(high for *_, high in rates), 1))
    drawn = [draw_points(figure, panel, spans, rates) for panel, spans in zip(panels, (megabytes, times), strict=True)]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # from here on, places are known and stay
    for panel, shifts, spans in zip(panels, drawn, (megabytes, times), strict=True):
        label_systems(figure, panel, [system["system"] for system in systems], shifts, spans, rates)
    save_figure(figure, path)


def span(value: float, *others: float) -> tuple[float, float, float]:
    """A value between the lowest and the highest of it and others, however these were rounded."""
    values = (value, *others)
    return min(values), value, max(values)


def draw_points(figure: Figure, panel: Axes, spans: Spans, rates: Spans) -> list[float]:
    """Draws the points with their bars; returns how far each is moved to the right, in points."""
    lowest, highest = min(low for low, *_ in spans), max(high for *_, high in spans)
    if highest > LOGARITHMIC_FROM * lowest > 0:
        panel.set_xscale("log")
        beside = (highest / lowest) ** SPACE
        panel.set_xlim(lowest / beside, highest * beside)
    else:
        beside = SPACE * (highest - lowest) or 0.1 * highest
        panel.set_xlim(lowest - beside, highest + beside)
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
    to_panel = panel.transData + panel.transAxes.inverted()
    shifts = side_by_side([WIDTH * to_panel.transform((x, 0))[0] for _, x, _ in spans])
    for index, ((left, x, right), (low, y, high)) in enumerate(zip(spans, rates, strict=True)):
        panel.errorbar(
            [x],
            [y],
            xerr=[[x - left], [right - x]],
            yerr=[[y - low], [high - y]],
            color=COLORS[index % len(COLORS)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=MARKER,
            linewidth=1.2,
            capsize=2,
            transform=panel.transData + ScaledTranslation(shifts[index] / 72, 0, figure.dpi_scale_trans),
        )
    return shifts


def side_by_side(places: Sequence[float]) -> list[float]:
    """How far to move each of some places, so that those nearer than `STEP` to a neighbour stand in a row.

    Example:
        >>> side_by_side([100.0, 101.0, 200.0])
        [-3.5, 3.5, 0.0]
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    groups: list[list[int]] = []
    for index in order:
        if groups and places[index] - places[groups[-1][-1]] < STEP:
            groups[-1].append(index)
        else:
            groups.append([index])
    shifts = [0.0] * len(places)
    for group in groups:
        middle = sum(places[index] for index in group) / len(group)
        for number, index in enumerate(group):
            if len(group) > 1:
                shifts[index] = middle + STEP * (number - (len(group) - 1) / 2) - places[index]
    return shifts


def label_systems(
    figure: Figure, panel: Axes, names: Sequence[str], shifts: Sequence[float], spans: Spans, rates: Spans
) -> None:
    """Writes the name of each system beside its point, free of all points and bars."""
    to_points = 72 / figure.dpi
    points = {}
    for index, (name, shift) in enumerate(zip(names, shifts, strict=True)):
        (left, x, right), (low, y, high) = spans[index], rates[index]
        x, y = panel.transData.transform((x, y)) * to_points + (shift, 0)
        bars = scaled(Bbox(panel.transData.transform([(left, low), (right, high)])), to_points).translated(shift, 0)
        drawn = (
            Bbox.from_extents(x - 1, bars.y0, x + 1, bars.y1),
            Bbox.from_extents(bars.x0, y - 1, bars.x1, y + 1),
            Bbox.from_bounds(x - MARKER / 2, y - MARKER / 2, MARKER, MARKER),
        )
        points[name] = Point(x, y, COLORS[index % len(COLORS)], [box.padded(1) for box in drawn])
    label_points(figure, panel, points)
