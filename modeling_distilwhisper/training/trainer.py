"""A `Seq2SeqTrainer` for the loss of eq. 4.8. With a plain Whisper in place of a routed one it fine-tunes that."""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from transformers import ProgressCallback, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from ..data.collate import SpeechCollator
from ..data.labels import IGNORED
from ..evaluation.gates import GateReport, usage_shares
from ..evaluation.metrics import ErrorCounts, count_errors
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..runs.files import write_whole
from .arguments import DistilWhisperTrainingArguments
from .best_experts import BestExperts
from .checkpoints import WholeCheckpoints
from .gate_budget import budget_loss, budget_quantiles, move_thresholds
from .kd_weight import DistillationWeight
from .log import TrainingLog
from .losses import DIVERGENCES, cross_entropy
from .progress import ProgressBars
from .sampling import LanguageSampler
from .teacher import Teacher
from .teacher_cache import TeacherCache

PROGRESS = "distilwhisper_state.json"  # in a checkpoint: what Transformers' own state has no place for


@contextmanager
def _known_to_be_adapted(model) -> Iterator[None]:
    """Experts are to a quantised backbone what adapters are, without which Transformers refuses to train one."""
    adapted = isinstance(model, DistilWhisperForConditionalGeneration) and getattr(model, "is_quantized", False)
    if adapted:
        model._hf_peft_config_loaded = True
    try:
        yield
    finally:
        if adapted:
            model._hf_peft_config_loaded = False  # saving would look for adapters of PEFT's


