"""A step of gpu.sh: where no expert has a say, the model is plain Whisper, bit for bit, in every precision.

Rows of a language without experts, new experts, and experts behind closed gates: logits, greedy and beam transcripts.
A batch that mixes them is equal up to rounding. And a trained expert must change the logits, or nothing was tested.
Where plain Whisper and a copy of it differ, the GPU's arithmetic does, and nothing can be said of experts.
"""

import argparse
import copy
import sys

import torch
from gpu_results import Results, step_parser
from transformers import logging, set_seed

from modeling_distilwhisper.commands.benchmarks.inference import prompts_of, with_experts
from modeling_distilwhisper.commands.benchmarks.whispers import made_on, make_whisper
from modeling_distilwhisper.evaluation.gates import forced_gates

PRECISIONS = ("float32", "bfloat16", "float16")
WITH, WITHOUT = "gl", "ca"  # a language with experts, and one without
TOKENS, GAIN = 20, 4  # to generate; of a matrix, output by input
TOLERANCE = {"float32": 0.01, "bfloat16": 0.5, "float16": 0.5}  # of logits of a mixed batch, to their largest


def main() -> int:
    parser = step_parser(__doc__)
    parser.add_argument("--sizes", nargs="+", required=True)
    parser.add_argument("--rows", type=int, default=3)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    results, wrong = Results(arguments.output), 0
    for size in arguments.sizes:
        for precision in PRECISIONS:
            for name, is_right, facts in checks(size, precision, arguments):
                found = ", ".join(f"{fact} {value:.3g}" for fact, value in facts.items())
                line = f"{size} {precision}, {name}: {'yes' if is_right else 'NO'}{f' ({found})' if found else ''}"
                results.add({"size": size, "precision": precision, "check": name, "holds": is_right, **facts}, line)
                wrong += not is_right
    results.content["summary"].insert(0, f"{len(results.content['checks']) - wrong} hold, {wrong} do not")
    results.write()
    return int(wrong > 0)


@torch.inference_mode()
def checks(size: str, precision: str, arguments: argparse.Namespace):
    """Yields the name of each check, whether it holds, and what was measured."""
    with made_on(arguments.device, precision):
        plain = talkative(make_whisper(size, seed=0)).eval()
        new = with_experts(plain, [WITH], rank=0).eval()
        trained = unsettled(new)
        set_seed(1)
        frames = 2 * plain.config.max_source_positions
        features = torch.randn(arguments.rows, plain.config.num_mel_bins, frames)
    yield from same("plain Whisper and its copy", copy.deepcopy(plain), plain, features, WITHOUT)
    for name, model, language in (("no experts", trained, WITHOUT), ("new experts", new, WITH)):
        yield from same(name, model, plain, features, language)
    with forced_gates(trained, is_open=False):
        yield from same("closed gates", trained, plain, features, WITH)

    languages = [WITH, WITHOUT, WITHOUT][: arguments.rows]
    theirs = logits_of(plain, features, languages)
    ours = logits_of(trained, features, languages)
    scale = theirs.abs().max()
    others = float((ours - theirs)[1:].abs().max() / scale)
    changed = float((ours - theirs)[0].abs().max() / scale)
    yield "a mixed batch, rows without experts, up to rounding", others <= TOLERANCE[precision], {"difference": others}
    yield "a trained expert changes the logits", changed > 2 * others, {"difference": changed}


def talkative(model):
    """The model with larger matrices: as it was made, it would say one token again and again."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and "embed" not in name:
            parameter *= GAIN / (model.config.init_std * parameter.shape[1] ** 0.5)
    return model


def unsettled(model):
    """A copy whose experts are far from the shared path, as if they had been trained."""
    model = copy.deepcopy(model)
    for layer in model.routed_layers().values():
        for parameter in layer.experts.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


def same(name: str, model, plain, features: torch.Tensor, language: str):
    languages = [language] * len(features)
    ours, theirs = (logits_of(each, features, languages) for each in (model, plain))
    facts = {} if torch.equal(ours, theirs) else {"difference": float((ours - theirs).abs().max())}
    yield f"{name}, logits", torch.equal(ours, theirs), facts
    for way, beams in (("greedy", 1), ("beams", 3)):
        ours, theirs = (
            each.generate(
                features,
                language=language,
                task="transcribe",
                num_beams=beams,
                min_new_tokens=TOKENS,
                max_new_tokens=TOKENS,
            )
            for each in (model, plain)
        )
        yield f"{name}, {way}", torch.equal(ours, theirs), {"different tokens": float(len(theirs.unique()))}


def logits_of(model, features: torch.Tensor, languages: list[str]) -> torch.Tensor:
    prompts = prompts_of(model, languages)
    text = torch.arange(TOKENS, device=prompts.device).repeat(len(languages), 1)
    return model(features, decoder_input_ids=torch.cat([prompts, text], dim=1)).logits.float()


if __name__ == "__main__":
    sys.exit(main())
