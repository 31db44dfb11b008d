"""What transcribing costs: plain Whisper and language experts.

Encoder: 30 s of audio in each row. Prefill: the decoder's first pass, over a prompt of four tokens. Decode: 40 tokens,
greedily, with their prefill. All systems generate the same text, random tokens for each row. Experts are copies of the
shared feed-forwards, and the thresholds of their gates are set so that about half of the tokens take an expert.
"""

import argparse
import statistics
from dataclasses import dataclass

import torch
from transformers import LogitsProcessor, logging, set_seed
from transformers.modeling_outputs import BaseModelOutput

from ...language_names_distilwhisper import language_token
from ...modeling_distilwhisper import DistilWhisperForConditionalGeneration
from .tables import print_table, write_measured
from .turns import take_turns
from .whispers import LANGUAGES, made_on, make_whisper

PLAIN = "plain Whisper"


@dataclass(frozen=True)
class System:
    """What is timed.

    Attributes:
        loaded: languages whose experts are loaded.
        used: languages of the rows, in turn.
        rank: of the experts; 0 for full ones.
    """

    loaded: list[str]
    used: list[str]
    rank: int = 0


SYSTEMS = {
    PLAIN: System([], LANGUAGES[:1]),
    "one language": System(LANGUAGES[:1], LANGUAGES[:1]),
    "eight loaded, one used": System(LANGUAGES, LANGUAGES[:1]),
    "eight in every batch": System(LANGUAGES, LANGUAGES),
    "one language, r = 64": System(LANGUAGES[:1], LANGUAGES[:1], 64),
    "eight in every batch, r = 64": System(LANGUAGES, LANGUAGES, 64),
}
PARTS = ("encoder", "prefill", "decode")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    others = [name for name in SYSTEMS if name != PLAIN]
    parser.add_argument(
        "--systems", nargs="*", choices=others, default=others, metavar="SYSTEM", help=f"beside {PLAIN!r}: {others}"
    )
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8], help="rows in a batch")
    parser.add_argument("--tokens", type=int, default=40, help="tokens to decode")
    precisions = ["float32", "bfloat16", "float16"]
    parser.add_argument("--precision", choices=precisions, nargs="+", default=precisions[:2], help="of the weights")


def run(arguments: argparse.Namespace) -> None:
    threads = torch.get_num_threads()
    print(f"whisper-{arguments.size}, random weights, {arguments.device}, {threads} threads, {arguments.rounds} rounds")
    print("median ms (ratio to plain Whisper)")
    measured = {}
    for precision in arguments.precision:
        settings = argparse.Namespace(**vars(arguments) | {"precision": precision})
        results = measured[precision] = take_turns(Transcriber, [PLAIN, *arguments.systems], settings)
        table = []
        for task, plain in results[PLAIN]["seconds"].items():
            if not plain:
                continue
            row = {precision: task, PLAIN: f"{1000 * statistics.median(plain):.1f}"}
            for name in arguments.systems:
                if seconds := results[name]["seconds"].get(task):
                    median = statistics.median(seconds)
                    row[name] = f"{1000 * median:.1f} ({median / statistics.median(plain):.2f})"
            table.append(row)
        for quantity, title in {"weights": "weights MB", "memory": "peak memory MB"}.items():
            table.append(
                {precision: title} | {name: f"{result[quantity] / 1e6:.0f}" for name, result in results.items()}
            )
        aligned = ("left", *["right"] * len(results))
        print()
        print_table(table, disable_numparse=True, colalign=aligned)
        write_measured(arguments, measured)


class ForcedText(LogitsProcessor):
    """Makes greedy decoding generate these tokens, `(batch, tokens)`: otherwise all rows would give the same text."""

    def __init__(self, tokens: torch.Tensor, prompt_length: int):
        self.tokens, self.prompt_length = tokens, prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        token = self.tokens[:, input_ids.shape[1] - self.prompt_length, None]
        return scores.scatter(1, token, torch.inf)