class DistilWhisperTrainer(WholeCheckpoints):
    """Trains the experts of the languages in the data, and nothing else.

    Args:
        model: a `DistilWhisperForConditionalGeneration`, or a plain Whisper, which is then fine-tuned in full.
        teacher: the larger Whisper to learn from, as `load_teacher` gives it; a cache of what it expects; a plain model
            with the student's vocabulary and features; or `None` for cross-entropy alone (CLSR fine-tuning).
        kwargs: as for `Seq2SeqTrainer`; `processing_class` is the model's `WhisperProcessor`.

    Raises:
        ValueError: a language in the data has no expert, or the teacher or its cache does not fit.
    """

    args: DistilWhisperTrainingArguments

    def __init__(
        self,
        model,
        args,
        *,
        teacher: Teacher | TeacherCache | WhisperForConditionalGeneration | None = None,
        **kwargs,
    ):
        if kwargs.get("processing_class") is None:
            raise ValueError("`processing_class` is missing: give the model's WhisperProcessor, to read and to save.")
        kwargs.setdefault("compute_metrics", self._score)
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                # On such CPUs bitsandbytes packs 4-bit weights for inference, with coarser scales, and no gradient
                # passes those: scoring between epochs would end the training of all that is below.
                module.support_avx512bf16_for_cpu = False
        with _known_to_be_adapted(model):
            super().__init__(model, args, **kwargs)
        if self.args.n_gpu > 1:
            raise ValueError(
                f"One process would drive {self.args.n_gpu} GPUs. Start one a GPU: `torchrun --nproc_per_node=...`."
            )
        if self.is_fsdp_enabled and isinstance(model, DistilWhisperForConditionalGeneration):
            # Its layers can be sharded, but where processes have batches of different languages, one language's
            # gradients would be added to another's, and the files of experts need whole tensors.
            raise ValueError("Experts are not trained under FSDP. Start the processes without it: `torchrun` is DDP.")
        if self.pop_callback(ProgressCallback):
            self.add_callback(ProgressBars)
        self.is_routed = isinstance(model, DistilWhisperForConditionalGeneration)
        # Every loss part is divided by the tokens of the whole batch, over accumulation steps and processes.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True
        self.teacher = self._fitting(teacher)
        if self.is_routed:
            self._train_only_present_languages()
        self.best_experts = BestExperts(Path(self.args.output_dir, "best"))
        args = self.args
        self.kd_weight = DistillationWeight(args.kd_beta_schedule, args.kd_beta, args.kd_beta_end, args.kd_beta_max)
        self.figures = TrainingLog(self.accelerator)
        self._quantiles: list[torch.Tensor] = []
        self._kd_losses: list[torch.Tensor] = []

    def _fitting(self, teacher) -> Teacher | TeacherCache | None:
        if isinstance(teacher, TeacherCache):
            temperature, device = self.args.kd_temperature, self.args.device
            return teacher.prepare(self.train_dataset, self.model.config, self.processing_class, temperature, device)
        if teacher is None:
            return None
        teacher = teacher if isinstance(teacher, Teacher) else Teacher(teacher)
        return teacher.prepare(self.model.config, self.processing_class, self.args.device)

    def get_train_dataloader(self):
        """Transformers' own, over batches that hold what the teacher needs as well."""
        extra = None if self.teacher is None else self.teacher.in_batches
        if extra is None:
            return super().get_train_dataloader()
        collator = self.data_collator
        if not isinstance(collator, SpeechCollator):
            raise ValueError(
                f"This teacher needs its own inputs in each batch. Expected a SpeechCollator, which adds them, as "
                f"data_collator, got a {type(collator).__name__}."
            )
        self.data_collator = dataclasses.replace(collator, extra=extra)
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
        """`CE + Lg + beta KD` (eq. 4.8), each part in the log."""
        labels, config = inputs["labels"], self.model.config
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
        smoothing = self.args.label_smoothing_factor
        parts = {
            "ce_loss": cross_entropy(outputs.logits, labels, label_smoothing=smoothing, num_items=num_items_in_batch)
        }
        if self.teacher is not None:
            with self.accelerator.autocast():
                expected = self.teacher.targets(inputs, decoder_input_ids)
            divergence, temperature = DIVERGENCES[self.args.kd_divergence], self.args.kd_temperature
            parts["kd_loss"] = divergence(
                outputs.logits, expected, labels, temperature=temperature, num_items=num_items_in_batch
            )
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            # The tokens were counted over all processes, whose gradients are averaged, not added.
            parts = {name: part * self.accelerator.num_processes for name, part in parts.items()}
        if self.is_routed:
            parts["gate_loss"] = self._gate_loss(outputs, inputs, follow=model.training)
        whole = {name: part.detach() * self.current_gradient_accumulation_steps for name, part in parts.items()}
        self.figures.note(**whole)
        beta = 0.0
        if self.teacher is not None:
            beta = self.kd_weight.at(self.share_done)
            self.figures.note(kd_beta=beta)
            self._kd_losses.append(whole["kd_loss"])
        loss = sum(beta * part if name == "kd_loss" else part for name, part in parts.items())
        return (loss, outputs) if return_outputs else loss

    def _gate_loss(self, outputs, inputs, *, follow: bool) -> torch.Tensor:
        """The budget loss; notes how open the gates were and, if `follow`, where their thresholds should go."""
        config, labels = self.model.config, inputs["labels"]
        report = GateReport.of(outputs, inputs.get("attention_mask"), labels)
        if follow:
            self._quantiles.append(budget_quantiles(self.model, report))
        shares = usage_shares(report.gates, report.counts())
        self.figures.note(encoder_expert_usage=shares["encoder"], decoder_expert_usage=shares["decoder"])
        if config.gate_training == "soft":
            self.figures.note(gate_noise=self.gate_noise)
        experts, tokens = config.experts_by_token, labels[:, 0].tolist()
        self.figures.note_languages(tokens, report.counts_by_language(experts))
        return budget_loss(report, config) / self.current_gradient_accumulation_steps

    @property
    def share_done(self) -> float:
        """How much of the training is over, from 0 to 1."""
        return min(self.state.global_step / self.state.max_steps, 1.0) if self.state.max_steps else 0.0

    @property
    def gate_noise(self) -> float:
        """alpha(t): from 0 to `gate_noise_max`, linearly over the steps of training (eq. 4.2)."""
        return self.model.config.gate_noise_max * self.share_done

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            self._end_step()
        return loss

    def _end_step(self) -> None:
        """What is decided once a step, from the batches of all processes."""
        if self._quantiles and self.model.config.gate_training == "hard":
            move_thresholds(self.model, self._quantiles, self.args.gate_momentum)
        self._quantiles.clear()
        if self._kd_losses and self.kd_weight.schedule == "learned":
            self.kd_weight.learn(float(self.accelerator.reduce(torch.stack(self._kd_losses).mean(), "mean")))
        self._kd_losses.clear()
        if self.is_routed:
            self.figures.end_step(self.model.config.experts_by_token)

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
            logs |= self.figures.line(self.model.config.languages if self.is_routed else [])
        super().log(logs, start_time)

    def _save(self, output_dir=None, state_dict=None):
        """A checkpoint holds the experts, not the backbone, which does not change."""
        if not self.is_routed:
            return super()._save(output_dir, state_dict)
        if self.args.should_save:
            output_dir = output_dir or self.args.output_dir
            self.model.save_pretrained(output_dir, save_backbone=False, state_dict=state_dict)
            self.processing_class.save_pretrained(output_dir)

    def _save_extras(self, folder: Path) -> None:
        state = {
            "step": self.state.global_step,
            "utterances": self.figures.utterances,
            "steps": self.figures.steps,
            "kd_beta": self.kd_weight.learned,
            "best": self.best_experts.scores(),
        }
        write_whole(folder / PROGRESS, json.dumps(state) + "\n")

    def _load_weights(self, checkpoint, model=None):
        state = json.loads(Path(checkpoint, PROGRESS).read_text(encoding="utf-8"))
        self.figures.utterances, self.figures.steps = Counter(state["utterances"]), Counter(state["steps"])
        self.kd_weight.learned = state["kd_beta"]
        if self.is_routed:
            self.model.reload_experts(checkpoint)
            if self.args.should_save:
                self.best_experts.go_on(state["best"], state["step"])
        else:
            super()._load_weights(checkpoint, model)

    def create_model_card(self, *args, **kwargs):
        """Transformers' short one where the folder has none: there may be one that tells more (`card_of_run`)."""
        if not Path(self.args.output_dir, "README.md").is_file():
            super().create_model_card(*args, **kwargs)

    def train(self, resume_from_checkpoint=None, **kwargs):
        self.release()
        if not resume_from_checkpoint and self.is_routed and self.args.should_save:
            self.best_experts.forget()
        result = super().train(resume_from_checkpoint, **kwargs)
        if self.is_routed and self.args.load_best_model_at_end:
            self._load_best_model()  # Transformers does only where the best step's checkpoint was saved as well
        return result

    def release(self) -> None:
        """Undoes what scoring did to the model: marked as prepared and wrapped for mixed precision, it would be trained
        without the other processes, and a teacher would teach in another precision.
        """
        own = vars(self.model)
        own.pop("_is_accelerate_prepared", None)
        if own.pop("_original_forward", None) is not None:
            # accelerate's own unwrapping goes on below what it wrapped, through Transformers' decorators.
            own.pop("forward", None)
        self.accelerator.free_memory()

    def _run_epoch(self, model, epoch, train_dataloader, *args, **kwargs):
        # Transformers tells the samplers itself, but not those under all that wraps them where several processes go on
        # within an epoch: they would draw the first epoch's rows.
        layer = train_dataloader
        while layer is not None:
            if hasattr(layer, "set_epoch"):
                layer.set_epoch(epoch)
            layer = getattr(layer, "batch_sampler", None) or getattr(layer, "sampler", None)
        return super()._run_epoch(model, epoch, train_dataloader, *args, **kwargs)

    def _determine_best_metric(self, metrics, trial):
        is_best = super()._determine_best_metric(metrics, trial)
        if self.is_routed and self.args.load_best_model_at_end and self.args.should_save:
            whole = f"eval_{self.args.metric_for_best_model.removeprefix('eval_')}"
            languages = self.trained_languages
            found = {code: metrics[f"{whole}_{code}"] for code in languages if f"{whole}_{code}" in metrics}
            if not found:  # a score, such as the loss, that there is for all rows together only
                found = dict.fromkeys(languages, metrics[whole])
            with self._explaining("The best experts so far"):
                better = self.args.greater_is_better
                self.best_experts.keep(self.model, found, self.state.global_step, more_is_better=better)
        return is_best

    def _load_best_model(self):
        """Each language's experts as they were when that language was scored best."""
        if not self.is_routed:
            return super()._load_best_model()
        self.accelerator.wait_for_everyone()
        self.best_experts.load(self.model)

    def _train_only_present_languages(self) -> None:
        self.model.freeze_backbone()
        self.trained_languages = list(self.model.config.languages)
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
        self.trained_languages = present

    def count_errors(self, predictions) -> tuple[ErrorCounts, list[str]]:
        """What was counted in each row of an output of `predict`, and each row's language.

        Args:
            predictions: with `predictions` and `label_ids`, both `(rows, tokens)`, padded with -100.
        """
        tokenizer = self.processing_class.tokenizer
        transcripts, labels = (
            [[token for token in row if token != IGNORED] for row in rows.tolist()]
            for rows in (predictions.predictions, predictions.label_ids)
        )
        hypotheses, references = (
            tokenizer.batch_decode(rows, skip_special_tokens=True) for rows in (transcripts, labels)
        )
        languages = [tokenizer.convert_ids_to_tokens(row[0]).strip("<|>") for row in labels]
        return count_errors(references, hypotheses, self.args.normalizer, languages), languages

    def _score(self, predictions) -> dict[str, float]:
        """WER and CER of all rows and of each language."""
        counts, languages = self.count_errors(predictions)
        groups = {"": slice(None)}
        groups |= {f"_{language}": np.array(languages) == language for language in dict.fromkeys(languages)}
        scores = {}
        for suffix, own in groups.items():
            rates = counts[own].rates()
            scores |= {f"{name}{suffix}": rates[name] for name in ("wer", "cer", "words", "utterances")}
        return scores
