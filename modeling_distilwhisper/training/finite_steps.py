"""Training steps whose loss or gradient is not finite: none is taken, all are counted, several in a row end the run."""

import math
from collections.abc import Iterable

import torch
from accelerate.utils import gather_object
from transformers import Seq2SeqTrainer
from transformers.utils import logging

from .log import TrainingLog
from .row_names import ROW_NAMES, names_of

logger = logging.get_logger(__name__)

STEPS_IN_A_ROW = 5  # that may be skipped; a single damaged row spoils one step of an epoch
NAMED_ROWS = 20  # in a message


class FiniteSteps(Seq2SeqTrainer):
    """A trainer that skips a step, in all processes alike, whose loss or gradient is not finite.

    A skipped step changes nothing: no weight, no state of the optimiser, no figure of the log but `skipped_steps`. The
    step still counts as one of the training, so schedules go on.

    It overrides these private methods of `Trainer`: `_get_grad_norm`, which is called just before each step of the
    optimiser, and `_finalize_training`. It reads and corrects `_tr_loss` and `_total_loss_scalar`.

    Attributes that a subclass must set:
        figures: the log, which counts the skipped steps.
    """

    figures: TrainingLog

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._begin()

    def _begin(self) -> None:
        self._in_a_row = self._steps_here = self._skipped_here = 0
        self._skipped_since_line = self._steps_since_line = 0
        self._step_batches: list[tuple[list[str], bool]] = []  # the rows, and whether the loss is finite
        self._step_loss: torch.Tensor | float = 0.0  # what this step has added to `_tr_loss`

    def _end_step(self, *, is_taken: bool) -> None:
        """For a subclass: ends a step of the optimiser, just before it is taken, or skipped."""

    def train(self, resume_from_checkpoint: str | bool | None = None, trial=None, ignore_keys_for_eval=None):
        self._begin()
        result = super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        check_finite(self.model, "The trained model")
        return result

    def training_step(self, model, inputs, num_items_in_batch=None):
        inputs = dict(inputs)
        names = inputs.pop(ROW_NAMES, None)
        loss = super().training_step(model, inputs, num_items_in_batch)
        is_finite = bool(loss.isfinite())
        self._step_batches.append((names_of(names), is_finite))
        if not is_finite:  # `Trainer` would log the mean of the steps before it, or 0.0
            loss = torch.zeros_like(loss)
        self._step_loss = self._step_loss + loss
        return loss

    def _get_grad_norm(self, model, grad_norm=None):
        """
        Raises:
            ValueError: several steps in a row were skipped.
        """
        norm = super()._get_grad_norm(model, grad_norm)
        is_finite = math.isfinite(norm) and all(is_finite for _, is_finite in self._step_batches)
        flag = torch.tensor(float(not is_finite), device=self.accelerator.device)
        is_taken = not float(self.accelerator.reduce(flag, "sum"))
        self._end_step(is_taken=is_taken)
        self._steps_here += 1
        self._steps_since_line += 1
        if is_taken:
            self._in_a_row = 0
        else:
            self._skip(model, float(norm))
        self._step_batches.clear()
        self._step_loss = 0.0
        return norm if is_taken else None

    def _skip(self, model, norm: float) -> None:
        self._tr_loss -= self._step_loss
        model.zero_grad(set_to_none=True)  # optimisers leave weights without gradients alone
        self.figures.skipped_steps += 1
        self._skipped_here += 1
        self._skipped_since_line += 1
        scaler = self.accelerator.scaler
        losses_are_finite, rows = self._rows_of_step()
        if losses_are_finite and scaler is not None and scaler.get_scale() > 1:
            return  # `--fp16` begins with too large a scale, and halves it at each of these steps
        self._in_a_row += 1
        step = self.state.global_step + 1
        what = f"gradient norm {norm}" if losses_are_finite else "its loss is not finite"
        if self.accelerator.is_main_process:
            logger.warning(f"Step {step} was skipped ({what}). Rows: {_listed(rows)}.")
        if self._in_a_row >= STEPS_IN_A_ROW:
            check_finite(self.model, f"The model at step {step}")
            raise ValueError(
                f"{self._in_a_row} steps in a row had a loss or gradient that is not finite, up to step {step} "
                f"({what}). None of them changed the model. Rows of this step: {_listed(rows)}. Leave out rows with "
                "damaged audio or text; if there are none, lower --learning_rate, or train without --fp16."
            )

    def _rows_of_step(self) -> tuple[bool, list[str]]:
        """Whether all losses of the step are finite, and its rows: those of batches whose loss is not, if there are
        any. Of all processes."""
        batches = gather_object(self._step_batches)
        finite = all(is_finite for _, is_finite in batches)
        return finite, [name for names, is_finite in batches if finite or not is_finite for name in names]

    def log(self, logs, start_time=None):
        if "loss" in logs and self._skipped_since_line:
            taken = self._steps_since_line - self._skipped_since_line
            if taken:
                logs["loss"] *= self._steps_since_line / taken
            else:
                logs.pop("loss")
        if ("learning_rate" in logs or "train_loss" in logs) and self.figures.skipped_steps:
            logs["skipped_steps"] = self.figures.skipped_steps
        if "learning_rate" in logs:
            self._steps_since_line = self._skipped_since_line = 0
        super().log(logs, start_time)

    def _finalize_training(self, trial, num_train_samples, start_time):
        """
        Raises:
            ValueError: every step was skipped.
        """
        steps = self._steps_here
        if steps and steps == self._skipped_here:
            raise ValueError(
                f"Each of the {steps} steps of this training had a loss or gradient that is not finite, and was "
                "skipped. Nothing was learned. Look for rows with damaged audio or text; the warnings name them."
            )
        if self._skipped_here:  # `Trainer` divides by all steps
            self._tr_loss *= steps / (steps - self._skipped_here)
            self._total_loss_scalar *= steps / (steps - self._skipped_here)
        return super()._finalize_training(trial, num_train_samples, start_time)


def check_finite(model: torch.nn.Module, what: str) -> None:
    """Refuses a model whose trained weights or experts are not finite, before it is saved.

    Thresholds of gates may be infinite: such gates are always open or closed.

    Raises:
        ValueError: some are not finite; the message names one.
    """
    weights = (
        (name, weight) for name, weight in model.named_parameters() if weight.requires_grad or ".experts." in name
    )
    damaged = [name for name, weight in weights if not weight.isfinite().all()]
    damaged += [name for name, buffer in model.named_buffers() if buffer.isnan().any()]
    _refuse(damaged, what)


def check_finite_state(optimizer: torch.optim.Optimizer, what: str) -> None:
    """Refuses the state of an optimiser that is not finite, before it is saved or after it was loaded.

    Raises:
        ValueError: some of it is not finite.
    """
    damaged = {
        name
        for state in optimizer.state.values()
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not value.isfinite().all()
    }
    _refuse(sorted(damaged), what)


def _refuse(damaged: list[str], what: str) -> None:
    if damaged:
        raise ValueError(
            f"{what} is refused: {len(damaged)} of its tensors are not finite, such as {damaged[0]}. To train on, "
            "start from the last checkpoint before it, with a lower --learning_rate."
        )


def _listed(names: Iterable[str]) -> str:
    names = list(dict.fromkeys(filter(None, names)))
    more = f" and {len(names) - NAMED_ROWS} more" if len(names) > NAMED_ROWS else ""
    return ", ".join(names[:NAMED_ROWS]) + more or "of unknown id (the data has no column `id`)"
