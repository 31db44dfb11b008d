"""One language as a plain Whisper, which every tool for Whisper runs: each layer's path is fixed for all tokens."""

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor

from ..configuration_distilwhisper import DistilWhisperConfig
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..runs.files import write_whole

# What a layer becomes whose gate sends this share of the tokens to the expert: 1 is the expert, 0 the shared path.
WAYS = {
    "majority": lambda share: float(share > 0.5),
    "mean": lambda share: share,
    "experts": lambda share: 1.0,
}


@torch.no_grad()
def export_to_whisper(
    model: DistilWhisperForConditionalGeneration, language: str, shares: Mapping[tuple[str, int], float]
) -> WhisperForConditionalGeneration:
    """A Whisper whose feed-forwards are the language's experts, Whisper's own, or in between.

    Args:
        model: not quantised.
        shares: of each layer, by side and index as `routed_layers` names them: 1 for the expert, 0 for the shared
            feed-forward, and in between the mean of both's weights, where the expert has this share.

    Raises:
        ValueError: the language has no expert, a layer's share is missing or not from 0 to 1, or the model is
            quantised.
    """
    experts = model.experts_of(language)
    if shares.keys() != experts.keys() or not all(0 <= share <= 1 for share in shares.values()):
        raise ValueError(f"Expected for each of the layers {list(experts)} a share from 0 to 1, got {dict(shares)}.")
    if getattr(model, "is_quantized", False):
        raise ValueError("A quantised model's weights cannot be mixed. Load it in float32, and quantise the export.")
    plain = WhisperForConditionalGeneration(whisper_config(model.config)).to(model.device, model.dtype)
    plain.load_state_dict({key: tensor for key, tensor in model.state_dict().items() if ".experts." not in key})
    plain.generation_config = copy.deepcopy(model.generation_config)
    sides = {"encoder": plain.model.encoder.layers, "decoder": plain.model.decoder.layers}
    for (side, index), expert in experts.items():
        for name in ("fc1", "fc2"):
            shared = getattr(model.routed_layers()[side, index], name)
            matrix = getattr(sides[side][index], name)
            weight, bias = getattr(expert, name).dense(shared)
            matrix.weight.lerp_(weight, shares[side, index])
            matrix.bias.lerp_(bias, shares[side, index])
    return plain.eval()


def whisper_config(config: DistilWhisperConfig) -> WhisperConfig:
    """The settings that a plain Whisper has, without those of experts."""
    known = WhisperConfig().to_dict().keys()
    settings = {name: value for name, value in config.to_dict().items() if name in known}
    return WhisperConfig.from_dict(settings | {"model_type": "whisper", "architectures": None})


def save_processor(processor: WhisperProcessor, folder: str | os.PathLike) -> None:
    """Writes a processor, and beside the files that Transformers reads those that other tools do.

    `preprocessor_config.json` tells faster-whisper how many mel bins there are; whisper.cpp's converter takes tokens
    from `vocab.json` and `added_tokens.json`.
    """
    processor.save_pretrained(folder)
    processor.feature_extractor.save_pretrained(folder)
    tokens = processor.tokenizer.backend_tokenizer
    vocabulary = tokens.get_vocab(with_added_tokens=False)
    added = {token: number for token, number in tokens.get_vocab().items() if token not in vocabulary}
    for name, content in {"vocab.json": vocabulary, "added_tokens.json": added}.items():
        write_whole(Path(folder, name), json.dumps(content, ensure_ascii=False))
