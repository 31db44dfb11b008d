"""Training arguments: those of Transformers with the recipe's defaults (section 5.1.4), and those of distillation."""

from dataclasses import dataclass, field

import torch
from transformers import Seq2SeqTrainingArguments

from ..data.augmentation import KINDS, check_kinds
from ..evaluation.normalization import normalizer_name
from ..runs.numbers import ABOVE_0, AT_LEAST_0, BELOW_1, COUNT, COUNT_OR_ZERO, Range
from ..runs.processes import notice_lost_processes, quiet_but_errors
from .kd_weight import SCHEDULES
from .losses import DIVERGENCES

SEED = Range(int, 0, 2**32 - 1)
# Of our arguments, and of those of Transformers, which checks few of them.
RANGES = {
    "kd_beta": AT_LEAST_0,
    "kd_beta_end": AT_LEAST_0,
    "kd_beta_max": ABOVE_0,
    "kd_temperature": ABOVE_0,
    "language_temperature": Range(float, 1),
    "warmup_epochs": AT_LEAST_0,
    "gate_momentum": Range(float, 0, 1, above=True),
    "learning_rate": ABOVE_0,
    "num_train_epochs": ABOVE_0,
    "max_steps": Range(int, 1, also=-1),
    "per_device_train_batch_size": COUNT,
    "per_device_eval_batch_size": COUNT,
    "gradient_accumulation_steps": COUNT,
    "eval_accumulation_steps": COUNT,
    "warmup_steps": AT_LEAST_0,
    "weight_decay": AT_LEAST_0,
    "adam_beta1": BELOW_1,
    "adam_beta2": BELOW_1,
    "adam_epsilon": ABOVE_0,
    "max_grad_norm": AT_LEAST_0,
    "label_smoothing_factor": BELOW_1,
    "neftune_noise_alpha": AT_LEAST_0,
    "torch_empty_cache_steps": COUNT,
    "logging_steps": ABOVE_0,
    "eval_steps": ABOVE_0,
    "save_steps": ABOVE_0,
    "eval_delay": AT_LEAST_0,
    "save_total_limit": COUNT,
    "seed": SEED,
    "data_seed": SEED,
    "dataloader_num_workers": COUNT_OR_ZERO,
    "dataloader_prefetch_factor": COUNT,
    "ddp_bucket_cap_mb": COUNT,
    "ddp_timeout": COUNT,
    "generation_max_length": COUNT,
    "generation_num_beams": COUNT,
}


