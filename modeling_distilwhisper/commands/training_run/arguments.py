"""The settings of a training run, and which of them make it another run."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...data.sources import SPEC_FORM
from ...runs.extras import require
from ...runs.numbers import LOSS_WEIGHT
from ...runs.old_names import read_json
from ...runs.precision import PRECISIONS, QUANTISED
from ...runs.run_folder import SETTINGS, RunFolder
from ...runs.settings import defaults_of
from ...runs.starts import read_starts
from ...training.arguments import DistilWhisperTrainingArguments

METHODS = ("experts", "lora", "finetune")
TASKS = ("transcribe", "translate")
STUDENT_PRECISIONS = ("float32", "int8", "nf4")
# Training arguments that make another run. How long a run trains, and what it logs, may change when it is continued.
DEFINING = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_epochs",
    "warmup_steps",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "label_smoothing_factor",
    "bf16",
    "fp16",
    "seed",
    "kd_beta",
    "kd_beta_schedule",
    "kd_beta_end",
    "kd_beta_max",
    "kd_divergence",
    "kd_temperature",
    "gate_momentum",
    "language_temperature",
    "normalizer",
    "augment",
)

# Settings of the shape of new experts. Experts that exist have theirs.
OF_NEW_EXPERTS = ("expert_rank", "gate_dim")
# Settings that do nothing with another method: the method, and the part of the model that they are for.
OF_ONE_METHOD = {
    "freeze_encoder": ("experts", "experts"),
    "init_from": ("experts", "experts"),
    "freeze_decoder": ("experts", "experts"),
    "language_budgets": ("experts", "gates"),
    "gate_dim": ("experts", "gates"),
    "gate_dropout": ("experts", "gates"),
    "expert_dropout": ("experts", "experts"),
    "lora_alpha": ("lora", "LoRA"),
    "lora_dropout": ("lora", "LoRA"),
}


@dataclass
class ModelArguments:
    """The student, its experts, and their teacher."""

    student: str = field(
        metadata={
            "help": "Folder or Hub id of the Whisper that learns; or of one with experts, to add languages to it."
        }
    )
    languages: list[str] = field(metadata={"help": "Codes of the languages to train, such as gl ca."})
    task: str = field(
        default="transcribe",
        metadata={"help": "'transcribe'; or 'translate', where the text of each row is its English translation."},
    )
    model_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of the student's Hub repository."}
    )
    token: str | None = field(
        default=None,
        repr=False,
        metadata={"help": "Token for the Hub, if you are not logged in (`hf auth login`). It is written nowhere."},
    )
    student_precision: str = field(
        default="float32",
        metadata={"help": "'float32', or quantised: 'int8' (LLM.int8()) or 'nf4'. Trained weights stay float32."},
    )
    teacher: str | None = field(
        default=None, metadata={"help": "Folder or Hub id of the Whisper to learn from, of any size and kind."}
    )
    teacher_precision: str = field(
        default="auto", metadata={"help": f"One of {', '.join(PRECISIONS)}; int8 is LLM.int8()."}
    )
    teacher_cache: str | None = field(
        default=None, metadata={"help": "Folder that `distilwhisper cache-teacher` wrote, in place of --teacher."}
    )
    method: str = field(
        default="experts",
        metadata={"help": "'experts', or to compare: 'lora' (on fc1 and fc2), 'finetune' (all weights)."},
    )
    gate_budget: float = field(default=0.5, metadata={"help": "Share of tokens that should take the expert."})
    language_budgets: list[str] = field(
        default_factory=list, metadata={"help": "Other budgets for some languages: gl=0.7 ca=0.4."}
    )
    skip_gate_prob: float = field(
        default=0.0, metadata={"help": "Share of gates that training closes at random. The report's is 0.2."}
    )
    gate_training: str = field(default="hard", metadata={"help": "'hard', or 'soft' as in the report."})
    gate_noise_max: float = field(default=5.0, metadata={"help": "Final value of the noise of soft gates."})
    gate_dim: int = field(default=64, metadata={"help": "Width of the gates' hidden layer, of new experts."})
    gate_dropout: float = field(default=0.0, metadata={"help": "Dropout on the input of the gates, in training."})
    expert_dropout: float = field(default=0.0, metadata={"help": "Dropout on the output of the experts, in training."})
    freeze_encoder: bool = field(
        default=False, metadata={"help": "The encoder stays Whisper's: only the decoder has experts."}
    )
    freeze_decoder: bool = field(
        default=False, metadata={"help": "The decoder stays Whisper's: only the encoder has experts."}
    )
    expert_rank: int = field(default=0, metadata={"help": "0 for full experts, or the rank of low-rank ones."})
    experts_from: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub id of experts to train further, such as compressed ones. Of a language that it "
            "lacks, those of the relative that --init_from names."
        },
    )
    init_from: list[str] = field(
        default_factory=list,
        metadata={
            "help": "For languages that Whisper has no token for, what their own starts as: ga=cy, a relative; or "
            "ga=detected, the languages that Whisper hears in their training audio (the default)."
        },
    )
    lora_rank: int = field(default=32, metadata={"help": "Rank of --method lora."})
    lora_alpha: int | None = field(
        default=None,
        metadata={"help": "Alpha of --method lora: its update is scaled by alpha / rank. By default, twice the rank."},
    )
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout on the input of LoRA, in training."})
    save_backbone: bool = field(default=True, metadata={"help": "Save Whisper's weights next to the experts."})

    @property
    def starts(self) -> dict[str, str]:
        """`init_from` by language.

        Raises:
            ValueError: one of them is not of a trained language, or names none to start from.
        """
        return read_starts(self.init_from, self.languages)

    @property
    def budgets(self) -> dict[str, float]:
        """`language_budgets` by language.

        Raises:
            ValueError: one of them is not of a trained language, or not a share.
        """
        budgets = {}
        for word in self.language_budgets:
            language, _, budget = word.partition("=")
            if language not in self.languages or not re.fullmatch(r"[01]|[01]?\.\d+", budget):
                raise ValueError(
                    f"--language_budgets: expected one of the languages {self.languages} and a share, such as "
                    f"{self.languages[0]}=0.7, got {word!r}."
                )
            budgets[language] = float(budget)
        return budgets


@dataclass
class DataArguments:
    """The corpora to train and test on."""

    data: list[str] = field(metadata={"help": f"Corpora: {SPEC_FORM}, such as hub:me/speech?train=10000"})
    train_data: list[str] = field(
        default_factory=list,
        metadata={"help": "More corpora, only to train on, such as folders that `distilwhisper pseudo-label` wrote."},
    )
    train_data_weight: float = field(
        default=1.0,
        metadata={
            "help": "Weight in the loss of the rows of --train_data; times their own loss_weight if they have one."
        },
    )
    test_data: list[str] = field(default_factory=list, metadata={"help": "More corpora, only for testing."})
    test_languages: list[str] = field(
        default_factory=list, metadata={"help": "Languages that are tested too, though they are not trained."}
    )
    max_rows: int | None = field(default=None, metadata={"help": "At most this many rows of each split, for a try."})
    score_teacher: bool = field(default=False, metadata={"help": "Score the teacher on the test sets too."})


def check_arguments(
    model_args: ModelArguments, data_args: DataArguments, training_args: DistilWhisperTrainingArguments
) -> None:
    """Refuses settings that do not go together, before anything takes time.

    Raises:
        ValueError: the message names the setting, what it got and what to give instead.
        ImportError: a library that these settings need is not installed.
    """
    if model_args.task not in TASKS:
        raise ValueError(f"--task must be one of {', '.join(TASKS)}, got {model_args.task!r}.")
    if model_args.task == "translate":
        require("sacrebleu")
        if model_args.teacher_cache:
            raise ValueError(
                "A --teacher_cache holds predictions of transcripts. For --task translate, give --teacher."
            )
    if model_args.freeze_encoder and model_args.freeze_decoder:
        raise ValueError("--freeze_encoder with --freeze_decoder leaves nothing to train. Give one of the two.")
    if training_args.do_train and evaluates_itself(model_args, training_args):
        raise ValueError(f"The run would overwrite its student in {model_args.student}. Give another --output_dir.")
    if model_args.method not in METHODS:
        raise ValueError(f"--method must be one of {', '.join(METHODS)}, got {model_args.method!r}.")
    if model_args.teacher and model_args.teacher_cache and not data_args.score_teacher:
        raise ValueError("--teacher with --teacher_cache is only used with --score_teacher. Give one of the two.")
    if data_args.score_teacher and model_args.teacher_precision in QUANTISED:
        raise ValueError(
            f"--score_teacher cannot score a quantised teacher, got {model_args.teacher_precision}. "
            "Score it with `distilwhisper eval`."
        )
    given = given_settings(model_args)
    if model_args.experts_from and (model_args.method != "experts" or given & set(OF_NEW_EXPERTS)):
        raise ValueError(
            "--experts_from takes rank and gate width from those experts: give neither --expert_rank nor --gate_dim "
            "nor another --method."
        )
    if model_args.student_precision not in STUDENT_PRECISIONS:
        raise ValueError(
            f"--student_precision must be one of {', '.join(STUDENT_PRECISIONS)} (half precision in training is --bf16 "
            f"or --fp16), got {model_args.student_precision!r}."
        )
    if model_args.student_precision in QUANTISED and model_args.method == "finetune":
        raise ValueError("Quantised weights cannot be fine-tuned. Train experts on them, or --method lora.")
    for name, (method, part) in OF_ONE_METHOD.items():
        if name in given and model_args.method != method:
            raise ValueError(
                f"--{name} is for {part}, which --method {model_args.method} does not have. Leave it out, or give "
                f"--method {method}."
            )
    if model_args.method == "lora":
        require("peft")
    LOSS_WEIGHT.check("--train_data_weight", data_args.train_data_weight)
    if data_args.train_data_weight != 1 and not data_args.train_data:
        raise ValueError("--train_data_weight is for corpora of --train_data, and there is none. Give both or neither.")
    if "tensorboard" in (training_args.report_to or ()):
        require("tensorboard")


def given_settings(model_args: ModelArguments) -> set[str]:
    """Names of the settings that are not as they are by default."""
    return {name for name, value in defaults_of(ModelArguments).items() if getattr(model_args, name) != value}


def open_run(
    model_args: ModelArguments, data_args: DataArguments, training_args: DistilWhisperTrainingArguments
) -> RunFolder:
    """The folder of the run, `--output_dir`.

    Raises:
        ValueError: it holds a run with other settings; the message names them.
    """
    training = {name: getattr(training_args, name) for name in DEFINING}
    model = {name: value for name, value in asdict(model_args).items() if name != "token"}
    settings = {"model": model, "data": asdict(data_args), "training": training}
    defaults = defaults_of(ModelArguments, DataArguments, DistilWhisperTrainingArguments)
    file = Path(str(training_args.output_dir), SETTINGS)
    if evaluates_itself(model_args, training_args) and file.is_file():
        settings = read_json(file)  # a finished run, scored again on whatever rows
    return RunFolder(training_args.output_dir, settings, defaults)


def evaluates_itself(model_args: ModelArguments, training_args: DistilWhisperTrainingArguments) -> bool:
    """Whether the student is what is in the run's folder."""
    student, folder = Path(model_args.student), Path(str(training_args.output_dir))
    return student.is_dir() and folder.is_dir() and student.samefile(folder)
