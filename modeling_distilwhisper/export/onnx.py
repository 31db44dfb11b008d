"""One language as ONNX: encoder and decoder with cache, both paths of every layer blended by its gates.

The files, their inputs and outputs are named as Optimum names those of a Whisper.
"""

import os
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim
from transformers import DynamicCache, EncoderDecoderCache

from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from .whisper import whisper_config

ENCODER, DECODER, DECODER_WITH_PAST = "encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"
OPSET = 20
KINDS = ("decoder.key", "decoder.value", "encoder.key", "encoder.value")


@torch.no_grad()
def export_to_onnx(
    model: DistilWhisperForConditionalGeneration, language: str, output_dir: str | os.PathLike
) -> list[Path]:
    """Writes three graphs, which transcribe this language, with its configuration.

    - `encoder_model.onnx`: `input_features` to `last_hidden_state`.
    - `decoder_model.onnx`, for the prompt: `input_ids` and `encoder_hidden_states` to `logits` and the cache,
      `present.*`.
    - `decoder_with_past_model.onnx`, for each token behind it: `input_ids` and the cache, `past_key_values.*`, to
      `logits` and what changed of the cache.

    Rows and tokens may be as many as one likes. Gates decide within the graph, so every token passes both paths.

    Args:
        model: in float32, on the CPU, in evaluation mode, not quantised.

    Returns:
        The paths of the graphs.

    Raises:
        ValueError: the language has no expert, or the model is not as `model` has to be.
        ImportError: onnx or onnxscript is missing.
    """
    model.experts_of(language)
    if (
        (model.dtype, model.device.type) != (torch.float32, "cpu")
        or model.training
        or getattr(model, "is_quantized", False)
    ):
        raise ValueError(
            "Expected a model in float32 on the CPU, in evaluation mode and not quantised, got one in "
            f"{model.dtype} on {model.device}. Load it with `dtype=torch.float32`."
        )
    token = model.config.language_token_ids[language]
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    config, layers = model.config, range(model.config.decoder_layers)
    rows, tokens = 2, 3  # of the examples, whatever their values
    features = torch.zeros(rows, config.num_mel_bins, 2 * config.max_source_positions)
    ids = torch.zeros(rows, tokens, dtype=torch.long)
    heard = torch.zeros(rows, config.max_source_positions, config.d_model)
    heads = config.decoder_attention_heads
    past = tuple(
        torch.zeros(rows, heads, tokens if kind.startswith("decoder") else heard.shape[1], config.d_model // heads)
        for _ in layers
        for kind in KINDS
    )
    batch, length, before = Dim("batch_size"), Dim("decoder_sequence_length"), Dim("past_decoder_sequence_length")
    cached = tuple(
        {0: batch, 2: before} if kind.startswith("decoder") else {0: batch} for _ in layers for kind in KINDS
    )
    names = [f"{index}.{kind}" for index in layers for kind in KINDS]
    changed = [name for name in names if ".decoder." in name]
    graphs = {
        ENCODER: (
            _Encoder(model, token),
            (features,),
            ({0: batch},),
            (["input_features"], ["last_hidden_state"]),
        ),
        DECODER: (
            _Decoder(model, token),
            (ids, heard),
            ({0: batch, 1: length}, {0: batch}),
            (["input_ids", "encoder_hidden_states"], ["logits", *(f"present.{name}" for name in names)]),
        ),
        DECODER_WITH_PAST: (
            _DecoderWithPast(model, token),
            (ids[:, :1], past),
            ({0: batch}, cached),
            (
                ["input_ids", *(f"past_key_values.{name}" for name in names)],
                ["logits", *(f"present.{name}" for name in changed)],
            ),
        ),
    }
    for name, (graph, example, dynamic, (inputs, outputs)) in graphs.items():
        program = torch.onnx.export(
            graph.eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=dynamic,
            input_names=inputs,
            output_names=outputs,
            verbose=False,
        )
        # Aside, in a folder: weights over 2 GB become a file of their own beside the graph, known to it by name.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial") as aside:
            program.save(Path(aside, name))
            for path in sorted(Path(aside).iterdir(), key=lambda path: path.name == name):  # the graph comes last
                path.replace(folder / path.name)
    whisper_config(config).save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    return [folder / name for name in graphs]


class _Encoder(nn.Module):
    def __init__(self, model, token: int):
        super().__init__()
        self.encoder, self.token = model.model.encoder, token

    def forward(self, input_features):
        ids = input_features.new_full((input_features.shape[0],), self.token, dtype=torch.long)
        return self.encoder(input_features, language_ids=ids).last_hidden_state


class _Decoder(nn.Module):
    """The first pass, over the prompt: makes the cache."""

    def __init__(self, model, token: int):
        super().__init__()
        self.decoder, self.head, self.token = model.model.decoder, model.proj_out, token

    def forward(self, input_ids, encoder_hidden_states):
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        logits = self._pass(input_ids, encoder_hidden_states, cache)
        both = zip(cache.self_attention_cache.layers, cache.cross_attention_cache.layers, strict=True)
        return logits, *(tensor for pair in both for layer in pair for tensor in (layer.keys, layer.values))

    def _pass(self, input_ids, encoder_hidden_states, cache):
        ids = input_ids.new_full((input_ids.shape[0],), self.token)
        states = self.decoder(
            input_ids,
            encoder_hidden_states=encoder_hidden_states,
            past_key_values=cache,
            use_cache=True,
            decoder_language_ids=ids,
        ).last_hidden_state
        return self.head(states)


class _DecoderWithPast(_Decoder):
    """Every pass after the first: what was heard is in the cache."""

    def forward(self, input_ids, past):
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        for index in range(len(self.decoder.layers)):
            own = past[len(KINDS) * index : len(KINDS) * (index + 1)]
            cache.self_attention_cache.update(own[0], own[1], index)
            cache.cross_attention_cache.update(own[2], own[3], index)
            cache.is_updated[index] = True
        # Of what was heard only the shape is asked for.
        heard = past[2].new_zeros(input_ids.shape[0], past[2].shape[2], self.decoder.config.d_model)
        logits = self._pass(input_ids, heard, cache)
        layers = cache.self_attention_cache.layers
        return logits, *(tensor for layer in layers for tensor in (layer.keys, layer.values))
