"""One language as ONNX: encoder and decoder with cache. In every layer the gate blends both paths.

Files, inputs and outputs have the names that Optimum gives to those of a Whisper.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim
from transformers import DynamicCache, EncoderDecoderCache

from ..cache_distilwhisper import CACHE
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..own_tokens_distilwhisper import hide_own_tokens
from ..runs.files import staged_folder
from .whisper import whisper_config

ENCODER, DECODER, DECODER_WITH_PAST = "encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"
OPSET = 20
CACHE_KINDS = ("decoder.key", "decoder.value", "encoder.key", "encoder.value")


@torch.no_grad()
def export_to_onnx(
    model: DistilWhisperForConditionalGeneration, language: str, output_dir: str | os.PathLike
) -> list[Path]:
    """Writes three graphs that transcribe one language, and their configuration.

    - `encoder_model.onnx`: from `input_features` to `last_hidden_state`.
    - `decoder_model.onnx`, for the prompt: from `input_ids` and `encoder_hidden_states` to `logits` and the cache,
      `present.*`.
    - `decoder_with_past_model.onnx`, for each later token: from `input_ids` and the cache, `past_key_values.*`, to
      `logits` and the part of the cache that changes.

    The number of rows and tokens is free. Gates decide within the graph, so every token passes through both paths.

    Args:
        model: in float32, on the CPU, in evaluation mode, not quantised.
        language: code of the language.
        output_dir: folder of the files; made if it does not exist.

    Returns:
        The paths of the graphs.

    Raises:
        ValueError: the language has no expert, or the model is not as described.
        ImportError: onnx or onnxscript is missing.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration, export_to_onnx
        >>> model = DistilWhisperForConditionalGeneration.from_whisper(
        ...     "examples/quickstart/student", languages=["ca"], dtype=torch.float32
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = export_to_onnx(model.eval(), "ca", folder)  # doctest: +SKIP
        >>> [path.name for path in paths]  # doctest: +SKIP
        ['encoder_model.onnx', 'decoder_model.onnx', 'decoder_with_past_model.onnx']
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export_to_onnx(model.train(), "ca", folder)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: Expected a model in float32 on the CPU, in evaluation mode and not quantised, got ... training ...
    """
    model.experts_of(language)
    is_float32_on_cpu = (model.dtype, model.device.type) == (torch.float32, "cpu")
    if not is_float32_on_cpu or model.training or getattr(model, "is_quantized", False):
        mode = "training" if model.training else "evaluation"
        raise ValueError(
            "Expected a model in float32 on the CPU, in evaluation mode and not quantised, got one in "
            f"{model.dtype} on {model.device} in {mode} mode. Load it with `dtype=torch.float32` and call `eval()`."
        )
    folder = Path(output_dir)
    graphs = _graphs(model, language)
    for graph in graphs:
        program = torch.onnx.export(
            graph.module.eval(),
            graph.example,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=graph.dynamic_shapes,
            input_names=graph.inputs,
            output_names=graph.outputs,
            verbose=False,
        )
        assert program is not None  # it is None without `dynamo`
        # Weights over 2 GB become a second file next to the graph, which refers to it by name.
        with staged_folder(folder, last=graph.file_name) as temporary:
            program.save(temporary / graph.file_name)
    with staged_folder(folder) as temporary:
        whisper_config(model.config).save_pretrained(temporary)
        model.generation_config.save_pretrained(temporary)
    return [folder / graph.file_name for graph in graphs]


@dataclass
class _Graph:
    """A module to export.

    Attributes:
        file_name: of the graph.
        module: computes it.
        example: inputs of the right shapes. Their values do not matter.
        dynamic_shapes: the free dimensions of each input.
        inputs: names, in order.
        outputs: names, in order.
    """

    file_name: str
    module: nn.Module
    example: tuple[Any, ...]
    dynamic_shapes: tuple[Any, ...]
    inputs: list[str]
    outputs: list[str]


def _graphs(model: DistilWhisperForConditionalGeneration, language: str) -> list[_Graph]:
    config, layers = model.config, range(model.config.decoder_layers)
    token = (config.language_token_ids or {})[language]
    rows, tokens, heads = 2, 3, config.decoder_attention_heads  # sizes of the examples
    features = torch.zeros(rows, config.num_mel_bins, 2 * config.max_source_positions)
    ids = torch.zeros(rows, tokens, dtype=torch.long)
    states = torch.zeros(rows, config.max_source_positions, config.d_model)
    lengths = {kind: tokens if kind.startswith("decoder") else states.shape[1] for kind in CACHE_KINDS}
    past = tuple(
        torch.zeros(rows, heads, lengths[kind], config.d_model // heads) for _ in layers for kind in CACHE_KINDS
    )
    batch, length, past_length = Dim("batch_size"), Dim("decoder_sequence_length"), Dim("past_decoder_sequence_length")
    past_shapes = tuple(
        {0: batch, 2: past_length} if kind.startswith("decoder") else {0: batch} for _ in layers for kind in CACHE_KINDS
    )
    cache_names = [f"{index}.{kind}" for index in layers for kind in CACHE_KINDS]
    present = [f"present.{name}" for name in cache_names]
    return [
        _Graph(ENCODER, _Encoder(model, token), (features,), ({0: batch},), ["input_features"], ["last_hidden_state"]),
        _Graph(
            DECODER,
            _Decoder(model, token),
            (ids, states),
            ({0: batch, 1: length}, {0: batch}),
            ["input_ids", "encoder_hidden_states"],
            ["logits", *present],
        ),
        _Graph(
            DECODER_WITH_PAST,
            _DecoderWithPast(model, token),
            (ids[:, :1], past),
            ({0: batch}, past_shapes),
            ["input_ids", *(f"past_key_values.{name}" for name in cache_names)],
            ["logits", *(name for name in present if ".decoder." in name)],
        ),
    ]


class _Encoder(nn.Module):
    def __init__(self, model, token: int):
        super().__init__()
        self.encoder, self.token = model.model.encoder, token

    def forward(self, input_features):
        ids = input_features.new_full((input_features.shape[0],), self.token, dtype=torch.long)
        return self.encoder(input_features, language_ids=ids).last_hidden_state


class _Decoder(nn.Module):
    """The first pass, over the prompt. It makes the cache."""

    def __init__(self, model, token: int):
        super().__init__()
        self.decoder, self.head, self.token = model.model.decoder, model.proj_out, token
        self.own_tokens = [token] if token >= model.config.vocab_size else []

    def forward(self, input_ids, encoder_hidden_states):
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        input_ids = hide_own_tokens(input_ids, self.own_tokens, self.decoder.config.decoder_start_token_id)
        logits = self._pass(input_ids, encoder_hidden_states, cache)
        both = zip(cache.self_attention_cache.layers, cache.cross_attention_cache.layers, strict=True)
        return logits, *(tensor for pair in both for layer in pair for tensor in (layer.keys, layer.values))

    def _pass(self, input_ids, encoder_hidden_states, cache):
        ids = input_ids.new_full((input_ids.shape[0],), self.token)
        states = self.decoder(
            input_ids,
            encoder_hidden_states=encoder_hidden_states,
            use_cache=True,
            language_ids=ids,
            decoder_language_ids=ids,
            **{CACHE: cache},
        ).last_hidden_state
        return self.head(states)


class _DecoderWithPast(_Decoder):
    """A later pass, over one token. The cache holds the encoder's keys and values."""

    def forward(self, input_ids, past):
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        for index in range(len(self.decoder.layers)):
            keys, values, encoder_keys, encoder_values = past[len(CACHE_KINDS) * index : len(CACHE_KINDS) * (index + 1)]
            cache.self_attention_cache.update(keys, values, index)
            cache.cross_attention_cache.update(encoder_keys, encoder_values, index)
            cache.is_updated[index] = True
        # The decoder uses only the shape of the encoder's states.
        states = past[2].new_zeros(input_ids.shape[0], past[2].shape[2], self.decoder.config.d_model)
        logits = self._pass(input_ids, states, cache)
        layers = cache.self_attention_cache.layers
        return logits, *(tensor for layer in layers for tensor in (layer.keys, layer.values))