class Transcriber:
    """One system in one precision; a task is a part of transcription with a batch size."""

    @torch.inference_mode()
    def __init__(self, name: str, arguments: argparse.Namespace):
        logging.set_verbosity_error()  # `generate` warns about lengths at each call
        system = SYSTEMS[name]
        self.languages = system.used
        with made_on(arguments.device, arguments.precision):
            self.model = model = make_model(arguments.size, system.loaded, system.rank)
        self.inputs: dict[str, tuple] = {}
        for rows in arguments.batch_sizes:
            if rows == 1 and len(self.languages) > 1:
                continue
            set_seed(rows)
            shape = (rows, model.config.num_mel_bins, 2 * model.config.max_source_positions)
            features = torch.randn(shape, device=model.device, dtype=model.dtype)
            text = random_text(rows, arguments.tokens).to(model.device)
            prompts = prompts_of(model, [self.languages[row % len(self.languages)] for row in range(rows)])
            states = model.model.encoder(features, **routing(model, prompts)).last_hidden_state
            for part in PARTS:
                self.inputs[f"{part}, batch {rows}"] = (part, features, prompts, states, text)
        self.tasks = list(self.inputs)

    @torch.inference_mode()
    def run(self, task: str) -> torch.Tensor | None:
        part, features, prompts, states, text = self.inputs[task]
        encoder_outputs = BaseModelOutput(states)
        if part == "encoder":
            self.model.model.encoder(features, **routing(self.model, prompts))
        elif part == "prefill":
            self.model(encoder_outputs=encoder_outputs, decoder_input_ids=prompts)
        else:
            languages = [self.languages[row % len(self.languages)] for row in range(len(prompts))]
            length = {"min_new_tokens": text.shape[1], "max_new_tokens": text.shape[1]}
            forced = [ForcedText(text, prompts.shape[1])]
            settings = {"language": languages, "task": "transcribe", "logits_processor": forced, **length}
            return self.model.generate(encoder_outputs=encoder_outputs, **settings)
        return None

    def facts(self) -> dict:
        return {"weights": sum(tensor.numel() * tensor.element_size() for tensor in self.model.parameters())}


def random_text(rows: int, tokens: int) -> torch.Tensor:
    return torch.randint(256, (rows, tokens))  # letters, which the vocabulary begins with


def routing(model, prompts: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"language_ids": model.read_prompt(prompts)[0]} if hasattr(model, "read_prompt") else {}


def make_model(size: str, languages: list[str], rank: int):
    plain = make_whisper(size, seed=0).eval()
    if not languages:
        return plain
    model = with_experts(plain, languages, rank).eval()
    set_seed(0)
    config = model.config
    with torch.inference_mode():
        for language in languages:
            prompts, text = prompts_of(model, [language] * 2), random_text(2, 40)
            features = torch.randn(2, config.num_mel_bins, 2 * config.max_source_positions)
            outputs = model(features, decoder_input_ids=torch.cat([prompts, text], dim=1), output_gates=True)
            logits = [*outputs.encoder_gate_logits, *(one[:, 4:] for one in outputs.decoder_gate_logits)]
            for layer, layer_logits in zip(model.routed_layers().values(), logits, strict=True):
                layer.experts[language].gate.threshold.fill_(layer_logits.median())
    return model


def prompts_of(model, languages: list[str]) -> torch.Tensor:
    """Whisper's prompt of four tokens for rows in these languages."""
    generation = model.generation_config
    start, end = (
        [generation.decoder_start_token_id],
        [generation.task_to_id["transcribe"], generation.no_timestamps_token_id],
    )
    rows = [[*start, generation.lang_to_id[language_token(language)], *end] for language in languages]
    return torch.tensor(rows, device=model.device)


def with_experts(plain, languages: list[str], rank: int) -> DistilWhisperForConditionalGeneration:
    config = DistilWhisperForConditionalGeneration.config_class(**plain.config.to_dict() | {"expert_rank": rank})
    model = DistilWhisperForConditionalGeneration(config)
    model.load_state_dict(plain.state_dict())
    model.generation_config = plain.generation_config
    for language in languages:
        model.add_language(language)
    return model