@dataclass
class DistilWhisperTrainingArguments(Seq2SeqTrainingArguments):
    """The arguments of `DistilWhisperTrainer`; those not listed here are those of `Seq2SeqTrainingArguments`.

    Attributes:
        kd_beta: beta of eq. 4.8, the weight of the distillation loss, at the start.
        kd_beta_schedule: "constant", "linear" (to `kd_beta_end`) or "learned" (section 4.3.3).
        kd_beta_end: the end of a linear beta.
        kd_beta_max: the upper bound of a learned beta.
        kd_divergence: "js" (eq. 4.7) or "kl" (eq. 2.2).
        kd_temperature: temperature tau of the distillation loss.
        language_temperature: 1 draws each row once per epoch; above, languages with few rows are drawn more often.
        warmup_epochs: epochs of linear warm-up, unless `warmup_steps` is given.
        gate_momentum: in each step, a hard gate's threshold becomes `old + gate_momentum * (quantile - old)`, where
            `quantile` is the one at which the step's batches would meet the budget.
        normalizer: the normaliser of the scores, one of `NORMALIZERS`.
        augment: kinds of changes that training recordings get at random, of `KINDS` (`Augmentation`). The teacher
            gets them unchanged.

    Raises:
        ValueError: a value is out of its range.

    Example:
        >>> from modeling_distilwhisper import DistilWhisperTrainingArguments
        >>> args = DistilWhisperTrainingArguments("out", kd_temperature=2.0)
        >>> args.learning_rate, args.num_train_epochs, args.kd_beta, args.metric_for_best_model
        (0.0001, 10.0, 2.0, 'wer')
    """

    kd_beta: float = field(
        default=2.0, metadata={"help": "Weight of the distillation loss, beta of eq. 4.8, at the start."}
    )
    kd_beta_schedule: str = field(
        default="constant",
        metadata={"help": "beta 'constant', 'linear' (to kd_beta_end) or 'learned' (section 4.3.3)."},
    )
    kd_beta_end: float = field(default=0.0, metadata={"help": "End of a linear beta."})
    kd_beta_max: float = field(default=10.0, metadata={"help": "Upper bound of a learned beta."})
    kd_divergence: str = field(default="js", metadata={"help": "Distillation by 'js' (eq. 4.7) or 'kl' (eq. 2.2)."})
    kd_temperature: float = field(default=1.0, metadata={"help": "Temperature tau of the distillation loss."})
    language_temperature: float = field(
        default=1.0,
        metadata={"help": "1: each row once per epoch. Above: languages with few rows are drawn more often."},
    )
    warmup_epochs: float = field(
        default=1.0, metadata={"help": "Epochs of linear warm-up, unless --warmup_steps is given."}
    )
    gate_momentum: float = field(
        default=0.2,
        metadata={"help": "A hard gate's new threshold is old + gate_momentum x (quantile of the step - old)."},
    )
    normalizer: str = field(default="marks", metadata={"help": "Normaliser of the scores: 'marks' or 'report'."})
    augment: list[str] = field(
        default_factory=list, metadata={"help": f"Changes of training recordings at random: {' '.join(KINDS)}."}
    )

    learning_rate: float = field(default=1e-4, metadata={"help": "Peak learning rate."})
    num_train_epochs: float = field(default=10.0, metadata={"help": "Passes over the training data."})
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Utterances in a batch on each device."})
    label_smoothing_factor: float = field(default=0.1, metadata={"help": "Label smoothing of the cross-entropy."})
    adam_beta2: float = field(default=0.98, metadata={"help": "Second beta of AdamW."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to score the validation split."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Number of checkpoints that are kept."})
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "Keep the best checkpoint, by validation WER."}
    )
    metric_for_best_model: str | None = field(
        default="wer", metadata={"help": "The score by which the best checkpoint is chosen."}
    )
    greater_is_better: bool | None = field(default=False, metadata={"help": "Whether a higher score is better."})
    predict_with_generate: bool = field(default=True, metadata={"help": "Score transcripts, not only the loss."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Off: the collator needs the raw columns."})
    logging_steps: float = field(default=10, metadata={"help": "Steps between two lines of the log."})

    def __post_init__(self):
        for name, allowed in RANGES.items():
            if (value := getattr(self, name)) is not None:
                allowed.check(f"--{name}", value)
        # On machines without an accelerator: Transformers allows half precision on a CPU only if `use_cpu` is set.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        asked = self.do_train, self.do_eval, self.do_predict  # Transformers sets `do_eval` wherever it may evaluate
        super().__post_init__()
        # As in Transformers' example scripts. Without any of them, a run does all three.
        self.do_train, self.do_eval, self.do_predict = asked if any(asked) else (True, True, True)
        if self.process_index > 0:  # what it would print, the first process prints
            self.log_level_replica = "error"
            quiet_but_errors()
        notice_lost_processes(self.world_size)
        # Layers return gates in addition to their output, which reentrant checkpointing does not support.
        for name in ("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs"):  # the latter before 5.23
            if (getattr(self, name, None) or {}).get("use_reentrant"):
                raise ValueError(f"--{name}: use_reentrant must be false for gates to learn.")
        # A process whose batch has no row of a language has no gradient for that language's experts.
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = True
        if self.kd_divergence not in DIVERGENCES:
            raise ValueError(f"--kd_divergence must be one of {', '.join(DIVERGENCES)}, got {self.kd_divergence!r}.")
        if self.kd_beta_schedule not in SCHEDULES:
            raise ValueError(
                f"--kd_beta_schedule must be one of {', '.join(SCHEDULES)}, got {self.kd_beta_schedule!r}."
            )
        if self.kd_beta_schedule == "learned" and not 0 < self.kd_beta < self.kd_beta_max:
            raise ValueError(
                f"A learned --kd_beta starts between 0 and --kd_beta_max, {self.kd_beta_max}, got {self.kd_beta}."
            )
        self.normalizer = normalizer_name(self.normalizer)
        self.augment = [self.augment] if isinstance(self.augment, str) else list(self.augment or ())
        check_kinds(self.augment)
