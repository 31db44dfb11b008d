"""The steps of gpu.sh, in the order of their worth, with what each is given."""

import argparse
from dataclasses import dataclass

PLAIN_AND_EXPERTS = ["one language", "eight in every batch"]


@dataclass(frozen=True)
class Step:
    """A process of its own.

    Attributes:
        name: also of its files.
        command: what Python runs; `--output FILE` is added.
        limit: seconds after which it is stopped.
        least: it is not started with fewer seconds left.
    """

    name: str
    command: list[str]
    limit: float
    least: float = 20


def steps_of(arguments: argparse.Namespace) -> list[Step]:
    """The steps on a device: for a measurement, or brief (`--try`), for a machine without a GPU."""
    device = ["--device", arguments.device]
    if arguments.brief:
        least, limit = ["--size", "least"], 600
        return [
            Step("equality", ["benchmarks/gpu_equality.py", *device, "--sizes", "least", "--rows", "2"], limit),
            Step("waits", ["benchmarks/gpu_waits.py", *device, *least], limit),
            Step("tests", ["benchmarks/gpu_tests.py", *device, "--files", "tests/model/test_routing.py"], limit),
            Step("infer least", infer(device, "least", [1, 8], rounds=1, tokens=6, systems=PLAIN_AND_EXPERTS), limit),
            Step("train least", train(device, "least", [1, 8], "float32", ["CLSR, r = 64, eight languages"], 1), limit),
            Step("compile", ["benchmarks/gpu_compile.py", *device, *least, "--rows", "2"], limit),
        ]
    beside = ["full fine-tuning", "DistilWhisper, teacher live", "CLSR, r = 64", "CLSR, eight languages"]
    large = ["DistilWhisper, teacher live", "CLSR, r = 64, eight languages"]
    low_rank = ["one language, r = 64", "eight in every batch, r = 64"]
    return [
        Step("equality", ["benchmarks/gpu_equality.py", *device, "--sizes", "tiny", "base", "small"], 150),
        Step("waits", ["benchmarks/gpu_waits.py", *device, "--size", "small"], 60),
        Step("infer small", infer(device, "small", [1, 8, 32], 3, 20, [*PLAIN_AND_EXPERTS, *low_rank]), 130),
        Step("train small", train(device, "small", [1, 8, 32], "bfloat16", beside, 2), 120),
        Step("tests", ["benchmarks/gpu_tests.py", *device], 240),
        Step("compile", ["benchmarks/gpu_compile.py", *device, "--size", "base"], 90),
        Step("infer large", infer(device, "large-v2", [1, 8, 32], 2, 10, PLAIN_AND_EXPERTS), 110, least=40),
        Step("train large", train(device, "large-v2", [1, 8], "bfloat16", large, 2), 110, least=50),
    ]


def infer(device, size, batch_sizes, rounds, tokens, systems) -> list[str]:
    settings = ["--size", size, "--precision", "bfloat16", "--rounds", str(rounds), "--tokens", str(tokens)]
    return benchmark("infer", [*device, *settings, *numbers("--batch_sizes", batch_sizes), "--systems", *systems])


def train(device, size, batch_sizes, precision, beside, rounds) -> list[str]:
    settings = ["--size", size, "--precision", precision, "--rounds", str(rounds), "--no_checkpoint"]
    return benchmark("train", [*device, *settings, *numbers("--batch_size", batch_sizes), "--beside", *beside])


def benchmark(mode: str, settings: list[str]) -> list[str]:
    return ["-m", "distilwhisper_cli", "benchmark", mode, *settings]


def numbers(flag: str, values: list[int]) -> list[str]:
    return [flag, *map(str, values)]
