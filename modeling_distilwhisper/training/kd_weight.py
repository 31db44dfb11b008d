"""The weight beta of distillation in eq. 4.8: constant, scheduled, or learned within a bound (section 4.3.3)."""

import math

SCHEDULES = ("constant", "linear", "learned")
LEARNING_RATE = 0.05  # of the one number that decides a learned beta, in units of a sigmoid's argument


class DistillationWeight:
    """beta over a training.

    Learned, it is the weight b that minimises `b KD - ln b` (uncertainty weighting, Kendall et al., 2018), in which the
    logarithm keeps b from going to zero. So b moves towards 1 / KD: the closer the student comes, the more the teacher
    counts. It is `bound * sigmoid(x)`, and so below its bound; x moves by gradient descent, at most `LEARNING_RATE` a
    step.

    Args:
        schedule: "constant", "linear" (from `start` to `end` over the training) or "learned" (from `start`).
        start: beta at first.
        end: what a linear beta goes to.
        bound: what a learned beta stays below.
    """

    def __init__(self, schedule: str, start: float, end: float, bound: float):
        self.schedule, self.start, self.end, self.bound = schedule, start, end, bound
        self.learned = math.log(start / (bound - start)) if schedule == "learned" else None

    def at(self, done: float) -> float:
        """beta when a share `done`, in [0, 1], of the training is over."""
        if self.schedule == "linear":
            return self.start + (self.end - self.start) * done
        if self.schedule == "learned":
            return self.bound / (1 + math.exp(-self.learned))
        return self.start

    def learn(self, kd_loss: float) -> None:
        """One step of gradient descent, for a step of training with this distillation loss; learned betas only."""
        if not math.isfinite(kd_loss):
            return  # one broken batch must not decide
        beta = self.at(0.0)
        slope = (kd_loss - 1 / beta) * beta * (1 - beta / self.bound)
        self.learned -= LEARNING_RATE * max(-1.0, min(slope, 1.0))
