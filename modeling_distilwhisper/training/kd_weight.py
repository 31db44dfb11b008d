"""The weight beta of distillation in eq. 4.8: constant, scheduled, or learned within a bound (section 4.3.3)."""

import math

SCHEDULES = ("constant", "linear", "learned")
LEARNING_RATE = 0.05  # of x in `beta = bound * sigmoid(x)`


class DistillationWeight:
    """beta over a training.

    A learned beta minimises `beta KD - ln beta` (uncertainty weighting, Kendall et al., 2018), in which the logarithm
    keeps beta above zero. So beta moves towards 1 / KD: the smaller the distillation loss, the higher its weight. It
    is `bound * sigmoid(x)`, and so below its bound; x moves by gradient descent, at most `LEARNING_RATE` per step.

    Args:
        schedule: "constant", "linear" (from `start` to `end` over the training) or "learned" (from `start`).
        start: beta at first.
        end: the last value of a linear beta.
        bound: the upper bound of a learned beta.
    """

    def __init__(self, schedule: str, start: float, end: float, bound: float):
        self.schedule, self.start, self.end, self.bound = schedule, start, end, bound
        # The x of a learned beta; `None` for other schedules.
        self.learned: float | None = math.log(start / (bound - start)) if schedule == "learned" else None

    def at(self, done: float) -> float:
        """beta when a share `done` of the training's steps, from 0 to 1, is done."""
        if self.schedule == "linear":
            return self.start + (self.end - self.start) * done
        if self.learned is not None:
            return self.bound / (1 + math.exp(-self.learned))
        return self.start

    def learn(self, kd_loss: float) -> None:
        """One step of gradient descent of a learned beta, for a training step with this distillation loss."""
        if self.learned is None or not math.isfinite(kd_loss):
            return  # a broken batch must not change it
        beta = self.at(0.0)
        gradient = (kd_loss - 1 / beta) * beta * (1 - beta / self.bound)
        self.learned -= LEARNING_RATE * max(-1.0, min(gradient, 1.0))
