"""What transcribing costs: plain Whisper and language experts side by side.

Encoder: 30 s of audio a row. Prefill: the decoder's first pass, over a prompt of four tokens. Decode: 40 tokens,
greedily, their prefill with them. The gates' thresholds are set so that half of the tokens take an expert; experts are
copies, so that all systems write the same.
"""

import argparse
import statistics

import torch
from tabulate import tabulate
from transformers import logging, set_seed
from transformers.modeling_outputs import BaseModelOutput

from modeling_distilwhisper import DistilWhisperForConditionalGeneration

from .turns import take_turns
from .whispers import LANGUAGES, make_whisper

PLAIN = "plain Whisper"
# Languages that are loaded, those that the rows speak, in turn, and the experts' rank (0: full).
SYSTEMS = {
    PLAIN: ([], LANGUAGES[:1], 0),
    "one language": (LANGUAGES[:1], LANGUAGES[:1], 0),
    "eight loaded, one used": (LANGUAGES, LANGUAGES[:1], 0),
    "eight in every batch": (LANGUAGES, LANGUAGES, 0),
    "one language, r = 64": (LANGUAGES[:1], LANGUAGES[:1], 64),
    "eight in every batch, r = 64": (LANGUAGES, LANGUAGES, 64),
}
PARTS = ("encoder", "prefill", "decode")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tokens", type=int, default=40, help="tokens that are decoded")
    parser.add_argument(
        "--dtypes", choices=["float32", "bfloat16", "float16"], nargs="+", default=["float32", "bfloat16"]
    )


def run(args: argparse.Namespace) -> None:
    results = take_turns(Transcriber, list(SYSTEMS), args)
    threads = torch.get_num_threads()
    print(f"whisper-{args.size}, random weights, {args.device}, {threads} threads, {args.rounds} rounds")
    print("median ms, and by how much it is more than plain Whisper's\n")
    table = []
    for task, plain in results[PLAIN]["seconds"].items():
        row = {"": task, PLAIN: f"{1000 * statistics.median(plain):.1f}"}
        for name in list(SYSTEMS)[1:]:
            if seconds := results[name]["seconds"].get(task):
                median = statistics.median(seconds)
                row[name] = f"{1000 * median:.1f} ({median / statistics.median(plain):.2f})"
        table.append(row)
    for figure, title in {"weights": "weights MB", "memory": "peak memory MB"}.items():
        table.append({"": title} | {name: f"{found[figure] / 1e6:.0f}" for name, found in results.items()})
    print(tabulate(table, headers="keys", disable_numparse=True, colalign=("left", *["right"] * len(SYSTEMS))))


class Transcriber:
    """One system, in every precision; a task is a part of transcribing, a batch size and a precision."""

    @torch.inference_mode()
    def __init__(self, name: str, args: argparse.Namespace):
        logging.set_verbosity_error()  # `generate` has a remark on lengths each time
        loaded, self.spoken, rank = SYSTEMS[name]
        self.tokens = args.tokens
        self.inputs: dict[str, tuple] = {}
        for dtype in args.dtypes:
            model = make_model(args.size, loaded, rank).to(args.device, getattr(torch, dtype))
            for rows in args.batch_sizes:
                if rows == 1 and len(self.spoken) > 1:
                    continue
                set_seed(rows)
                shape = (rows, model.config.num_mel_bins, 2 * model.config.max_source_positions)
                features = torch.randn(shape, device=model.device, dtype=model.dtype)
                prompts = self.prompts(model, rows)
                heard = model.model.encoder(features, **routing(model, prompts)).last_hidden_state
                for part in PARTS:
                    self.inputs[f"{part}, batch {rows}, {dtype}"] = (part, model, features, prompts, heard)
        self.tasks = list(self.inputs)

    def prompts(self, model, rows: int) -> torch.Tensor:
        told = model.generation_config
        spoken = [told.lang_to_id[f"<|{self.spoken[row % len(self.spoken)]}|>"] for row in range(rows)]
        start, end = [told.decoder_start_token_id], [told.task_to_id["transcribe"], told.no_timestamps_token_id]
        return torch.tensor([[*start, language, *end] for language in spoken], device=model.device)

    @torch.inference_mode()
    def run(self, task: str) -> None:
        part, model, features, prompts, heard = self.inputs[task]
        heard = BaseModelOutput(heard)
        if part == "encoder":
            model.model.encoder(features, **routing(model, prompts))
        elif part == "prefill":
            model(encoder_outputs=heard, decoder_input_ids=prompts)
        else:
            spoken = [self.spoken[row % len(self.spoken)] for row in range(len(prompts))]
            length = {"min_new_tokens": self.tokens, "max_new_tokens": self.tokens}
            model.generate(encoder_outputs=heard, language=spoken, task="transcribe", **length)

    def facts(self) -> dict:
        models = {id(model): model for _, model, *_ in self.inputs.values()}.values()
        tensors = {id(tensor): tensor for model in models for tensor in model.parameters()}.values()
        return {"weights": sum(tensor.numel() * tensor.element_size() for tensor in tensors)}


def routing(model, prompts: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"language_ids": model.read_prompt(prompts)[0]} if hasattr(model, "read_prompt") else {}


def make_model(size: str, languages: list[str], rank: int):
    plain = make_whisper(size, seed=0).eval()
    if not languages:
        return plain
    model = with_experts(plain, languages, rank).eval()
    set_seed(0)
    own = model.config
    tokens = torch.randint(own.vocab_size, (1, 32))
    with torch.inference_mode():
        for language in languages:
            ids = torch.tensor([own.language_token_ids[language]])
            features = torch.randn(1, own.num_mel_bins, 2 * own.max_source_positions)
            outputs = model(features, decoder_input_ids=tokens, language_ids=ids, output_gates=True)
            logits = [*outputs.encoder_gate_logits, *outputs.decoder_gate_logits]
            for layer, own_logits in zip(model.routed_layers().values(), logits, strict=True):
                layer.experts[language].gate.threshold.fill_(own_logits.median())
    return model


def with_experts(plain, languages: list[str], rank: int) -> DistilWhisperForConditionalGeneration:
    config = DistilWhisperForConditionalGeneration.config_class(**plain.config.to_dict() | {"expert_rank": rank})
    model = DistilWhisperForConditionalGeneration(config)
    model.load_state_dict(plain.state_dict())
    model.generation_config = plain.generation_config
    for language in languages:
        model.add_language(language)
    return model
