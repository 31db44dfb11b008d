"""Counts the parameters of the report's models, from the classes of the models: nothing is downloaded or allocated.

    python examples/paper/parameters.py

The table stands under the report's Table 6 too (reproduce.py).
"""

from collections.abc import Iterator

import torch
from tabulate import tabulate
from torch import nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

from modeling_distilwhisper import DistilWhisperConfig, DistilWhisperForConditionalGeneration
from modeling_distilwhisper.expert_layers_distilwhisper import LanguageExpert
from modeling_distilwhisper.reporting.model_card import count_parameters
from modeling_distilwhisper.runs.extras import require
from modeling_distilwhisper.training.lora import with_lora

# Width, layers and heads of each side (the report's Table 1, Whisper's config.json).
SIZES = {"base": (512, 6, 8), "small": (768, 12, 12), "large-v2": (1280, 32, 20)}
# In millions, as the report prints them: the complete model (Table 6, of base Table 1), and what it says is added.
PRINTED = {
    "whisper-large-v2": (1500, None),
    "whisper-small": (244, None),
    "LoRA-FT r=32": (256, 12),
    "LoRA-FT r=64": (267, 23),
    "CLSR-FT, DistilWhisper": (269, 25),
    "whisper-base": (74, None),
}


def main() -> None:
    print(table())


def table() -> str:
    """The counts beside what the report prints, as a table in Markdown."""
    return tabulate(rows(), headers="keys", tablefmt="github", missingval="–")


def rows() -> Iterator[dict[str, str | None]]:
    """A row for each model: its parameters, those that are added to a plain Whisper, and what the report prints."""
    yield row("whisper-large-v2", whisper("large-v2"))
    yield row("whisper-small", whisper("small"))
    for rank in (32, 64):
        yield row(f"LoRA-FT r={rank}", whisper("small"), lora("small", rank))
    yield row("CLSR-FT, DistilWhisper", whisper("small"), experts("small"))
    yield row("the same, experts of rank 128", whisper("small"), experts("small", rank=128))
    yield row("whisper-base", whisper("base"))
    yield row("whisper-base with full experts", whisper("base"), experts("base"))


def row(model: str, plain: int, added: int = 0) -> dict[str, str | None]:
    complete, more = PRINTED.get(model, (None, None))
    return {
        "model": model,
        "counted, M": f"{(plain + added) / 1e6:.1f}",
        "added, M": f"{added / 1e6:.1f} (+{100 * added / plain:.0f} %)" if added else None,
        "the report: all, M": complete and str(complete),
        "the report: added, M": more and str(more),
    }


def config_of(size: str, kind: type[WhisperConfig] = WhisperConfig, **settings) -> WhisperConfig:
    width, layers, heads = SIZES[size]
    sides = {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * width}
    shape = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()}
    return kind(d_model=width, vocab_size=51865, **shape, **settings)


def whisper(size: str) -> int:
    """Parameters of a plain Whisper."""
    return count_parameters([plain_whisper(size)])


def plain_whisper(size: str) -> WhisperForConditionalGeneration:
    with torch.device("meta"):
        return WhisperForConditionalGeneration(config_of(size))


def lora(size: str, rank: int) -> int:
    """Parameters that LoRA trains: on fc1 and fc2 of every layer."""
    require("peft")
    with torch.device("meta"):
        return trained(with_lora(plain_whisper(size), rank))


def experts(size: str, rank: int = 0) -> int:
    """Parameters of one language's experts and gates: rank 0 is full experts."""
    config = config_of(size, DistilWhisperConfig, expert_rank=rank)
    with torch.device("meta"):
        layers = DistilWhisperForConditionalGeneration(config).routed_layers().values()
        return count_parameters([LanguageExpert(config, layer.expert_ffn_dim) for layer in layers])


def trained(model: nn.Module) -> int:
    return sum(weights.numel() for weights in model.parameters() if weights.requires_grad)


if __name__ == "__main__":
    main()
