"""Which numbers a setting takes: the same in every command and every function, and one sentence for all others."""

import argparse
import math
from dataclasses import dataclass
from numbers import Integral, Real

MOST = 2**31 - 1  # what every library takes as a whole number


@dataclass(frozen=True)
class Range:
    """The numbers that a setting takes. Called with a text, it is a type of `argparse`.

    Args:
        kind: `int` or `float`.
        least: the smallest number.
        most: the largest number.
        above: whether `least` itself is out of range.

    Example:
        >>> SHARE = Range(float, 0, 1)
        >>> SHARE("0.5"), SHARE.check("gate_budget", 1)
        (0.5, 1)
        >>> SHARE.check("gate_budget", float("nan"))
        Traceback (most recent call last):
        ...
        ValueError: gate_budget: expected a number from 0 to 1, got nan.
    """

    kind: type
    least: float
    most: float = MOST
    above: bool = False

    def __str__(self) -> str:
        kind = "a whole number" if self.kind is int else "a number"
        if self == FINITE:
            return kind
        if self.above:
            return f"{kind} above {self.least}"
        return f"{kind} of {self.least} or more" if self.most == MOST else f"{kind} from {self.least} to {self.most}"

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, Real if self.kind is float else Integral):
            return False
        if isinstance(value, Integral):
            return self.least <= int(value) <= self.most and not (self.above and value == self.least)
        number = float(value)
        return math.isfinite(number) and self.least <= number <= self.most and not (self.above and number == self.least)

    def __call__(self, text: str) -> int | float:
        try:
            value = self.kind(text)
        except ValueError:
            value = None
        if value not in self:
            raise argparse.ArgumentTypeError(f"expected {self}, got {text!r}")
        return value

    def check(self, name: str, value: int | float) -> int | float:
        """The value of a setting.

        Raises:
            ValueError: it is out of range; the message names the setting, the range and the value.
        """
        if value not in self:
            raise ValueError(f"{name}: expected {self}, got {value!r}.")
        return value


FINITE = Range(float, -math.inf, math.inf)
COUNT = Range(int, 1)
COUNT_OR_ZERO = Range(int, 0)
SECONDS = Range(float, 0)
TEMPERATURE = Range(float, 0, above=True)

# By the setting's name, which means the same in every command.
RANGES = {
    "batch_size": COUNT,
    "batch_sizes": COUNT,
    "num_beams": COUNT,
    "max_rows": COUNT,
    "min_utterances": COUNT,
    "part_size": COUNT,
    "rounds": COUNT,
    "rank": COUNT,
    "lora_rank": COUNT,
    "expert_rank": COUNT_OR_ZERO,  # 0: full experts
    "k": COUNT_OR_ZERO,  # 0: hidden states
    "workers": COUNT_OR_ZERO,
    "tokens": Range(int, 6, 440),  # five are the prompt and the end, and Whisper's texts have up to 448
    "temperatures": TEMPERATURE,
    "port": Range(int, 1, 65535),
    "gate_noise_max": Range(float, 0),
}
