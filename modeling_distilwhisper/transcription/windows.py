"""Windows of speech: what of a recording goes through Whisper at a time, and the way back to the recording's times."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from ..data.mono import SAMPLING_RATE
from ..data.voice import Span


@dataclass(frozen=True)
class Window:
    """Speech of a recording that fits Whisper's window, without the pauses between.

    Attributes:
        spans: start and end of each part in the recording, in samples, in temporal order.
    """

    spans: tuple[Span, ...]

    @property
    def length(self) -> int:
        """In samples, without the pauses."""
        return sum(end - start for start, end in self.spans)

    @property
    def bounds(self) -> tuple[float, float]:
        """Start and end in the recording, in seconds."""
        return self.spans[0][0] / SAMPLING_RATE, self.spans[-1][1] / SAMPLING_RATE

    def cut(self, samples: np.ndarray) -> np.ndarray:
        """The samples `(length,)` of this window, from those of the recording."""
        return np.concatenate([samples[start:end] for start, end in self.spans])

    def times_of(self, start: float, end: float) -> tuple[float, float]:
        """When a word is spoken in the recording, of which start and end in the window are known.

        A word lies in one part, that which holds most of it: where a pause was cut out, its ends are known by a few
        tenths of a second only, and it would last over the pause.

        Args:
            start: in seconds from the window's start.
            end: likewise.
        """
        ends = list(accumulate(last - first for first, last in self.spans))
        begins = [0, *ends[:-1]]
        given = [start * SAMPLING_RATE, end * SAMPLING_RATE]
        shares = [min(given[1], last) - max(given[0], first) for first, last in zip(begins, ends, strict=True)]
        part = shares.index(max(shares))
        first, last = self.spans[part]
        start, end = (min(max(first, first + time - begins[part]), last) / SAMPLING_RATE for time in given)
        return start, end


def cut_windows(spans: Sequence[Span], limit: int) -> list[Window]:
    """Packs spans of speech into windows, in temporal order.

    A window ends at a pause. Only a span that is longer than the limit is cut within speech.

    Args:
        spans: start and end, in samples, in temporal order and apart.
        limit: the most samples in a window.

    Example:
        >>> cut_windows([(0, 30), (40, 60), (70, 100)], 60)
        [Window(spans=((0, 30), (40, 60))), Window(spans=((70, 100),))]
    """
    windows: list[list[Span]] = []
    length = limit
    for start, end in (piece for span in spans for piece in _pieces(span, limit)):
        if length + end - start > limit:
            windows.append([])
            length = 0
        length += end - start
        if windows[-1] and windows[-1][-1][1] == start:
            start = windows[-1].pop()[0]  # one part: nothing is cut out between
        windows[-1].append((start, end))
    return [Window(tuple(parts)) for parts in windows]


def _pieces(span: Span, limit: int) -> list[Span]:
    start, end = span
    count = -(-(end - start) // limit)
    edges = [start + (end - start) * number // count for number in range(count + 1)] if count else []
    return list(pairwise(edges))
