"""The checkpoints of a training of experts, and the experts that it ends with."""

from collections.abc import Mapping
from pathlib import Path

from transformers.trainer import TRAINING_ARGS_NAME
from transformers.utils import logging

from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..runs.results import ALL_STARTS
from .best_experts import BestExperts, within_chance
from .finite_steps import check_finite
from .hub_push import HubPushes
from .kd_weight import DistillationWeight
from .log import TrainingLog
from .run_state import load_state, save_state

logger = logging.get_logger(__name__)


class ExpertCheckpoints(HubPushes):
    """A trainer whose checkpoints hold the experts but not the backbone, which does not change.

    It ends with each language's experts as they were when that language was scored best. A plain Whisper is saved and
    loaded as `Trainer` does it.

    It overrides these private methods of `Trainer`: `_save`, `_determine_best_metric`, `_load_best_model`.

    Attributes that a subclass must set:
        is_routed: whether the model has experts.
        trained_languages: the codes of the languages that are trained, if it has.
        best_experts: the best experts so far.
        figures, kd_weight: the log's counts and beta, which a checkpoint keeps too.
    """

    model: DistilWhisperForConditionalGeneration
    is_routed: bool
    trained_languages: list[str]
    best_experts: BestExperts
    figures: TrainingLog
    kd_weight: DistillationWeight

    def train(self, resume_from_checkpoint: str | bool | None = None, trial=None, ignore_keys_for_eval=None):
        if not resume_from_checkpoint and self.is_routed and self.args.should_save:
            self.best_experts.forget()
        self.figures.start_clock()
        result = super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        if self.figures.seconds is not None:
            result.metrics[ALL_STARTS] = round(self.figures.seconds, 4)
        if self.is_routed and self.args.load_best_model_at_end:
            self._load_best_model()  # `Trainer` does so only if the best step's checkpoint was saved as well
            self._warn_of_chance()
        return result

    def _warn_of_chance(self) -> None:
        if self.args.metric_for_best_model.removeprefix("eval_") != "wer" or not self.is_world_process_zero():
            return
        if sentences := within_chance(self.state.log_history, self.best_experts.scores()):
            logger.warning(
                f"{' '.join(sentences)} Such a difference may be chance. More validation rows choose better; so may "
                "--metric_for_best_model loss, which chooses by each language's loss, or --load_best_model_at_end "
                "false, which keeps the last step."
            )

    def _save(self, output_dir=None, state_dict=None):
        check_finite(self.model, "The model")
        output_dir = output_dir or self.args.output_dir
        if not self.is_routed:
            super()._save(output_dir, state_dict)
            # A pickle of the arguments, the token for the Hub among them. Nothing reads it.
            Path(output_dir, TRAINING_ARGS_NAME).unlink(missing_ok=True)
        elif self.args.should_save:
            self.model.save_pretrained(output_dir, save_backbone=False, state_dict=state_dict)
            self.processing_class.save_pretrained(output_dir)

    def _save_extras(self, folder: Path) -> None:
        save_state(folder, self.state.global_step, self.figures, self.kd_weight, self.best_experts.scores())

    def _languages_to_resume(self) -> list[str] | None:
        return list(self.model.config.experts_by_token.values()) if self.is_routed else None

    def _load_weights(self, checkpoint, model=None):
        step, best = load_state(Path(checkpoint), self.figures, self.kd_weight)
        if self.is_routed:
            self.model.reload_experts(checkpoint)
            if self.args.should_save:
                self.best_experts.resume(best, step)
        else:
            super()._load_weights(checkpoint, model)

    def _determine_best_metric(self, metrics, trial):
        """
        Raises:
            ValueError: the score by which the best checkpoint is chosen is a loss, and that of no row is finite.
        """
        if "eval_rows_not_finite" in metrics and "eval_loss" not in metrics:
            raise ValueError(
                f"At step {self.state.global_step} no row of the validation split has a finite loss. Look for damaged "
                "rows; if there are none, start from an earlier checkpoint with a lower --learning_rate."
            )
        is_best = super()._determine_best_metric(metrics, trial)
        if self.is_routed and self.args.load_best_model_at_end and self.args.should_save:
            name = f"eval_{self.args.metric_for_best_model.removeprefix('eval_')}"
            languages = self.trained_languages
            scores = {code: metrics[f"{name}_{code}"] for code in languages if f"{name}_{code}" in metrics}
            # Of all rows together where languages have no such score, or had none when this run was begun.
            if not all(_by_language(line, name) for line in (*self.state.log_history, metrics) if name in line):
                scores = dict.fromkeys(languages, metrics[name])
            with self._explain_write_errors("The best experts so far"):
                better = bool(self.args.greater_is_better)
                self.best_experts.keep(self.model, scores, self.state.global_step, more_is_better=better)
        return is_best

    def _load_best_model(self):
        if not self.is_routed:
            return super()._load_best_model()
        self.accelerator.wait_for_everyone()
        self.best_experts.load(self.model)

    def create_model_card(self, *args, **kwargs):
        """The short card of `Trainer`, if the folder has none: it may have one that says more (`card_of_run`)."""
        if not Path(self.args.output_dir, "README.md").is_file():
            super().create_model_card(*args, **kwargs)


def _by_language(scores: Mapping[str, float], name: str) -> bool:
    """Whether these scores have one of languages: `eval_wer_gl` beside `eval_wer`."""
    return any(other.startswith(f"{name}_") for other in scores)
