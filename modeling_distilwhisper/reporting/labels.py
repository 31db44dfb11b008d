"""Names beside the points of a plot, none over another one, over a point or over what else is drawn."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

FONT_SIZE = 8
COORDINATES: dict[str, Any] = {"xycoords": "figure points", "textcoords": "figure points"}
# From a point to the places for its name; in points (1/72 inch), as all lengths here.
DISTANCES = (7, 12, 18, 26, 36, 48, 62, 80, 100, 125, 150)
DIRECTIONS = 16
LINE_FROM = 14  # a name that is farther away has a line to its point
CROSSING = 60  # a name may be so much farther away if its line crosses one thing less


@dataclass(frozen=True)
class Point:
    """A point to be named: where it is, from the lower left corner of the figure; its colour; and the boxes of what
    is drawn for it, its marker and its bars."""

    x: float
    y: float
    color: str
    drawn: Sequence[Bbox]


def label_points(figure: Figure, panel: Axes, points: Mapping[str, Point]) -> list[Annotation]:
    """Writes the name of each point beside it, and where it is not near, draws a line between them.

    Args:
        figure: with its layout done (`Figure.draw_without_rendering`).
        panel: of the figure, with its limits set.
        points: by name.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    to_points = 72 / figure.dpi
    inside = scaled(panel.get_window_extent(renderer), to_points)
    written: list[Bbox] = []
    labels = []
    for name, point in points.items():
        place = point.x, point.y
        label = panel.annotate(name, place, place, fontsize=FONT_SIZE, zorder=5, **COORDINATES)
        label.set_parse_math(False)
        label.set_in_layout(False)
        size = scaled(label.get_window_extent(renderer), to_points)
        others = [box for other in points.values() if other is not point for box in other.drawn] + written
        distance, box = _best_place(point, size, others, inside)
        label.set_position((box.x0, box.y0))
        written.append(box.padded(1))
        labels.append(label)
        if distance >= LINE_FROM:
            line = {"arrowstyle": "-", "color": point.color, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
            panel.annotate("", place, _edge(point, box), arrowprops=line, **COORDINATES).set_in_layout(False)
    return labels


def scaled(box: Bbox, factor: float) -> Bbox:
    return Bbox(box.get_points() * factor)


def _best_place(point: Point, size: Bbox, others: Sequence[Bbox], inside: Bbox) -> tuple[float, Bbox]:
    """Distance and box of the best place for a name: one that covers nothing, near, with a line that crosses little."""
    best, place = (math.inf, math.inf), (0.0, size)
    others_and_own = _corners([*others, *point.drawn])
    for distance, dx, dy in _places():
        if best <= (0, distance):
            break
        to_the_left = size.width * (1 - dx / distance) / 2  # all of it for a name on the left side, none on the right
        left, below = point.x + dx - to_the_left, point.y + dy - size.height / 2
        box = Bbox.from_bounds(left, below, size.width, size.height)
        covered = _common(box, others_and_own) + size.width * size.height - _common(box, _corners([inside]))
        crossed = 0
        if distance >= LINE_FROM:
            line = np.linspace((point.x, point.y), _edge(point, box), 20)[:, None]  # (places, 1, 2)
            low, high = np.moveaxis(others_and_own[: len(others)], 1, 0)
            crossed = int(((line > low) & (line < high)).all(axis=-1).any(axis=0).sum())
        cost = (round(covered, 3), distance + CROSSING * crossed)
        if cost < best:
            best, place = cost, (distance, box)
    return place


def _corners(boxes: Sequence[Bbox]) -> np.ndarray:
    """Boxes as `(boxes, 2, 2)`: lower left and upper right corner of each."""
    return np.array([box.extents for box in boxes]).reshape(-1, 2, 2)


def _edge(point: Point, box: Bbox) -> tuple[float, float]:
    """The nearest place to a point in a box."""
    return min(max(point.x, box.x0), box.x1), min(max(point.y, box.y0), box.y1)


def _places() -> Iterator[tuple[float, float, float]]:
    """Distance and offset of every place that is tried: the nearest first, and of these the right ones first."""
    for distance in DISTANCES:
        for step in range(DIRECTIONS):
            angle = (step + 1) // 2 * (-1) ** step * 2 * math.pi / DIRECTIONS
            yield distance, distance * math.cos(angle), distance * math.sin(angle)


def _common(box: Bbox, others: np.ndarray) -> float:
    """The area that a box has in common with others, `(boxes, 2, 2)`."""
    low, high = np.maximum(others[:, 0], box.min), np.minimum(others[:, 1], box.max)
    return float(np.clip(high - low, 0, None).prod(axis=-1).sum())
