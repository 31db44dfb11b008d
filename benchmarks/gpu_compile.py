"""A step of gpu.sh: `torch.compile` of a decoding step with a static cache: graph breaks, equality and time."""

import argparse
import statistics
import sys
import time

import torch
from gpu_results import Results, step_parser
from torch._dynamo.utils import counters
from transformers import EncoderDecoderCache, StaticCache, logging
from transformers.modeling_outputs import BaseModelOutput

from modeling_distilwhisper.cache_distilwhisper import CACHE
from modeling_distilwhisper.commands.benchmarks.inference import make_model, prompts_of
from modeling_distilwhisper.commands.benchmarks.whispers import LANGUAGES, made_on

SYSTEMS = {"plain Whisper": ([], 1), "one language": (LANGUAGES[:1], 1), "eight in every batch": (LANGUAGES, 8)}
WARM, ROUNDS, LENGTH = 3, 20, 64  # steps, and places in the cache
TOLERANCE = 2e-3  # of the largest logit, in float32 (TF32 is off)


def main() -> int:
    parser = step_parser(__doc__)
    parser.add_argument("--size", required=True)
    parser.add_argument("--rows", type=int, default=8)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    results, wrong = Results(arguments.output), 0
    for name, (languages, used) in SYSTEMS.items():
        check = compiled_step(languages, used, arguments)
        wrong += bool(check["graph breaks"]) or check["difference"] > TOLERANCE
        line = f"{name}: {check['graph breaks']} graph breaks, compiled in {check['compiling s']:.0f} s, "
        line += f"difference {check['difference']:.1e}, {check['eager ms']:.2f} ms eagerly, "
        line += f"{check['compiled ms']:.2f} ms compiled, {check['new graphs meanwhile']} compiled anew meanwhile"
        results.add({"system": name, **check}, line)
    return int(wrong > 0)


@torch.no_grad()
def compiled_step(languages: list[str], used: int, arguments: argparse.Namespace) -> dict:
    """Compiles a decoding step; returns what was found."""
    rows = arguments.rows
    with made_on(arguments.device):
        model = make_model(arguments.size, languages, 0)
        features = torch.randn(rows, model.config.num_mel_bins, 2 * model.config.max_source_positions)
    prompts = prompts_of(model, [LANGUAGES[row % used] for row in range(rows)])
    ids = {}
    if languages:
        ids = dict(zip(("language_ids", "decoder_language_ids"), model.read_prompt(prompts), strict=True))
    states = BaseModelOutput(model.model.encoder(features, **ids).last_hidden_state)
    step = {"encoder_outputs": states, "decoder_input_ids": prompts[:, -1:], **ids}
    step["decoder_position_ids"] = torch.full((rows, 1), prompts.shape[1], device=prompts.device)

    def after_prompt() -> EncoderDecoderCache:
        lengths = (LENGTH, states[0].shape[1])
        cache = EncoderDecoderCache(*(StaticCache(model.config, max_cache_len=length) for length in lengths))
        model(encoder_outputs=states, decoder_input_ids=prompts, **{CACHE: cache}, **ids)
        return cache

    torch.compiler.reset()
    counters.clear()
    compiled, cache = torch.compile(model, dynamic=False), after_prompt()
    begun = time.perf_counter()
    logits = compiled(**step, **{CACHE: cache}).logits
    difference = float((logits - (expected := model(**step, **{CACHE: after_prompt()}).logits)).abs().max())
    seconds = time.perf_counter() - begun
    breaks = dict(counters["graph_break"])
    return {
        "graphs": counters["stats"]["unique_graphs"],
        "graph breaks": sum(breaks.values()),
        "reasons": [reason[:300] for reason in breaks],
        "difference": difference / float(expected.abs().max()),
        "compiling s": seconds,
        "eager ms": median_ms(model, step, after_prompt()),
        "compiled ms": median_ms(compiled, step, after_prompt()),
        "new graphs meanwhile": counters["stats"]["unique_graphs"] - 1,
    }


def median_ms(model, step: dict, cache: EncoderDecoderCache) -> float:
    """Milliseconds of a step; the cache has room for all rounds."""
    seconds = []
    for _ in range(WARM + ROUNDS):
        begun = time.perf_counter()
        float(model(**step, **{CACHE: cache}).logits[0, 0, 0])  # reading a value waits for the GPU
        seconds.append(time.perf_counter() - begun)
    return 1000 * statistics.median(seconds[WARM:])


if __name__ == "__main__":
    sys.exit(main())
