"""Which numbers a setting takes: the same in every command and every function, and one sentence for all others."""

import argparse
import math
from dataclasses import dataclass
from numbers import Integral, Real

MOST = 2**31 - 1  # what every library takes as a whole number


@dataclass(frozen=True)
class Range:
    """The numbers that a setting takes. Called with a text, it is a type of `argparse`. No number is infinite.

    Args:
        kind: `int` or `float`.
        least: the smallest number.
        most: the largest number.
        above: whether `least` itself is out of range.
        below: whether `most` itself is out of range.
        also: a number outside of it that is taken too, such as -1 for "not set".

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
    below: bool = False
    also: int | None = None

    def __str__(self) -> str:
        kind = "a whole number" if self.kind is int else "a number"
        if self == FINITE:
            return kind
        if self.above:
            end = "" if self.most == MOST else f", at most {self.most}"
            text = f"{kind} above {self.least}{end}"
        elif self.most == MOST:
            text = f"{kind} of {self.least} or more"
        else:
            text = f"{kind} from {self.least} to {'below ' if self.below else ''}{self.most}"
        return text if self.also is None else f"{text}, or {self.also}"

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, Real if self.kind is float else Integral):
            return False
        number = int(value) if isinstance(value, Integral) else float(value)
        if self.also is not None and number == self.also:
            return True
        is_inside = math.isfinite(number) and self.least <= number <= self.most
        return is_inside and not (self.above and number == self.least) and not (self.below and number == self.most)

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
AT_LEAST_0 = Range(float, 0)
ABOVE_0 = Range(float, 0, above=True)
BELOW_1 = Range(float, 0, 1, below=True)
LOSS_WEIGHT = Range(float, 0, 1000)  # of a row in the loss

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
    "lora_alpha": COUNT,
    "lora_dropout": BELOW_1,
    "gate_dim": COUNT,
    "gate_dropout": BELOW_1,
    "expert_dropout": BELOW_1,
    "expert_rank": COUNT_OR_ZERO,  # 0: full experts
    "k": COUNT_OR_ZERO,  # 0: hidden states
    "workers": COUNT_OR_ZERO,
    "tokens": Range(int, 6, 440),  # five are the prompt and the end, and Whisper's texts have up to 448
    "temperatures": ABOVE_0,
    "port": Range(int, 1, 65535),
    "replicas": COUNT,
    "threads": COUNT,
    "max_requests": COUNT,
    "expert_memory": ABOVE_0,
    "max_upload": ABOVE_0,
    "upload_seconds": ABOVE_0,
    "max_minutes": Range(float, 0, 480, above=True),  # `read_audio` has a bound of its own
    "gate_noise_max": AT_LEAST_0,
    "max_line_width": COUNT,
    "max_lines": COUNT,
    "max_cue_seconds": Range(float, 1, math.inf, below=True),
    "long_seconds": ABOVE_0,
    "weight": LOSS_WEIGHT,
    "train_data_weight": LOSS_WEIGHT,
    "second_num_beams": COUNT,
    "second_temperature": ABOVE_0,
}
