"""One language as a plain Whisper, for every tool that runs Whisper: each layer has one path for all tokens."""

import copy
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor

from ..configuration_distilwhisper import DistilWhisperConfig
from ..languages_distilwhisper import known_languages, without_own_tokens
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..runs.files import write_atomically

# From the expert usage of a layer to the share of the expert in its weights: 1 is the expert, 0 the shared path.
WAYS: dict[str, Callable[[float], float]] = {
    "majority": lambda share: float(share > 0.5),
    "mean": lambda share: share,
    "experts": lambda share: 1.0,
}


@torch.no_grad()
def export_to_whisper(
    model: DistilWhisperForConditionalGeneration,
    language: str,
    shares: Mapping[tuple[str, int], float],
    as_language: str | None = None,
) -> WhisperForConditionalGeneration:
    """Makes a plain Whisper whose feed-forwards are the experts of one language, the shared ones, or means of both.

    A language that Whisper has no token for takes that of another, which then means this one: more tokens would move
    the ids at which every tool expects Whisper's timestamps.

    Args:
        model: not quantised.
        language: code of the language.
        shares: the share of the expert in each layer's weights, by side and index, the keys of `routed_layers`. 1 is
            the expert, 0 is the shared feed-forward, and a share between them gives the weighted mean.
        as_language: code of the language whose token it takes; by default its own, or its relative's.

    Returns:
        The Whisper, in evaluation mode, on the model's device and in its dtype.

    Raises:
        ValueError: the language has no expert, the share of a layer is missing or not from 0 to 1, or the model is
            quantised.

    Example:
        >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration, export_to_whisper
        >>> model = DistilWhisperForConditionalGeneration.from_whisper("examples/quickstart/student", languages=["ca"])
        >>> shares = {layer: 1.0 for layer in model.routed_layers()}
        >>> whisper = export_to_whisper(model, "ca", shares)
        >>> type(whisper).__name__, whisper.config.model_type
        ('WhisperForConditionalGeneration', 'whisper')
    """
    experts = model.experts_of(language)
    if shares.keys() != experts.keys() or not all(0 <= share <= 1 for share in shares.values()):
        raise ValueError(f"Expected a share from 0 to 1 for each of the layers {list(experts)}, got {dict(shares)}.")
    if getattr(model, "is_quantized", False):
        raise ValueError("A quantised model's weights cannot be mixed. Load it in float32, and quantise the export.")
    plain: Any = WhisperForConditionalGeneration(whisper_config(model.config))
    plain.to(model.device, model.dtype)
    plain.load_state_dict({key: tensor for key, tensor in model.state_dict().items() if ".experts." not in key})
    plain.generation_config = copy.deepcopy(model.generation_config)
    known = known_languages(model)
    if getattr(plain.generation_config, "lang_to_id", None):
        names = without_own_tokens(plain.generation_config.lang_to_id, model.config.vocab_size)
        plain.generation_config.lang_to_id = names
    if known[model.language_called(language)] >= model.config.vocab_size:
        parts: Any = model.modules_of(language).parts
        plain.model.decoder.embed_tokens.weight[known[code_in_export(model, language, as_language)]] = parts.embedding
    sides = {"encoder": plain.model.encoder.layers, "decoder": plain.model.decoder.layers}
    for (side, index), expert in experts.items():
        for name in ("fc1", "fc2"):
            shared = getattr(model.routed_layers()[side, index], name)
            matrix = getattr(sides[side][index], name)
            weight, bias = getattr(expert, name).dense(shared)
            matrix.weight.lerp_(weight, shares[side, index])
            matrix.bias.lerp_(bias, shares[side, index])
    return plain.eval()


def code_in_export(model: DistilWhisperForConditionalGeneration, language: str, as_language: str | None = None) -> str:
    """The code by which an exported plain Whisper is asked for a language.

    Raises:
        ValueError: Whisper has no token for the language, it has no relative, and none is given; or that has none.
    """
    code = model.whisper_language(as_language or language)
    if code is None or (as_language and known_languages(model)[code] >= model.config.vocab_size):
        raise ValueError(
            f"Whisper has no token for {as_language or language!r}, and no relative of it is known. Say whose token it "
            "takes: --as_language cy, or `as_language`."
        )
    return code


def whisper_config(config: DistilWhisperConfig) -> WhisperConfig:
    """The settings of a plain Whisper, without those of experts."""
    known = WhisperConfig().to_dict().keys()
    settings = {name: value for name, value in config.to_dict().items() if name in known}
    return WhisperConfig.from_dict(settings | {"model_type": "whisper", "architectures": None})


def save_processor(processor: WhisperProcessor, folder: str | os.PathLike, vocab_size: int | None = None) -> None:
    """Writes the files of a processor that Transformers reads, and those that other tools read.

    faster-whisper reads the number of mel bins from `preprocessor_config.json`. The converter of whisper.cpp reads the
    tokens from `vocab.json` and `added_tokens.json`. With a
    `vocab_size`, tokens from this id on are left out: those of languages that Whisper has none for.
    """
    processor.save_pretrained(folder)
    processor.feature_extractor.save_pretrained(folder)
    if vocab_size is not None:
        _drop_tokens(Path(folder), vocab_size)
    tokens = processor.tokenizer.backend_tokenizer
    vocabulary = tokens.get_vocab(with_added_tokens=False)
    added = {
        token: number
        for token, number in tokens.get_vocab().items()
        if token not in vocabulary and (vocab_size is None or number < vocab_size)
    }
    for name, content in {"vocab.json": vocabulary, "added_tokens.json": added}.items():
        write_atomically(Path(folder, name), json.dumps(content, ensure_ascii=False))


def _drop_tokens(folder: Path, vocab_size: int) -> None:
    """Takes the tokens from an id on out of the files of a saved tokenizer."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] < vocab_size]
    write_atomically(path, json.dumps(content, ensure_ascii=False))
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    if "added_tokens_decoder" in settings:
        listed = settings["added_tokens_decoder"]
        settings["added_tokens_decoder"] = {
            number: token for number, token in listed.items() if int(number) < vocab_size
        }
        write_atomically(path, json.dumps(settings, ensure_ascii=False, indent=2))
