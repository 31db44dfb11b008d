"""A step of gpu.sh: how often the CPU waits for the GPU in a pass, for each layer and besides.

A wait ends the overlap of the two: the GPU has nothing to do until the CPU has read a value and gone on. Each pass runs
in models of two depths, so that the waits for each layer and those for a pass as a whole come apart.

On a GPU, PyTorch names each call that waits (`torch.cuda.set_sync_debug_mode`), and the profiler counts the calls of
CUDA besides. On a CPU nothing waits: what is counted there stands for it, the operations that would read a value.
"""

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from gpu_results import Results, step_parser
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile
from transformers import DynamicCache, EncoderDecoderCache, logging
from transformers.modeling_outputs import BaseModelOutput

from modeling_distilwhisper.cache_distilwhisper import CACHE
from modeling_distilwhisper.commands.benchmarks import training
from modeling_distilwhisper.commands.benchmarks.inference import System, make_model, prompts_of
from modeling_distilwhisper.commands.benchmarks.whispers import LANGUAGES, SIZES, made_on

DEPTHS = (1, 3)
READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2")
CALLS = ("cudaStreamSynchronize", "cudaEventSynchronize", "cudaDeviceSynchronize")
SYSTEMS = {
    "plain Whisper": System([], LANGUAGES[:1]),
    "one language": System(LANGUAGES[:1], LANGUAGES[:1]),
    "eight in every batch": System(LANGUAGES, LANGUAGES),
}
TRAINED = {
    "plain Whisper": training.BASELINE,
    "one language": training.CLSR,
    "eight in every batch": "CLSR, eight languages",
}


def main() -> int:
    parser = step_parser(__doc__)
    parser.add_argument("--size", required=True)
    parser.add_argument("--rows", type=int, default=8)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    results = Results(arguments.output)
    for name in SYSTEMS:
        for passes in (inference_passes, training_passes):
            by_depth = [counted(name, depth, passes, arguments) for depth in DEPTHS]
            for one in by_depth[0]:
                results.add(*compared(name, one, *(waits[one] for waits in by_depth)))
    decode = [check["for each layer"] for check in results.content["checks"] if check["pass"] == "decode"]
    return int(arguments.device != "cpu" and any(decode))  # a CPU decodes in another way


def counted(name: str, depth: int, passes: Callable, arguments: argparse.Namespace) -> dict[str, Counter]:
    """By pass, the waits of a system in a model of this depth."""
    width, _, heads = SIZES[arguments.size]
    SIZES["of this depth"] = (width, depth, heads)
    waits = {}
    for one, run in passes(name, "of this depth", arguments.device, arguments.rows):
        run()  # memory, plans of kernels and caches are made
        waits[one] = waits_of(run, arguments.device)
    return waits


def compared(name: str, one: str, shallow: Counter, deep: Counter) -> tuple[dict, str]:
    """A check, and the line that says it."""
    steps = DEPTHS[1] - DEPTHS[0]
    each = {kind: (deep[kind] - shallow[kind]) / steps for kind in sorted(shallow | deep)}
    besides = {kind: shallow[kind] - DEPTHS[0] * count for kind, count in each.items()}
    total, rest = each.pop("waits", 0.0), besides.pop("waits", 0.0)
    check = {"system": name, "pass": one, "for each layer": total, "besides": rest}
    check["kinds"] = {kind: [count, besides[kind]] for kind, count in each.items()}
    often = ", ".join(f"{kind} {count:g} + {besides[kind]:g}" for kind, count in each.items())
    return check, f"{name}, {one}: {total:g} for each layer and {rest:g} besides ({often or 'none'})"


@torch.inference_mode()
def inference_passes(name: str, size: str, device: str, rows: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Name and function of each pass of transcribing, as `generate` makes them."""
    system = SYSTEMS[name]
    with made_on(device):
        model = make_model(size, system.loaded, system.rank)
        features = torch.randn(rows, model.config.num_mel_bins, 2 * model.config.max_source_positions)
    prompts = prompts_of(model, [system.used[row % len(system.used)] for row in range(rows)])
    ids = {}
    if system.loaded:  # on the CPU, where `generate` keeps them
        ids = dict(zip(("language_ids", "decoder_language_ids"), model.read_prompt(prompts.cpu()), strict=True))
    states = BaseModelOutput(model.model.encoder(features, **ids).last_hidden_state)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    model(encoder_outputs=states, decoder_input_ids=prompts, **{CACHE: cache}, **ids)
    token = prompts[:, -1:]

    @torch.inference_mode()
    def encode():
        model.model.encoder(features, **ids)

    @torch.inference_mode()
    def prefill():
        model(encoder_outputs=states, decoder_input_ids=prompts, **ids)

    @torch.inference_mode()
    def decode():
        model(encoder_outputs=states, decoder_input_ids=token, **{CACHE: cache}, **ids)

    yield from {"encoder": encode, "prefill": prefill, "decode": decode}.items()


def training_passes(name: str, size: str, device: str, rows: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """A training step, with an encoder and a decoder layer for each layer of the count."""
    settings = {"size": size, "device": device, "batch_size": [rows], "tokens": 12, "precision": "float32"}
    with tempfile.TemporaryDirectory() as folder:
        settings |= {"folder": Path(folder), "in_files": False, "no_checkpoint": True}
        arguments = argparse.Namespace(**settings)
        training.write_batch(arguments)
        step = training.TrainingStep(TRAINED[name], arguments)
        (batch,) = step.batches.values()

        def train():  # all of a step but the optimiser, which is PyTorch's
            step.trainer.training_step(step.model, dict(batch), (batch["labels"] != -100).sum())
            step.trainer._end_step(is_taken=True)
            step.model.zero_grad()

        yield "training step", train


class Lists(TorchFunctionMode):
    """Counts `tolist`, which on a CPU is no operation that the profiler sees."""

    count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.Tensor.tolist
        return function(*args, **(kwargs or {}))


def waits_of(run: Callable[[], object], device: str) -> Counter:
    """The number of waits in `run`, and of each kind, or of each place in the code."""
    return _on_gpu(run) if device == "cuda" else _on_cpu(run)


def _on_cpu(run: Callable[[], object]) -> Counter:
    with profile(activities=[ProfilerActivity.CPU]) as profiled, Lists() as lists:
        run()
    found = Counter({event.key: event.count for event in profiled.key_averages() if event.key in READS})
    found["tolist"] += lists.count
    return Counter({"waits": found.total()}) + found


def _on_gpu(run: Callable[[], object]) -> Counter:
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught, profile() as profiled:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    named = [warning for warning in caught if "synchronizing CUDA operation" in str(warning.message)]
    places = Counter(f"{Path(warning.filename).name}:{warning.lineno}" for warning in named)
    calls = Counter({event.key: event.count for event in profiled.key_averages() if event.key in CALLS})
    return Counter({"waits": len(named)}) + places + calls


if __name__ == "__main__":
    sys.exit(main())
