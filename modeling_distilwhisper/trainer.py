"""A `Seq2SeqTrainer` for the loss of eq. 4.8. With a plain Whisper in place of a routed one it fine-tunes that."""

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from transformers import ProgressCallback, Seq2SeqTrainer, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import shift_tokens_right
from transformers.utils import logging

from .gates import GateReport, budget_quantiles, move_thresholds, open_shares
from .losses import DIVERGENCES, IGNORED, cross_entropy, gate_budget_loss
from .metrics import count_errors
from .modeling_distilwhisper import DistilWhisperForConditionalGeneration
from .progress import ProgressBars
from .training_args import DistilWhisperTrainingArguments

logger = logging.get_logger(__name__)


class DistilWhisperTrainer(Seq2SeqTrainer):
    """Trains the experts of the languages in the data, and nothing else.

    Args:
        model: a `DistilWhisperForConditionalGeneration`, or a plain Whisper, which is then fine-tuned in full.
        teacher: the larger Whisper to learn from, or `None` for cross-entropy alone (CLSR fine-tuning).
        kwargs: as for `Seq2SeqTrainer`; `processing_class` is the model's `WhisperProcessor`.

    Raises:
        ValueError: a language in the data has no expert, or the teacher has another vocabulary or other features.
    """

    args: DistilWhisperTrainingArguments

    def __init__(self, model, args, *, teacher: WhisperForConditionalGeneration | None = None, **kwargs):
        if kwargs.get("processing_class") is None:
            raise ValueError("`processing_class` is missing: give the model's WhisperProcessor, to read and to save.")
        kwargs.setdefault("compute_metrics", self._score)
        super().__init__(model, args, **kwargs)
        if self.args.n_gpu > 1:
            raise ValueError(
                f"One process would drive {self.args.n_gpu} GPUs. Start one a GPU: `torchrun --nproc_per_node=...`."
            )
        if self.pop_callback(ProgressCallback):
            self.add_callback(ProgressBars)
        self.is_routed = isinstance(model, DistilWhisperForConditionalGeneration)
        # Every loss part is divided by the tokens of the whole batch, over accumulation steps and processes.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True
        self.teacher = None
        if teacher is not None:
            _check_teacher(model, teacher)
            self.teacher = teacher.requires_grad_(False).eval().to(self.args.device)
        if self.is_routed:
            self._train_only_present_languages()
        self._logged: dict[str, list[float]] = defaultdict(list)
        self._quantiles: list[torch.Tensor] = []

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """`CE + Lg + beta KD` (eq. 4.8), each part in the log."""
        labels = inputs["labels"]
        # Not as labels: student and teacher would each compute a cross-entropy that nobody uses.
        prompted = {name: value for name, value in inputs.items() if name != "labels"}
        config = self.model.config
        prompted["decoder_input_ids"] = shift_tokens_right(labels, config.pad_token_id, config.decoder_start_token_id)
        routing = {}
        if self.is_routed:
            self.model.require_experts(prompted["decoder_input_ids"])
            routing = {"output_gates": True, "gate_noise": self.gate_noise}
        outputs = model(**prompted, **routing, use_cache=False)
        smoothing = self.args.label_smoothing_factor
        parts = {
            "ce_loss": cross_entropy(outputs.logits, labels, label_smoothing=smoothing, num_items=num_items_in_batch)
        }
        if self.teacher is not None:
            parts["kd_loss"] = self._kd_loss(outputs.logits, prompted, labels, num_items_in_batch)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            # The tokens were counted over all processes, whose gradients are averaged, not added.
            parts = {name: part * self.accelerator.num_processes for name, part in parts.items()}
        if self.is_routed:
            parts["gate_loss"] = self._gate_loss(outputs, inputs, follow=model.training)
        for name, part in parts.items():
            self._logged[name].append(float(part.detach()) * self.current_gradient_accumulation_steps)
        weights = {"kd_loss": self.args.kd_beta}
        loss = sum(weights.get(name, 1.0) * part for name, part in parts.items())
        return (loss, outputs) if return_outputs else loss

    @torch.no_grad()
    def _teacher_logits(self, prompted: dict[str, torch.Tensor]) -> torch.Tensor:
        features = prompted["input_features"].to(self.teacher.dtype)
        with self.accelerator.autocast():
            return self.teacher(**{**prompted, "input_features": features}, use_cache=False).logits

    def _kd_loss(self, student_logits, prompted, labels, num_items) -> torch.Tensor:
        divergence, temperature = DIVERGENCES[self.args.kd_divergence], self.args.kd_temperature
        teacher_logits = self._teacher_logits(prompted)
        return divergence(student_logits, teacher_logits, labels, temperature=temperature, num_items=num_items)

    def _gate_loss(self, outputs, inputs, *, follow: bool) -> torch.Tensor:
        """The budget loss; notes how open the gates were and, if `follow`, where their thresholds should go."""
        report = GateReport.of(outputs, inputs.get("attention_mask"), inputs["labels"])
        if follow:
            self._quantiles.append(budget_quantiles(self.model, report))
        shares = open_shares(report.gates, report.counts())
        for side in ("encoder", "decoder"):
            self._logged[f"{side}_openness"].append(shares[side])
        loss = gate_budget_loss(*report.layers(), self.model.config.gate_budget)
        return loss / self.current_gradient_accumulation_steps

    @property
    def gate_noise(self) -> float:
        """alpha(t): from 0 to `gate_noise_max`, linearly over the steps of training (eq. 4.2)."""
        done = self.state.global_step / self.state.max_steps if self.state.max_steps else 0.0
        return self.model.config.gate_noise_max * min(done, 1.0)

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self._quantiles and self.accelerator.sync_gradients:
            if self.model.config.gate_training == "hard":
                move_thresholds(self.model, self._quantiles, self.args.gate_momentum)
            self._quantiles.clear()
        return loss

    def create_scheduler(self, num_training_steps, optimizer=None):
        if not self.args.warmup_steps and self.lr_scheduler is None:
            rows_a_step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
            rows = len(self.train_dataset) if hasattr(self.train_dataset, "__len__") else 0
            steps = math.ceil(self.args.warmup_epochs * rows / rows_a_step)
            self.args.warmup_steps = min(steps, num_training_steps)
        return super().create_scheduler(num_training_steps, optimizer)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None, **gen_kwargs):
        """Loss, transcripts and labels of a batch; each row is transcribed in the language that its labels name."""
        inputs = self._prepare_inputs(inputs)
        inputs["input_features"] = inputs["input_features"].to(self.model.dtype)  # a teacher may be in half precision
        labels = inputs["labels"]
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**inputs, use_cache=False)
            loss = cross_entropy(outputs.logits, labels, label_smoothing=self.args.label_smoothing_factor)
        if prediction_loss_only or not self.args.predict_with_generate:
            return loss, None, None
        settings = getattr(self, "_gen_kwargs", {}) | gen_kwargs
        transcripts = self.model.generate(
            inputs["input_features"],
            attention_mask=inputs.get("attention_mask"),
            language=self.processing_class.tokenizer.convert_ids_to_tokens(labels[:, 0].tolist()),
            task=getattr(self.data_collator, "task", "transcribe"),
            **{name: value for name, value in settings.items() if value is not None},
        )
        return loss, transcripts, labels

    def log(self, logs, start_time=None):
        if "loss" in logs:
            means = {name: sum(values) / len(values) for name, values in self._logged.items()}
            if means:
                values = torch.tensor(list(means.values())).to(self.args.device)
                logs |= dict(zip(means, self.accelerator.reduce(values, "mean").tolist(), strict=True))
            self._logged.clear()
        super().log(logs, start_time)

    def _save(self, output_dir=None, state_dict=None):
        """A checkpoint holds the experts, not the backbone, which does not change."""
        if not self.is_routed:
            return super()._save(output_dir, state_dict)
        if self.args.should_save:
            output_dir = output_dir or self.args.output_dir
            self.model.save_pretrained(output_dir, save_backbone=False)
            self.processing_class.save_pretrained(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if not self.is_routed:
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.model.reload_experts(resume_from_checkpoint)

    def _load_best_model(self):
        if not self.is_routed:
            return super()._load_best_model()
        best = Path(self.state.best_model_checkpoint)
        if not best.is_dir():  # the folder of the run was moved
            best = Path(self.args.output_dir, best.name)
        if best.is_dir():
            self.model.reload_experts(best)
        else:
            logger.warning(f"The best checkpoint, {best}, is gone: the experts stay as the last step left them.")

    def _train_only_present_languages(self) -> None:
        self.model.freeze_backbone()
        if "language" not in (getattr(self.train_dataset, "column_names", None) or ()):
            return  # nothing to train on, or a data set of the user's own: each batch is checked
        present = sorted(set(self.train_dataset["language"]))
        without = [language for language in present if language not in self.model.config.languages]
        if without:
            raise ValueError(
                f"The training data has rows in {without}, and the model has experts for "
                f"{self.model.config.languages or 'no language'}. Make experts (`add_language`) or drop those rows."
            )
        for layer in self.model.routed_layers().values():
            for language, expert in layer.experts.items():
                expert.requires_grad_(language in present)

    def _score(self, predictions) -> dict[str, float]:
        """WER and CER of all rows and, where there are several languages, of each."""
        tokenizer = self.processing_class.tokenizer
        transcripts, labels = (
            [[token for token in row if token != IGNORED] for row in rows.tolist()]
            for rows in (predictions.predictions, predictions.label_ids)
        )
        hypotheses, references = (
            tokenizer.batch_decode(rows, skip_special_tokens=True) for rows in (transcripts, labels)
        )
        languages = [tokenizer.convert_ids_to_tokens(row[0]).strip("<|>") for row in labels]
        counts = count_errors(references, hypotheses, self.args.normalizer, languages)
        groups = {"": slice(None)}
        groups |= {f"_{language}": np.array(languages) == language for language in dict.fromkeys(languages)}
        scores = {}
        for suffix, own in groups.items():
            rates = counts[own].rates()
            scores |= {f"{name}{suffix}": rates[name] for name in ("wer", "cer", "words", "utterances")}
        return scores


def _check_teacher(student, teacher) -> None:
    for name in ("vocab_size", "num_mel_bins", "max_source_positions"):
        ours, theirs = getattr(student.config, name), getattr(teacher.config, name)
        if ours != theirs:
            raise ValueError(
                f"The teacher has {name} {theirs}, the student {ours}. Expected a teacher of the same vocabulary and "
                "features, such as whisper-large-v2 for a small, base or tiny student."
            )
