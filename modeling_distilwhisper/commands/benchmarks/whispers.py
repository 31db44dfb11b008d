"""Whispers of the published sizes with random weights: time and memory do not depend on what a model has learned."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
    set_seed,
)

# Width, layers of each side, heads, as published; and the least, for a try.
SIZES = {
    "least": (128, 1, 2),
    "tiny": (384, 4, 6),
    "base": (512, 6, 8),
    "small": (768, 12, 12),
    "medium": (1024, 24, 16),
    "large-v2": (1280, 32, 20),
}
LANGUAGES = ["gl", "ca", "hu", "uk", "fi", "hi", "ta", "th"]


@contextmanager
def made_on(device: str, precision: str = "float32") -> Iterator[None]:
    """Within it, tensors and weights are made on this device, in this precision: a large model takes a CPU minutes."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, precision))
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def make_processor() -> WhisperProcessor:
    """Whisper's features and control tokens, with a vocabulary of letters."""
    letters = {letter: index for index, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = WhisperTokenizer(vocab=letters | {"<|endoftext|>": len(letters)}, merges=[], pad_token="<|endoftext|>")
    names = ("startoftranscript", *LANGUAGES, "translate", "transcribe", "notimestamps")
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{name}|>" for name in names]})
    return WhisperProcessor(WhisperFeatureExtractor(), tokenizer)


def make_whisper(size: str, seed: int) -> WhisperForConditionalGeneration:
    width, layers, heads = SIZES[size]
    tokenizer = make_processor().tokenizer

    def ids(*names: str) -> dict[str, int]:
        return {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in names}

    end, start, no_timestamps = ids("endoftext", "startoftranscript", "notimestamps").values()
    set_seed(seed)
    config = WhisperConfig(
        **{
            f"{side}_{name}": value
            for side in ("encoder", "decoder")
            for name, value in {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * width}.items()
        },
        d_model=width,
        decoder_start_token_id=start,
        **{f"{name}_token_id": end for name in ("pad", "bos", "eos")},
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        lang_to_id={f"<|{code}|>": token for code, token in ids(*LANGUAGES).items()},
        task_to_id=ids("translate", "transcribe"),
        is_multilingual=True,
        no_timestamps_token_id=no_timestamps,
        decoder_start_token_id=start,
        **{f"{name}_token_id": end for name in ("pad", "bos", "eos")},
    )
    return model
