"""What `generate` leaves behind for a second pass of the decoder: it need not be computed again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from ..cache_distilwhisper import CACHE, cache_in


@dataclass
class Heard:
    """What a decoder attends to, of a batch of windows.

    Attributes:
        states: of the encoder `(windows, frames, d_model)`.
        cache: of the decoder, as it was last used.
    """

    states: torch.Tensor
    cache: EncoderDecoderCache | None = None

    def window(self, index: int) -> dict[str, Any]:
        """The arguments of the model for one window, with the keys and values of its cross-attention if they are
        there: with beams, several rows belong to a window."""
        arguments: dict[str, Any] = {"encoder_outputs": BaseModelOutput(self.states[index : index + 1])}
        layers = [] if self.cache is None else self.cache.cross_attention_cache.layers
        # Some versions make a layer for each of the encoder, which may have more than the decoder.
        layers = [layer for layer in layers if layer.keys is not None]
        size = self.states.shape[:2]
        if layers and all(layer.keys.shape[0] == size[0] and layer.keys.shape[2] == size[1] for layer in layers):
            known = DynamicCache()
            for number, layer in enumerate(layers):
                known.update(layer.keys[index : index + 1], layer.values[index : index + 1], number)
            arguments[CACHE] = EncoderDecoderCache(DynamicCache(), known)
        return arguments


@contextmanager
def heard_by(model) -> Iterator[Heard]:
    """Within it, what the first call of a model's encoder and the last one of its decoder left is kept.

    Windows that are decoded again, at another temperature, are encoded again, without the others.
    """
    heard = Heard(torch.zeros(0, 0, 0))

    def keep_states(module, given, output) -> None:
        if not len(heard.states):
            heard.states = output[0]

    def keep_cache(module, given, named) -> None:
        cache = cache_in(named)
        heard.cache = cache if isinstance(cache, EncoderDecoderCache) else None

    hooks = [
        model.get_encoder().register_forward_hook(keep_states),
        model.get_decoder().register_forward_pre_hook(keep_cache, with_kwargs=True),
    ]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()
