"""Which steps a run takes: it trains, scores the validation split, scores the test split, or all three."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import EvalPrediction, WhisperProcessor
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ...training.arguments import DistilWhisperTrainingArguments
from ..command_line import say
from .arguments import DataArguments, ModelArguments, evaluates_itself
from .models import load_student, load_trained
from .results import is_trained


@dataclass(frozen=True)
class Plan:
    """The steps of a run, from `--do_train`, `--do_eval` and `--do_predict`; without any of them all three.

    Attributes:
        model_args, data_args, training_args: the settings.
    """

    model_args: ModelArguments
    data_args: DataArguments
    training_args: DistilWhisperTrainingArguments

    @classmethod
    def of(
        cls, model_args: ModelArguments, data_args: DataArguments, training_args: DistilWhisperTrainingArguments
    ) -> "Plan":
        """The plan of these settings. Training arguments that the steps need are set in `training_args`."""
        if not training_args.do_train:  # else the trainer would ask for rows that are not read
            training_args.eval_strategy = IntervalStrategy.NO
            training_args.save_strategy = SaveStrategy.NO
            training_args.load_best_model_at_end = False
        if model_args.task == "translate" and training_args.metric_for_best_model == "wer":
            from ...training.translation_scores import METRIC  # here alone: the module needs an extra

            training_args.metric_for_best_model, training_args.greater_is_better = METRIC, True
        return cls(model_args, data_args, training_args)

    @property
    def is_complete(self) -> bool:
        """Whether it trains and scores the test split: then there are results of before and after."""
        return self.training_args.do_train and self.training_args.do_predict

    @property
    def is_alone(self) -> bool:
        """Whether it scores a run's folder in that folder, on whatever rows."""
        return evaluates_itself(self.model_args, self.training_args)

    @property
    def splits(self) -> list[str]:
        """The splits to read."""
        args = self.training_args
        in_training = args.do_train and args.eval_strategy != IntervalStrategy.NO
        wanted = {"train": args.do_train, "validation": args.do_eval or in_training, "test": args.do_predict}
        return [split for split, is_wanted in wanted.items() if is_wanted]

    def load_model(self):
        """The student to train. If nothing is trained, the model that the run has trained, or the student as it is."""
        folder = Path(str(self.training_args.output_dir))
        if self.training_args.do_train:
            return load_student(self.model_args, self.training_args.device)
        if is_trained(folder):
            say(f"Scored: the trained model in {folder}.")
            return load_trained(self.model_args, folder, self.training_args.device)
        say(f"Scored: {self.model_args.student} as it is. {folder} holds no trained model.")
        return load_student(self.model_args, self.training_args.device)

    def compute_metrics(self, processor: WhisperProcessor) -> Callable[[EvalPrediction], dict[str, float]] | None:
        """What scores predictions for the task; `None` for error rates, the trainer's default."""
        if self.model_args.task != "translate":
            return None
        from ...training.translation_scores import translation_scores

        return translation_scores(processor.tokenizer)
