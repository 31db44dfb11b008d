"""Ranges of numbers among settings, so that one out of its range is refused before anything takes time."""

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """The finite numbers from `low` to `high`.

    Attributes:
        low, high: the ends; `high` may be infinite, but no number of the range is.
        without_low, without_high: whether an end is not in the range.
        whole: whether the range has whole numbers only.
        also: a value beyond them that is allowed as well, such as -1 for "not set".
    """

    low: float = 0
    high: float = math.inf
    without_low: bool = False
    without_high: bool = False
    whole: bool = False
    also: float | None = None

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(value):
            return False
        number = float(value)
        if self.also is not None and number == self.also:
            return True
        if self.whole and not number.is_integer():
            return False
        above = number > self.low if self.without_low else number >= self.low
        return above and (number < self.high if self.without_high else number <= self.high)

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.without_low else f"{self.low:g} or more"
        text = low
        if self.high < math.inf:
            high = f"below {self.high:g}" if self.without_high else f"at most {self.high:.15g}"
            text = f"{low.replace(' or more', '')} and {high}" if self.without_low else f"{low} and {high}"
        text = f"a whole number, {text}" if self.whole else f"a finite number, {text}"
        return text if self.also is None else f"{text}, or {self.also:g}"


AT_LEAST_0, ABOVE_0 = Range(), Range(without_low=True)
COUNT, COUNT_OR_0 = Range(1, whole=True), Range(whole=True)
BELOW_1 = Range(high=1, without_high=True)


def check_numbers(settings: Any, ranges: Mapping[str, Range]) -> None:
    """Refuses attributes of settings that are out of their ranges; `None` is no number, and stays.

    Raises:
        ValueError: the first one that is; the message says what is expected.

    Example:
        >>> from types import SimpleNamespace
        >>> check_numbers(SimpleNamespace(rows=0), {"rows": COUNT})
        Traceback (most recent call last):
        ValueError: --rows must be a whole number, 1 or more, got 0.
    """
    for name, allowed in ranges.items():
        value = getattr(settings, name)
        if value is not None and value not in allowed:
            raise ValueError(f"--{name} must be {allowed}, got {value!r}.")
