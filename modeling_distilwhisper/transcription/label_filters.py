"""Which labels of a model a training may learn from: by thresholds and shares of their scores, without references."""

import math
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .pseudo_labels import SCORES

EMPTY, INVENTED = "empty text", "taken for invented"
# Texts that a model itself finds less likely than this, in the mean, are dropped by default (Radford et al., 2023,
# section 4.5, decode them again).
LEAST_LOGPROB = -1.0


@dataclass(frozen=True)
class Filters:
    """Chooses labels. The thresholds come first, then the shares, one after the other.

    Attributes:
        at_least, at_most: thresholds, by score.
        best: by score, the share of labels to keep: those with the best scores, in each language for itself.
        keep_doubtful: whether texts that are taken for invented are kept (`doubts.py`).

    Example:
        >>> rows = [
        ...     {"id": name, "text": "bos días", "language": "gl", "doubt": None, "scores": {"mean_logprob": logprob}}
        ...     for name, logprob in {"a": -0.2, "b": -0.4, "c": -0.3, "d": -2.0}.items()
        ... ]
        >>> Filters(at_least={"mean_logprob": -1.0}, best={"mean_logprob": 0.6}).reasons(rows)
        [None, 'not in the best 60 % by mean_logprob', None, 'mean_logprob below -1']
    """

    at_least: Mapping[str, float] = field(default_factory=dict)
    at_most: Mapping[str, float] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    keep_doubtful: bool = False

    def __post_init__(self):
        for name in self.best:
            if SCORES.get(name) is None:
                sided = ", ".join(score for score, side in SCORES.items() if side is not None)
                raise ValueError(f"--best: no end of {name} is the better one. Expected one of {sided}.")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def reasons(self, rows: Sequence[Mapping]) -> list[str | None]:
        """Why each label is dropped; `None` for one that is kept.

        Args:
            rows: each has `id`, `text`, `language`, `doubt` and `scores`.

        Raises:
            ValueError: a filter is for a score that no row has.
        """
        for name in {*self.at_least, *self.at_most, *self.best}:
            if rows and all(row["scores"].get(name) is None for row in rows):
                hint = " Label with --second_model or another second decoding." if name == "disagreement" else ""
                raise ValueError(f"A filter is for {name}, which no label has.{hint}")
        reasons = [self._alone(row) for row in rows]
        for name, share in self.best.items():
            self._drop_worst(rows, reasons, name, share)
        return reasons

    def _alone(self, row: Mapping) -> str | None:
        """Why a label is dropped, whatever the others are."""
        if not row["text"]:
            return EMPTY
        if row["doubt"] and not self.keep_doubtful:
            return INVENTED
        for name, least in self.at_least.items():
            if (value := row["scores"].get(name)) is None or value < least:
                return f"{name} below {least:g}"
        for name, most in self.at_most.items():
            if (value := row["scores"].get(name)) is None or value > most:
                return f"{name} above {most:g}"
        return None

    @staticmethod
    def _drop_worst(rows: Sequence[Mapping], reasons: list[str | None], name: str, share: float) -> None:
        sign = -1 if SCORES[name] else 1
        kept = [index for index, reason in enumerate(reasons) if reason is None]

        def rank(index: int) -> tuple[float, str]:
            value = rows[index]["scores"].get(name)
            return (math.inf if value is None else sign * value), rows[index]["id"]

        for language, count in Counter(rows[index]["language"] for index in kept).items():
            of_language = sorted((index for index in kept if rows[index]["language"] == language), key=rank)
            for index in of_language[math.ceil(round(share * count, 6)) :]:
                reasons[index] = f"not in the best {100 * share:g} % by {name}"


def score_number(text: str) -> tuple[str, float]:
    """A score and its number, such as `mean_logprob=-0.7`: a type of `argparse`."""
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if name not in SCORES or not math.isfinite(value):
        raise ArgumentTypeError(f"expected a score and a number, such as mean_logprob=-0.7, got {text!r}; {KNOWN}")
    return name, value


def score_share(text: str) -> tuple[str, float]:
    """A score and the share of labels to keep, such as `mean_logprob=0.7`: a type of `argparse`."""
    name, share = score_number(text)
    if not 0 < share <= 1:
        raise ArgumentTypeError(f"expected a score and a share above 0, at most 1, got {text!r}")
    return name, share


KNOWN = f"the scores are {', '.join(SCORES)}"
