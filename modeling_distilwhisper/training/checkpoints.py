"""Checkpoints that are complete or absent, and errors that name the damaged one and one to resume from."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import Seq2SeqTrainer
from transformers.trainer import OPTIMIZER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint, rotate_checkpoints
from transformers.utils import logging

from ..languages_distilwhisper import keep_one_end_token
from ..workarounds import without_push
from .biases_of_before import learn_biases_of_before
from .finite_steps import check_finite, check_finite_state
from .resuming import STEP_FOLDER, check_resumable

logger = logging.get_logger(__name__)

UNFINISHED = ".unfinished"  # next to the checkpoints: the folder in which one is written before it gets its name


class CompleteCheckpoints(Seq2SeqTrainer):
    """A trainer whose folders `checkpoint-<step>` are complete as soon as they exist.

    Each one is written under another name and then renamed; only then are older ones deleted. So a run that is killed
    at any moment, or whose disk is full, still has the checkpoint before.

    It overrides these private methods of `Trainer`: `_get_output_dir`, `_save_checkpoint`, `_load_from_checkpoint`,
    `_load_optimizer_and_scheduler`, `_load_scaler`, `_load_rng_state`, `_init_training_state`. A subclass may override
    `_save_extras`, `_load_weights` and `_languages_to_resume`.
    """

    _writes_unfinished = False
    _reported_size = False

    def _get_output_dir(self, trial):
        folder = super()._get_output_dir(trial)
        return str(Path(folder, UNFINISHED)) if self._writes_unfinished else folder

    def _save_checkpoint(self, model, trial):
        """
        Raises:
            OSError: it could not be written; the message says which complete checkpoints there are.
            ValueError: weights, or the optimiser's state, are not finite.
        """
        check_finite(self.model, f"The model at step {self.state.global_step}")
        check_finite_state(self.optimizer, f"The optimiser's state at step {self.state.global_step}")
        folder = Path(self._get_output_dir(trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        unfinished = folder / UNFINISHED / name
        if self.args.should_save:
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._writes_unfinished = True
        try:
            with without_push(self.args), self._explain_write_errors(str(folder / name)):
                super()._save_checkpoint(model, trial)
                self._name_best(folder, name)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    self._save_extras(unfinished)
                    self.state.save_to_json(str(unfinished / TRAINER_STATE_NAME))
                    self._complete(unfinished, folder / name)
        finally:
            self._writes_unfinished = False
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(folder / name))
        if self.args.should_save:
            rotate_checkpoints(
                output_dir=str(folder),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )

    def _name_best(self, folder: Path, name: str) -> None:
        """In every process, the state names the best checkpoint by its final name."""
        if self.state.best_global_step:
            best = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
            if best.name == name or best.is_dir():
                self.state.best_model_checkpoint = str(best)

    def _save_extras(self, folder: Path) -> None:
        """Writes a subclass's files into a checkpoint, in addition to Transformers'."""

    def _complete(self, unfinished: Path, final: Path) -> None:
        if not self._reported_size:
            self._reported_size = True
            logger.warning(f"A checkpoint of this run takes {_size(unfinished)}.")
        if final.exists():  # left from before the run was resumed at an earlier one
            shutil.rmtree(final)
        unfinished.rename(final)
        shutil.rmtree(unfinished.parent, ignore_errors=True)

    @contextmanager
    def _explain_write_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, SafetensorError) as error:
            if isinstance(error, RuntimeError) and "write" not in str(error):  # torch.save has no exception class
                raise
            folder = Path(self.args.output_dir or ".")
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
            free = shutil.disk_usage(folder).free / 1e6
            raise OSError(
                f"{what} could not be written ({error}); {free:.0f} MB are free there. Complete checkpoints: "
                f"{_checkpoints(folder)}. Free some space and start the run again: it resumes from the last of these."
            ) from error

    def train(self, resume_from_checkpoint: str | bool | None = None, trial=None, ignore_keys_for_eval=None):
        checkpoint = resume_from_checkpoint
        if checkpoint is True:
            checkpoint = get_last_checkpoint(self.args.output_dir)
            if checkpoint is None:
                raise ValueError(f"{self.args.output_dir} holds no checkpoint to resume from.")
        if checkpoint:
            checkpoint = os.fspath(checkpoint)
            with _explain_read_errors(checkpoint):
                check_resumable(
                    Path(checkpoint),
                    processes=self.args.world_size,
                    has_scaler=self.accelerator.scaler is not None,
                    languages=self._languages_to_resume(),
                )
                learn_biases_of_before(self.model, Path(checkpoint))
        return super().train(checkpoint, trial, ignore_keys_for_eval)

    def _languages_to_resume(self) -> list[str] | None:
        """For a subclass: the codes of the experts that a checkpoint must hold; `None`: all weights of the model."""
        return None

    def _init_training_state(self, max_steps, steps_per_epoch, num_train_epochs, checkpoint, trial):
        """
        Raises:
            ValueError: the checkpoint is of a later step than the training's last one.
        """
        # Transformers before 5.18 has made a list of it by now, which would be saved.
        keep_one_end_token(self.model.generation_config)
        started = super()._init_training_state(max_steps, steps_per_epoch, num_train_epochs, checkpoint, trial)
        if self.state.global_step > max_steps:
            raise ValueError(
                f"{checkpoint} is of step {self.state.global_step}, and this training ends at step {max_steps}. Train "
                "longer (--num_train_epochs, --max_steps), or use another folder for a shorter run."
            )
        return started

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        with _explain_read_errors(resume_from_checkpoint):
            self._load_weights(resume_from_checkpoint, model)

    def _load_weights(self, checkpoint, model=None):
        """Reads the weights of a checkpoint, and the files of `_save_extras`."""
        super()._load_from_checkpoint(checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint):
        with _explain_read_errors(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
            if checkpoint is not None:
                check_finite_state(self.optimizer, f"{OPTIMIZER_NAME} of {checkpoint}")

    def _load_scaler(self, checkpoint):
        with _explain_read_errors(checkpoint):
            super()._load_scaler(checkpoint)

    def _load_rng_state(self, checkpoint):
        with _explain_read_errors(checkpoint):
            super()._load_rng_state(checkpoint)


@contextmanager
def _explain_read_errors(checkpoint: str | None) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the type depends on where the file is damaged
        if checkpoint is None:
            raise
        folder = Path(checkpoint)
        reason = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{checkpoint} cannot be resumed ({reason}). If it is damaged or incomplete, delete that folder: "
            f"the run then resumes from an earlier one (there: {_checkpoints(folder.parent, before=folder)}). If it "
            "was made by another version or with other settings, use another folder for this run."
        ) from error


def _checkpoints(folder: Path, before: Path | None = None) -> str:
    matches = filter(None, (STEP_FOLDER.fullmatch(path.name) for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")))
    names = [match[0] for match in sorted(matches, key=lambda match: int(match[1]))]
    if before is not None and before.name in names:
        names = names[: names.index(before.name)]
    return ", ".join(names) or "none"


def _size(folder: Path) -> str:
    sizes: dict[str, float] = {}
    for path in folder.iterdir():
        kind = {".safetensors": "weights", ".pt": "optimiser and schedule"}.get(path.suffix, "everything else")
        sizes[kind] = sizes.get(kind, 0.0) + path.stat().st_size / 1e6
    parts = ", ".join(f"{kind} {size:.1f}" for kind, size in sorted(sizes.items(), key=lambda item: -item[1]))
    return f"{sum(sizes.values()):.1f} MB ({parts})"
