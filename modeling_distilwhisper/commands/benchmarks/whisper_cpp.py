"""A plain Whisper as whisper.cpp reads it, to compare with: no published package writes these files."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor
from transformers.convert_slow_tokenizer import bytes_to_unicode

from ...runs.files import atomic_path

MAGIC = 0x67676D6C
FLOAT32, FLOAT16 = 0, 1  # ggml's numbers of the types
WORDS = 50257  # of a multilingual Whisper; whisper.cpp names the special tokens after them itself
VOCABULARIES = (51865, 51866)  # the second: of large-v3
# From the names of Transformers to those of OpenAI, in this order.
RENAMED = {
    "model.": "",
    "layers.": "blocks.",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "self_attn_layer_norm": "attn_ln",
    "final_layer_norm": "mlp_ln",
    "encoder.layer_norm": "encoder.ln_post",
    "decoder.layer_norm": "decoder.ln",
    "encoder_attn": "cross_attn",
    "self_attn": "attn",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "out",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "embed_positions.weight": "positional_embedding",
    "embed_tokens": "token_embedding",
}


def check_ggml(config: WhisperConfig) -> None:
    """Refuses a model that whisper.cpp cannot read.

    Raises:
        ValueError: it is no plain Whisper, or has another vocabulary than OpenAI's multilingual ones.
    """
    if config.vocab_size not in VOCABULARIES or config.model_type != "whisper":
        raise ValueError(
            f"whisper.cpp reads plain multilingual Whispers, which have {' or '.join(map(str, VOCABULARIES))} tokens. "
            f"Got a {config.model_type} model with {config.vocab_size}."
        )


def write_ggml(model: WhisperForConditionalGeneration, processor: WhisperProcessor, path: Path) -> None:
    """Writes a multilingual Whisper, its matrices in float16: whisper.cpp takes no others unless they are quantised.

    Args:
        model: a plain one.
        processor: the model's.
        path: of the file.
    """
    config, filters = model.config, np.asarray(processor.feature_extractor.mel_filters, np.float32).T
    sizes = [config.vocab_size, config.max_source_positions, config.d_model, config.encoder_attention_heads]
    sizes += [config.encoder_layers, config.max_target_positions, config.d_model, config.decoder_attention_heads]
    sizes += [config.decoder_layers, config.num_mel_bins, FLOAT16]
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(struct.pack("<12I", MAGIC, *sizes))
        file.write(struct.pack("<2i", *filters.shape) + np.ascontiguousarray(filters).tobytes())
        file.write(struct.pack("<i", WORDS))
        for word in _words(processor):
            file.write(struct.pack("<i", len(word)) + word)
        for name, tensor in model.state_dict().items():
            if name != "proj_out.weight":  # the embedding
                _write_tensor(file, _renamed(name), tensor)


def _write_tensor(file, name: str, tensor: torch.Tensor) -> None:
    values = tensor.detach().float().cpu().numpy()
    is_matrix = values.ndim > 1 and not name.endswith("positional_embedding")
    if name.startswith("encoder.conv") and name.endswith("bias"):
        values = values[:, None]  # one value for each channel, the same for all frames
    file.write(struct.pack("<3i", values.ndim, len(name), FLOAT16 if is_matrix else FLOAT32))
    file.write(struct.pack(f"<{values.ndim}i", *reversed(values.shape)) + name.encode())
    file.write(np.ascontiguousarray(values, np.float16 if is_matrix else np.float32).tobytes())


def _renamed(name: str) -> str:
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    return name


def _words(processor: WhisperProcessor) -> Iterator[bytes]:
    """The bytes of each token that is no special one."""
    byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}
    for token in processor.tokenizer.convert_ids_to_tokens(range(WORDS)):
        yield bytes(byte_of[letter] for letter in token)
