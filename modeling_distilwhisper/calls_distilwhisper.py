"""What a call carries with it: gates that are forced, and the experts that a model had when `generate` was called.

A context variable holds it, not the model: calls in other threads and in other asynchronous tasks do not see it.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class ExpertsOfCall:
    """The experts of an encoder, a decoder or a model at one moment.

    Attributes:
        by_token: language token id -> language code.
        by_layer: layer index -> language code -> expert; empty for a model, `None` for those that each layer has.
        embeddings: of a decoder, token id -> `(d_model,)`, of languages whose token is not in the vocabulary.
    """

    by_token: Mapping[int, str]
    by_layer: Mapping[int, Mapping[str, nn.Module]] | None
    embeddings: Mapping[int, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Detection:
    """How a call of `generate` decides which language is spoken.

    Attributes:
        candidates: names of the languages to choose from; `None`: all that can be detected.
        is_trained: whether trained detection rows take part.
    """

    candidates: tuple[str, ...] | None = None
    is_trained: bool = False


@dataclass(frozen=True)
class CallState:
    """What a call carries with it.

    Attributes:
        gates: layer -> whether all its gates are open (`True`) or closed (`False`).
        experts: encoder, decoder or model -> the experts that the call uses.
        detection: how the language of rows without one is detected.
    """

    gates: Mapping[nn.Module, bool] = field(default_factory=dict)
    experts: Mapping[nn.Module, ExpertsOfCall] = field(default_factory=dict)
    detection: Detection = Detection()


_NOTHING = CallState()
_STATE: ContextVar[CallState] = ContextVar("distilwhisper_call", default=_NOTHING)


def call_state() -> CallState:
    """What this call carries with it. Nothing while a graph is compiled: compilers cannot read context variables."""
    return _NOTHING if torch.compiler.is_dynamo_compiling() else _STATE.get()


@contextmanager
def calls_with(
    gates: Mapping[nn.Module, bool] | None = None,
    experts: Mapping[nn.Module, ExpertsOfCall] | None = None,
    detection: Detection | None = None,
) -> Iterator[None]:
    """Within it, calls of this thread or task carry these entries too. They replace older ones of the same modules."""
    state = _STATE.get()
    token = _STATE.set(
        replace(
            state,
            gates={**state.gates, **(gates or {})},
            experts={**state.experts, **(experts or {})},
            detection=detection or state.detection,
        )
    )
    try:
        yield
    finally:
        _STATE.reset(token)


def experts_now(config, sides: Iterable[Any]) -> dict[nn.Module, ExpertsOfCall]:
    """The experts of an encoder, a decoder or both at this moment, while other threads may add or remove languages.

    Args:
        config: the `DistilWhisperConfig` of the sides.
        sides: the encoder, the decoder or both.

    Raises:
        KeyError: the config lists a language whose experts a layer does not have.
    """
    while True:
        by_token = config.experts_by_token
        languages = list(by_token.values())
        try:
            return {
                side: ExpertsOfCall(
                    by_token,
                    {
                        layer.layer_idx: {code: layer.experts[code] for code in languages if side.has_experts}
                        for layer in side.layers
                    },
                    side.own_embeddings(by_token),
                )
                for side in sides
            }
        except KeyError:
            if config.experts_by_token == by_token:
                raise
            # Else another thread has removed a language meanwhile: read again.


def keep_experts(model) -> AbstractContextManager[None]:
    """Within it, calls of this thread or task use the experts that a model has now, or those that are kept already.

    Args:
        model: a `DistilWhisperForConditionalGeneration` or `DistilWhisperModel`.
    """
    if torch.compiler.is_dynamo_compiling() or model in _STATE.get().experts:
        return nullcontext()
    base = model.base_model
    sides = experts_now(model.config, [base.encoder, base.decoder])
    of_model = ExpertsOfCall(sides[base.encoder].by_token, {})
    return calls_with(experts={model: of_model, base: of_model, **sides})


__all__ = ["CallState", "Detection", "ExpertsOfCall", "call_state", "calls_with", "experts_now", "keep_experts"]
