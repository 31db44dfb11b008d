"""Checkpoints that are whole or not there, that say what is wrong with them, and each language's best experts."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import Seq2SeqTrainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints
from transformers.utils import logging

logger = logging.get_logger(__name__)

UNFINISHED = ".unfinished"  # beside the checkpoints, where one is written before it gets its name


class WholeCheckpoints(Seq2SeqTrainer):
    """A trainer whose folders `checkpoint-<step>` are complete as soon as they are there.

    Each is written aside and renamed, and older ones are deleted only then. So a run that is killed at any moment, or
    whose disk is full, has the checkpoint before.
    """

    _aside = False
    _told_size = False

    def _get_output_dir(self, trial):
        folder = super()._get_output_dir(trial)
        return str(Path(folder, UNFINISHED)) if self._aside else folder

    def _save_checkpoint(self, model, trial):
        """
        Raises:
            OSError: it could not be written; the message says which checkpoint is still there.
        """
        folder = Path(self._get_output_dir(trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        unfinished = folder / UNFINISHED / name
        if self.args.should_save:
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        push, self.args.push_to_hub, self._aside = self.args.push_to_hub, False, True
        try:
            with self._explaining(str(folder / name)):
                super()._save_checkpoint(model, trial)
                self._name_best(folder, name)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    self._save_extras(unfinished)
                    self.state.save_to_json(str(unfinished / TRAINER_STATE_NAME))
                    self._complete(unfinished, folder / name)
        finally:
            self._aside, self.args.push_to_hub = False, push
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
        """The state of every process names the best checkpoint by the name that it will have."""
        if self.state.best_global_step:
            best = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
            if best.name == name or best.is_dir():
                self.state.best_model_checkpoint = str(best)

    def _save_extras(self, folder: Path) -> None:
        """What a kind of training has to keep besides."""

    def _complete(self, unfinished: Path, final: Path) -> None:
        if not self._told_size:
            self._told_size = True
            logger.warning(f"A checkpoint of this run takes {_megabytes(unfinished)}.")
        if final.exists():  # from before the run was taken up at an earlier one
            shutil.rmtree(final)
        unfinished.rename(final)
        shutil.rmtree(unfinished.parent, ignore_errors=True)

    @contextmanager
    def _explaining(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, SafetensorError) as error:
            if isinstance(error, RuntimeError) and "write" not in str(error):  # torch.save has no kind of its own
                raise
            folder = Path(self.args.output_dir)
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
            free = shutil.disk_usage(folder).free / 1e6
            raise OSError(
                f"{what} could not be written ({error}); {free:.0f} MB are free there. Whole checkpoints: "
                f"{_checkpoints(folder)}. Make room and start the run again: it goes on from the last of these."
            ) from error

    def train(self, resume_from_checkpoint=None, **kwargs):
        if isinstance(resume_from_checkpoint, str):
            with _readable(resume_from_checkpoint):
                TrainerState.load_from_json(str(Path(resume_from_checkpoint, TRAINER_STATE_NAME)))
        return super().train(resume_from_checkpoint, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        with _readable(resume_from_checkpoint):
            self._load_weights(resume_from_checkpoint, model)

    def _load_weights(self, checkpoint, model=None):
        super()._load_from_checkpoint(checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint):
        with _readable(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_scaler(self, checkpoint):
        with _readable(checkpoint):
            super()._load_scaler(checkpoint)

    def _load_rng_state(self, checkpoint):
        with _readable(checkpoint):
            super()._load_rng_state(checkpoint)


@contextmanager
def _readable(checkpoint: str | None) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        folder = Path(checkpoint)
        raise ValueError(
            f"{checkpoint} cannot be resumed ({type(error).__name__}: {error}). If it is damaged, delete that folder: "
            f"the run then resumes an earlier one (there: {_checkpoints(folder.parent, before=folder)}). If it was "
            "made by another version or with other settings, use another folder for this run."
        ) from error


def _checkpoints(folder: Path, before: Path | None = None) -> str:
    steps = [path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-") for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")]
    ordered = sorted(int(step) for step in steps if step.isdecimal())
    names = [f"{PREFIX_CHECKPOINT_DIR}-{step}" for step in ordered]
    if before is not None and before.name in names:
        names = names[: names.index(before.name)]
    return ", ".join(names) or "none"


def _megabytes(folder: Path) -> str:
    sizes: dict[str, float] = {}
    for path in folder.iterdir():
        kind = {".safetensors": "weights", ".pt": "optimiser and schedule"}.get(path.suffix, "all else")
        sizes[kind] = sizes.get(kind, 0.0) + path.stat().st_size / 1e6
    parts = ", ".join(f"{kind} {size:.1f}" for kind, size in sorted(sizes.items(), key=lambda item: -item[1]))
    return f"{sum(sizes.values()):.1f} MB ({parts})"
