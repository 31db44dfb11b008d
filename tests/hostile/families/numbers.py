"""Numbers out of range, in arguments of training, settings of models and flags of commands: each must be refused."""

import importlib

from modeling_distilwhisper import DistilWhisperConfig, DistilWhisperTrainingArguments
from modeling_distilwhisper.evaluation.metrics import count_errors

from ..trial import Refused, Wrong, run_command

NAN, INFINITE = float("nan"), float("inf")
NO_NUMBERS = (NAN, INFINITE, -1.0)
TRAINING = {
    **{name: NO_NUMBERS for name in ("kd_beta", "kd_beta_end", "kd_temperature", "warmup_epochs", "learning_rate")},
    **{name: NO_NUMBERS for name in ("label_smoothing_factor", "weight_decay", "max_grad_norm")},
    "gate_momentum": (*NO_NUMBERS, 0.0, 1.5),
    "language_temperature": (*NO_NUMBERS, 0.5),
    "kd_beta_max": (NAN, -1.0),
    "num_train_epochs": (NAN, -1.0),
    "adam_beta2": (NAN, 1.5, -0.1),
    "per_device_train_batch_size": (0, -1),
    "per_device_eval_batch_size": (0, -1),
    "gradient_accumulation_steps": (0, -1),
    "generation_num_beams": (0, -2),
    "generation_max_length": (0, -2),
    "save_total_limit": (-1,),
}
CONFIG = {
    "gate_budget": (*NO_NUMBERS, 2.0),
    "skip_gate_prob": (*NO_NUMBERS, 1.5),
    "gate_noise_max": NO_NUMBERS,
    "gate_dim": (0, -1, 10**12, 1.5),
    "expert_rank": (-1, 1.5, NAN),
}
COMMON = ["--model", "examples/quickstart/student"]
FLAGS = {
    "transcribe": (
        ["examples/quickstart/in_domain/ca/test/000.ogg", *COMMON, "--language", "ca", "--formats", "txt"],
        {"--batch_size": (0, -1, "nan", "1.5"), "--num_beams": (0, -1)},
    ),
    "evaluate": (
        [
            "--models",
            "examples/quickstart/student",
            "--data",
            "examples/quickstart/in_domain/{language}",
            "--languages",
            "ca",
        ],
        {"--batch_size": (0, -1), "--num_beams": (0, -1), "--max_rows": (0, -1)},
    ),
    "gates": (
        [
            "--models",
            "examples/quickstart/student",
            "--data",
            "examples/quickstart/in_domain/{language}",
            "--languages",
            "ca",
        ],
        {"--batch_size": (0, -1), "--max_rows": (0, -1)},
    ),
    "train": (
        [
            "--student",
            "examples/quickstart/student",
            "--languages",
            "ca",
            "--data",
            "examples/quickstart/in_domain/{language}",
        ],
        {
            "--max_rows": (0, -3),
            "--lora_rank": (0, -1),
            "--expert_rank": (-1,),
            "--gate_budget": ("nan", "1.5", -1),
            "--skip_gate_prob": ("nan", "1.5", -1),
            "--gradient_accumulation_steps": (0, -1),
            "--per_device_train_batch_size": (0, -1),
            "--kd_temperature": ("nan", "inf", 0),
        },
    ),
    "cache_teacher": (
        [
            "--student",
            "examples/quickstart/student",
            "--teacher",
            "examples/quickstart/teacher",
            "--data",
            "examples/quickstart/in_domain/{language}",
            "--languages",
            "ca",
        ],
        {"--batch_size": (0, -1), "--max_rows": (0, -1), "--k": (-1,), "--part_size": (0, -1), "--workers": (-1,)},
    ),
}


def argument_trial(name, value):
    def act(folder):
        DistilWhisperTrainingArguments(str(folder / "run"), **{name: value})
        raise Wrong(f"{name}={value} was accepted")

    return act


def config_trial(name, value):
    def act(folder):
        DistilWhisperConfig(**{name: value})
        raise Wrong(f"{name}={value} was accepted")

    return act


def flag_trial(command, arguments, flag, value):
    def act(folder):
        module = importlib.import_module(f"modeling_distilwhisper.commands.{command}")
        try:
            run_command(module.main, *arguments, "--output_dir", folder / "out", flag, value)
        except Refused as error:
            if flag.strip("-") not in str(error) and "batch" not in str(error) and str(value) not in str(error):
                raise Wrong(f"refused for another reason: {error}") from error
            raise
        raise Wrong(f"{flag} {value} was accepted")

    return act


def source_trial(query):
    def act(folder):
        from modeling_distilwhisper.data.sources import Source

        Source.parse(f"recordings?{query}")
        raise Wrong(f"{query} was accepted")

    return act


def no_utterance(folder):
    counts = count_errors([], [])
    rate = counts.rates()["wer"]
    if rate == rate:
        raise Wrong(f"the error rate of no utterance is {rate}")


def trials():
    for name, values in TRAINING.items():
        for value in values:
            yield f"training, {name}={value}", argument_trial(name, value)
    for name, values in CONFIG.items():
        for value in values:
            yield f"config, {name}={value}", config_trial(name, value)
    for command, (arguments, flags) in FLAGS.items():
        for flag, values in flags.items():
            for value in values:
                yield f"{command} {flag} {value}", flag_trial(command, arguments, flag, value)
    for query in ("train=-1", "train=many", "train=1.5", "seed=x", "train", "=5"):
        yield f"corpus?{query}", source_trial(query)
    yield "rates of no utterance", no_utterance
