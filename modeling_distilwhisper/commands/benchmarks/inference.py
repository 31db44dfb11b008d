"""What transcribing costs: plain Whisper and language experts side by side.

Encoder: 30 s of audio a row. Prefill: the decoder's first pass, over a prompt of four tokens. Decode: 40 tokens,
greedily, their prefill with them. All systems write the same, tokens that were drawn for each row. Experts are copies,
and the thresholds of their gates are set so that about half of the tokens take one.
"""

import argparse
import statistics

import torch
from tabulate import tabulate
from transformers import LogitsProcessor, logging, set_seed
from transformers.modeling_outputs import BaseModelOutput

from ... import DistilWhisperForConditionalGeneration
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
    threads = torch.get_num_threads()
    print(f"whisper-{args.size}, random weights, {args.device}, {threads} threads, {args.rounds} rounds")
    print("median ms, and by how much it is more than plain Whisper's")
    for dtype in args.dtypes:
        results = take_turns(Transcriber, list(SYSTEMS), argparse.Namespace(**vars(args), dtype=dtype))
        table = []
        for task, plain in results[PLAIN]["seconds"].items():
            row = {dtype: task, PLAIN: f"{1000 * statistics.median(plain):.1f}"}
            for name in list(SYSTEMS)[1:]:
                if seconds := results[name]["seconds"].get(task):
                    median = statistics.median(seconds)
                    row[name] = f"{1000 * median:.1f} ({median / statistics.median(plain):.2f})"
            table.append(row)
        for figure, title in {"weights": "weights MB", "memory": "peak memory MB"}.items():
            table.append({dtype: title} | {name: f"{found[figure] / 1e6:.0f}" for name, found in results.items()})
        aligned = ("left", *["right"] * len(SYSTEMS))
        print(f"\n{tabulate(table, headers='keys', disable_numparse=True, colalign=aligned)}", flush=True)


class Dictated(LogitsProcessor):
    """Greedy decoding writes these tokens, `(batch, tokens)`: left to random weights, all rows would write alike."""

    def __init__(self, tokens: torch.Tensor, prompt_length: int):
        self.tokens, self.prompt_length = tokens, prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        token = self.tokens[:, input_ids.shape[1] - self.prompt_length, None]
        return scores.scatter(1, token, torch.inf)


class Transcriber:
    """One system in one precision; a task is a part of transcribing and a batch size."""

    @torch.inference_mode()
    def __init__(self, name: str, args: argparse.Namespace):
        logging.set_verbosity_error()  # `generate` has a remark on lengths each time
        loaded, self.spoken, rank = SYSTEMS[name]
        self.model = model = make_model(args.size, loaded, rank).to(args.device, getattr(torch, args.dtype))
        self.inputs: dict[str, tuple] = {}
        for rows in args.batch_sizes:
            if rows == 1 and len(self.spoken) > 1:
                continue
            set_seed(rows)
            shape = (rows, model.config.num_mel_bins, 2 * model.config.max_source_positions)
            features = torch.randn(shape, device=model.device, dtype=model.dtype)
            text = random_text(rows, args.tokens).to(model.device)
            prompts = prompts_of(model, [self.spoken[row % len(self.spoken)] for row in range(rows)])
            heard = model.model.encoder(features, **routing(model, prompts)).last_hidden_state
            for part in PARTS:
                self.inputs[f"{part}, batch {rows}"] = (part, features, prompts, heard, text)
        self.tasks = list(self.inputs)

    @torch.inference_mode()
    def run(self, task: str) -> torch.Tensor | None:
        part, features, prompts, heard, text = self.inputs[task]
        heard = BaseModelOutput(heard)
        if part == "encoder":
            self.model.model.encoder(features, **routing(self.model, prompts))
        elif part == "prefill":
            self.model(encoder_outputs=heard, decoder_input_ids=prompts)
        else:
            spoken = [self.spoken[row % len(self.spoken)] for row in range(len(prompts))]
            length = {"min_new_tokens": text.shape[1], "max_new_tokens": text.shape[1]}
            dictated = [Dictated(text, prompts.shape[1])]
            settings = {"language": spoken, "task": "transcribe", "logits_processor": dictated, **length}
            return self.model.generate(encoder_outputs=heard, **settings)

    def facts(self) -> dict:
        return {"weights": sum(tensor.numel() * tensor.element_size() for tensor in self.model.parameters())}


def random_text(rows: int, tokens: int) -> torch.Tensor:
    return torch.randint(256, (rows, tokens))  # the vocabulary's letters


def routing(model, prompts: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"language_ids": model.read_prompt(prompts)[0]} if hasattr(model, "read_prompt") else {}


def make_model(size: str, languages: list[str], rank: int):
    plain = make_whisper(size, seed=0).eval()
    if not languages:
        return plain
    model = with_experts(plain, languages, rank).eval()
    set_seed(0)
    own = model.config
    with torch.inference_mode():
        for language in languages:
            prompts, text = prompts_of(model, [language] * 2), random_text(2, 40)
            features = torch.randn(2, own.num_mel_bins, 2 * own.max_source_positions)
            outputs = model(features, decoder_input_ids=torch.cat([prompts, text], dim=1), output_gates=True)
            logits = [*outputs.encoder_gate_logits, *(one[:, 4:] for one in outputs.decoder_gate_logits)]
            for layer, own_logits in zip(model.routed_layers().values(), logits, strict=True):
                layer.experts[language].gate.threshold.fill_(own_logits.median())
    return model


def prompts_of(model, languages: list[str]) -> torch.Tensor:
    """Whisper's prompt of four tokens for rows in these languages."""
    told = model.generation_config
    start, end = [told.decoder_start_token_id], [told.task_to_id["transcribe"], told.no_timestamps_token_id]
    rows = [[*start, told.lang_to_id[f"<|{language}|>"], *end] for language in languages]
    return torch.tensor(rows, device=model.device)


def with_experts(plain, languages: list[str], rank: int) -> DistilWhisperForConditionalGeneration:
    config = DistilWhisperForConditionalGeneration.config_class(**plain.config.to_dict() | {"expert_rank": rank})
    model = DistilWhisperForConditionalGeneration(config)
    model.load_state_dict(plain.state_dict())
    model.generation_config = plain.generation_config
    for language in languages:
        model.add_language(language)
    return model
