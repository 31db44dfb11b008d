"""A `Seq2SeqTrainer` for the loss of eq. 4.8. It fine-tunes a plain Whisper as well."""

import contextlib
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    EvalPrediction,
    ProgressCallback,
    TrainerCallback,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from .. import workarounds
from ..data.augmentation import Augmentation
from ..data.collate import LOSS_WEIGHTS, SpeechCollator
from ..data.labels import IGNORED
from ..evaluation.gates import GateReport
from ..evaluation.metrics import ErrorCounts
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from .arguments import DistilWhisperTrainingArguments
from .best_experts import BestExperts
from .each_row_once import EachRowOnce
from .expert_checkpoints import ExpertCheckpoints
from .finite_steps import FiniteSteps
from .freed_memory import FreedMemory
from .gate_budget import BudgetThresholds, budget_loss
from .kd_weight import DistillationWeight
from .log import TrainingLog
from .losses import DIVERGENCES, cross_entropy
from .prediction_scores import count_prediction_errors
from .progress import ProgressBars
from .row_names import NamedRows
from .sampling import LanguageSampler, has_weights
from .teacher import Teacher, TeacherFeatures

if TYPE_CHECKING:
    from datasets import Dataset

    from .teacher_cache import TeacherCache


class DistilWhisperTrainer(FiniteSteps, EachRowOnce, ExpertCheckpoints):
    """Trains the experts of the languages in the data, and nothing else.

    In addition to the private methods of `Trainer` that the classes it is made of override, it overrides
    `_get_train_sampler` and `_run_epoch`.

    Args:
        model: a `DistilWhisperForConditionalGeneration`, or a plain Whisper, which is then fine-tuned in full.
        args: the training arguments.
        teacher: the larger Whisper to learn from, as `load_teacher` returns it; a cache of its predictions; a plain
            model with the student's vocabulary and features; or `None` for cross-entropy alone (CLSR fine-tuning).
        train_dataset, eval_dataset: rows with `audio`, `text` and `language`, as the readers make them. A row whose
            `loss_weight` is 0.5 counts half in cross-entropy and distillation; one with 0 teaches nothing.
        processing_class: the model's processor, to read and to save. Required.
        data_collator: makes the batches. Default: a `SpeechCollator` with the processor.
        compute_metrics: scores of predictions. Default: WER and CER of all rows and of each language.
        callbacks, optimizers, preprocess_logits_for_metrics: as for `Seq2SeqTrainer`.

    Raises:
        ValueError: the processor is missing, a language in the data has no expert, or the teacher or its cache does
            not fit the student.

    Example:
        >>> import tempfile
        >>> from transformers import WhisperProcessor
        >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration, DistilWhisperTrainer
        >>> from modeling_distilwhisper import DistilWhisperTrainingArguments, read_folder
        >>> student = "examples/quickstart/student"
        >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=["ca"], dtype="float32")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     args = DistilWhisperTrainingArguments(
        ...         folder, max_steps=1, per_device_train_batch_size=2, eval_strategy="no", save_strategy="no",
        ...         load_best_model_at_end=False, report_to="none", disable_tqdm=False,
        ...     )
        ...     rows = read_folder("examples/quickstart/in_domain/ca", "train").select(range(2))
        ...     processor = WhisperProcessor.from_pretrained(student)
        ...     trainer = DistilWhisperTrainer(model, args, train_dataset=rows, processing_class=processor)
        ...     result = trainer.train()
        >>> result.global_step, trainer.trained_languages
        (1, ['ca'])
    """

    args: DistilWhisperTrainingArguments
    train_dataset: Any
    processing_class: WhisperProcessor

    def __init__(
        self,
        model: DistilWhisperForConditionalGeneration | WhisperForConditionalGeneration,
        args: DistilWhisperTrainingArguments,
        *,
        teacher: "Teacher | TeacherCache | WhisperForConditionalGeneration | None" = None,
        train_dataset: "Dataset | torch.utils.data.Dataset | None" = None,
        eval_dataset: "Dataset | dict[str, Dataset] | None" = None,
        processing_class: WhisperProcessor | None = None,
        data_collator: Callable[[list[dict]], dict[str, torch.Tensor]] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        preprocess_logits_for_metrics: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    ):
        if processing_class is None:
            raise ValueError("`processing_class` is missing: give the model's WhisperProcessor, to read and to save.")
        self.is_routed = isinstance(model, DistilWhisperForConditionalGeneration)
        workarounds.keep_gradients_through_4_bit_weights(model)
        with workarounds.quantised_backbone_is_trainable(model) if self.is_routed else contextlib.nullcontext():
            super().__init__(
                model,
                args,
                data_collator=data_collator or SpeechCollator(processing_class),
                train_dataset=train_dataset,
                eval_dataset=eval_dataset,
                processing_class=processing_class,
                compute_metrics=compute_metrics or self._score,
                callbacks=callbacks,
                optimizers=optimizers,
                preprocess_logits_for_metrics=preprocess_logits_for_metrics,
            )
        self._refuse_other_kinds_of_parallelism()
        if self.pop_callback(ProgressCallback):
            self.add_callback(ProgressBars)
        if args.device.type == "cpu":
            self.add_callback(FreedMemory)
        # Every part of the loss is divided by the tokens of the complete batch, over accumulation steps and processes.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True
        self.accelerator.gradient_accumulation_steps = 1  # Transformers 5.4 and 5.5 would divide by them once more
        self.teacher = self._prepared(teacher)
        if self.is_routed:
            self._train_only_present_languages()
            self._thresholds = BudgetThresholds(self.model, args.gate_momentum)
        self.augmentation = Augmentation(args.augment, args.seed) if args.augment else None
        self.best_experts = BestExperts(Path(str(args.output_dir), "best"))
        self.kd_weight = DistillationWeight(args.kd_beta_schedule, args.kd_beta, args.kd_beta_end, args.kd_beta_max)
        self.figures = TrainingLog(self.accelerator)
        self._kd_losses: list[torch.Tensor] = []  # of this step's batches

    def _refuse_other_kinds_of_parallelism(self) -> None:
        if self.args.n_gpu > 1:
            raise ValueError(
                f"One process would use {self.args.n_gpu} GPUs. Start one per GPU: `torchrun --nproc_per_node=...`."
            )
        if self.is_fsdp_enabled and self.is_routed:
            # Its layers can be sharded, but where processes have batches of different languages, one language's
            # gradients would be added to another's, and the files of experts need complete tensors.
            raise ValueError("Experts are not trained under FSDP. Start the processes without it: `torchrun` is DDP.")

    def _prepared(self, teacher) -> "Teacher | TeacherCache | None":
        """The teacher, prepared for this student."""
        if teacher is None:
            return None
        if isinstance(teacher, torch.nn.Module):
            teacher = Teacher(teacher)
        if isinstance(teacher, Teacher):
            return teacher.prepare(self.model.config, self.processing_class, self.args.device)
        temperature, device = self.args.kd_temperature, self.args.device
        return teacher.prepare(self.train_dataset, self.model.config, self.processing_class, temperature, device)

    def _train_only_present_languages(self) -> None:
        self.model.freeze_backbone()
        languages = list(self.model.config.experts_by_token.values())
        self.trained_languages = languages
        if "language" not in (getattr(self.train_dataset, "column_names", None) or ()):
            return  # No column to check. Each batch is checked instead.
        present = sorted(set(self.train_dataset["language"]))
        without = [language for language in present if language not in languages]
        if without:
            raise ValueError(
                f"The training data has rows in {without}, and the model has experts for "
                f"{languages or 'no language'}. Make experts (`add_language`) or drop those rows."
            )
        for language in languages:
            for module in self.model.modules_of(language).by_prefix(language).values():
                if language not in present:
                    module.requires_grad_(False)
        self.trained_languages = present

    def get_train_dataloader(self):
        """The data loader of Transformers, whose batches also hold the teacher's inputs and the rows' names."""
        collator = self.data_collator
        extra = None if self.teacher is None else self.teacher.batch_extra
        if self.augmentation is not None and isinstance(self.teacher, Teacher) and extra is None:
            extra = TeacherFeatures(self.processing_class.feature_extractor)  # of the recording as it is
        changes = {"extra": extra, "augment": self.augmentation, "weigh": has_weights(self.train_dataset) or None}
        needed = {name: value for name, value in changes.items() if value is not None}
        if not needed:
            self.data_collator = NamedRows(collator)
        elif isinstance(collator, SpeechCollator):
            self.data_collator = NamedRows(dataclasses.replace(collator, **needed))
        else:
            raise ValueError(
                "This training needs a data_collator that makes features (--augment), weights of rows (loss_weight) or "
                "other inputs of its teacher: "
                f"expected a SpeechCollator, got a {type(collator).__name__}."
            )
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = collator

    def _get_train_sampler(self, train_dataset=None):
        rows = self.train_dataset if train_dataset is None else train_dataset
        if self.args.language_temperature == 1:
            return super()._get_train_sampler(train_dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return LanguageSampler(rows["language"], self.args.language_temperature, seed)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """`CE + Lg + beta KD` (eq. 4.8). Each part is logged."""
        labels, config = inputs["labels"], self.model.config
        decoder_input_ids = inputs.get("decoder_input_ids")
        if decoder_input_ids is None:
            decoder_input_ids = shift_tokens_right(labels, config.pad_token_id, config.decoder_start_token_id)
        routing = {}
        if self.is_routed:
            self.model.require_experts(decoder_input_ids)
            routing = {"output_gates": True, "gate_noise": self.gate_noise}
        outputs = model(  # without labels: the model would compute a cross-entropy that nobody uses
            input_features=inputs["input_features"],
            attention_mask=inputs.get("attention_mask"),
            decoder_input_ids=decoder_input_ids,
            use_cache=False,
            **routing,
        )
        if self.is_routed:  # the output layer has no score for a language token that is not in the vocabulary
            labels = self.model.without_own_tokens(labels)
        counted = {"num_items": num_items_in_batch, "weights": inputs.get(LOSS_WEIGHTS)}
        smoothing = self.args.label_smoothing_factor
        parts = {"ce_loss": cross_entropy(outputs.logits, labels, label_smoothing=smoothing, **counted)}
        if self.teacher is not None:
            with self.accelerator.autocast():
                expected = self.teacher.targets(inputs, decoder_input_ids)
            divergence, temperature = DIVERGENCES[self.args.kd_divergence], self.args.kd_temperature
            parts["kd_loss"] = divergence(outputs.logits, expected, labels, temperature=temperature, **counted)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            # The tokens were counted over all processes, whose gradients are averaged, not added.
            parts = {name: part * self.accelerator.num_processes for name, part in parts.items()}
        if self.is_routed:
            parts["gate_loss"] = self._gate_loss(outputs, inputs, is_training=model.training)
        logged = {name: part.detach() * self.current_gradient_accumulation_steps for name, part in parts.items()}
        self.figures.note(**logged)
        beta = 0.0
        if self.teacher is not None:
            beta = self.kd_weight.at(self.share_done)
            self.figures.note(kd_beta=beta)
            self._kd_losses.append(logged["kd_loss"])
        loss = sum(beta * part if name == "kd_loss" else part for name, part in parts.items())
        return (loss, outputs) if return_outputs else loss

    def _gate_loss(self, outputs, inputs, *, is_training: bool) -> torch.Tensor:
        """The gate budget loss. It also notes expert usage and, in training, quantiles for the thresholds."""
        report = GateReport.of(outputs, inputs.get("attention_mask"), inputs["labels"])
        if is_training:
            self._thresholds.note(report)
        self.figures.note_gates(report, self.model.config, inputs["labels"][:, 0].tolist())
        if self.model.config.gate_training == "soft":
            self.figures.note(gate_noise=self.gate_noise)
        # A batch of padding rows alone has no gates that count: it is not among the step's batches.
        has_rows = (inputs["labels"] != IGNORED).any()
        return budget_loss(report, self.model.config) * has_rows / self._batches_of_step

    @property
    def share_done(self) -> float:
        """The share of the training's steps that are done, from 0 to 1."""
        return min(self.state.global_step / self.state.max_steps, 1.0) if self.state.max_steps else 0.0

    @property
    def gate_noise(self) -> float:
        """alpha(t): from 0 to `gate_noise_max`, linearly over the steps of training (eq. 4.2)."""
        return self.model.config.gate_noise_max * self.share_done

    def _end_step(self, *, is_taken: bool) -> None:
        """Updates a learned beta, the thresholds and the log, once per step, by the batches of all processes."""
        if is_taken and self._kd_losses and self.kd_weight.schedule == "learned":
            self.kd_weight.learn(float(self.accelerator.reduce(torch.stack(self._kd_losses).mean(), "mean")))
        self._kd_losses.clear()
        if self.is_routed:
            self._thresholds.end_step(is_taken=is_taken)
        self.figures.end_step(self.model.config.experts_by_token if self.is_routed else {}, is_taken=is_taken)

    def create_scheduler(self, num_training_steps, optimizer=None):
        if not self.args.warmup_steps and self.lr_scheduler is None:
            rows_per_step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
            rows = len(self.train_dataset) if hasattr(self.train_dataset, "__len__") else 0
            steps = math.ceil(self.args.warmup_epochs * rows / rows_per_step)
            self.args.warmup_steps = min(steps, num_training_steps)
        return super().create_scheduler(num_training_steps, optimizer)

    def log(self, logs, start_time=None):
        if "loss" in logs:
            logs |= self.figures.line(self.model.config.languages if self.is_routed else [])
        super().log(logs, start_time)

    def train(self, resume_from_checkpoint: str | bool | None = None, trial=None, ignore_keys_for_eval=None):
        """Trains, from the start or from a checkpoint; arguments and result as of `Trainer.train`.

        Raises:
            ValueError: the checkpoint cannot be resumed, or several steps in a row were not finite.
        """
        self.release()
        return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)

    def _run_epoch(self, model, epoch, train_dataloader, *args, **kwargs):
        workarounds.set_epoch_of_samplers(train_dataloader, epoch)
        if self.augmentation is not None:
            self.augmentation.start_epoch(epoch)
        return super()._run_epoch(model, epoch, train_dataloader, *args, **kwargs)

    def release(self) -> None:
        """Undoes the changes that scoring made to the model, and frees memory. It can then be trained, or teach."""
        workarounds.undo_preparation(self.model)
        self.accelerator.free_memory()

    def count_errors(self, predictions) -> ErrorCounts:
        """The error counts of each row of an output of `predict`."""
        return count_prediction_errors(predictions, self.processing_class.tokenizer, self.args.normalizer).counts

    def _score(self, predictions: EvalPrediction) -> dict[str, float]:
        """WER and CER of all rows and of each language."""
        return count_prediction_errors(predictions, self.processing_class.tokenizer, self.args.normalizer).scores()
