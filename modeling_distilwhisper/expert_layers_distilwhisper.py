"""The parts of a language's expert in one layer: its gate and its feed-forward, full or of low rank."""

import copy
import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from .configuration_distilwhisper import DistilWhisperConfig

FEW_TOKENS, BLOCKS = 8, 8  # see `multiply`


class SharedFeedForward(Protocol):
    """The part of a layer that its experts use: the shared matrices and the activation between them."""

    fc1: nn.Linear
    fc2: nn.Linear
    activation_fn: Callable[[torch.Tensor], torch.Tensor]


class LanguageGate(nn.Module):
    """Scores each token: `G(z) = relu(z W1 + b1) w2` (eq. 4.3). The gate is open where `G(z) >= threshold` (eq. 4.4).

    The report's threshold is 0. In hard training the threshold follows the budget's quantile of `G` instead. Before
    training it is minus infinity, so that a new gate is open for every token.
    """

    threshold: torch.Tensor

    def __init__(self, config: DistilWhisperConfig):
        super().__init__()
        self.hidden = nn.Linear(config.d_model, config.gate_dim)
        self.score = nn.Linear(config.gate_dim, 1, bias=False)
        self.dropout = nn.Dropout(config.gate_dropout)
        self.threshold_at_start = 0.0 if config.gate_training == "soft" else -torch.inf
        self.register_buffer("threshold", torch.tensor(self.threshold_at_start))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """`(batch, tokens, d_model)` to gate logits `(batch, tokens)`."""
        return self.score(torch.relu(self.hidden(self.dropout(states)))).squeeze(-1)

    def at_inference(self, states: torch.Tensor) -> torch.Tensor:
        """`forward` without submodules: in a decoding step, calling them costs more than the computation."""
        hidden, score = self.hidden, self.score
        if not (is_bare(self) and is_plain(hidden) and is_plain(score) and hidden.weight.device == states.device):
            return self(states)
        activations = nn.functional.linear(states, hidden.weight, hidden.bias).relu_()
        return nn.functional.linear(activations, score.weight)[..., 0]


class FullLinear(nn.Linear):
    """A matrix of a full expert: at first a copy of the shared matrix."""

    def copy_shared(self, shared: nn.Linear) -> None:
        """Makes this matrix and bias equal to the shared ones."""
        self.weight.data.copy_(dense_weight(shared))
        self.bias.data.copy_(shared.bias)

    def dense(self, shared: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
        """The weight `(out, in)` and bias `(out,)` that the expert multiplies by."""
        return self.weight, self.bias


class LowRankLinear(nn.Module):
    """A matrix of a low-rank expert: weight = shared weight + up @ down, bias = shared bias + bias of `up`.

    `up` is zero at first, so that the expert starts as the shared path. `down` starts with random values as in LoRA,
    times the square root of 2: LoRA doubles its update, and here each of the two matrices has its share. The bias does
    not learn, as LoRA has none; that of a compressed expert is what the full one learned.
    """

    builds_on_shared = True  # a matrix without this attribute is full, whoever has replaced or wrapped it

    def __init__(self, in_features: int, out_features: int, rank: int):
        super().__init__()
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features)
        self.up.bias.requires_grad_(False)

    def forward(self, states: torch.Tensor, shared: nn.Linear, from_shared: torch.Tensor | None = None) -> torch.Tensor:
        """`(..., in)` to `(..., out)`.

        Args:
            states: `(..., in)`.
            shared: the layer's shared matrix.
            from_shared: `shared(states)`, `(..., out)`, if it is computed already.
        """
        return (shared(states) if from_shared is None else from_shared) + self.difference(states)

    def difference(self, states: torch.Tensor) -> torch.Tensor:
        """The output of this matrix minus the output of the shared matrix: `(..., in)` to `(..., out)`."""
        return self.up(self.down(states))

    def copy_shared(self, shared: nn.Linear) -> None:
        """Makes the difference from the shared matrix zero, with `down` at random values."""
        bound = math.sqrt(2 / self.down.in_features)
        nn.init.uniform_(self.down.weight, -bound, bound)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def dense(self, shared: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
        """The weight `(out, in)` and bias `(out,)` that the expert multiplies by."""
        return dense_weight(shared) + self.up.weight @ self.down.weight, shared.bias + self.up.bias


class LanguageExpert(nn.Module):
    """One language's feed-forward and gate in one layer. It starts as a copy of the shared feed-forward."""

    def __init__(self, config: DistilWhisperConfig, ffn_dim: int):
        super().__init__()
        self.fc1: FullLinear | LowRankLinear
        self.fc2: FullLinear | LowRankLinear
        if config.expert_rank:
            self.fc1 = LowRankLinear(config.d_model, ffn_dim, config.expert_rank)
            self.fc2 = LowRankLinear(ffn_dim, config.d_model, config.expert_rank)
        else:
            self.fc1 = FullLinear(config.d_model, ffn_dim)
            self.fc2 = FullLinear(ffn_dim, config.d_model)
        self.gate = LanguageGate(config)
        self.dropout = nn.Dropout(config.expert_dropout)

    @property
    def builds_on_shared(self) -> bool:
        """Whether the matrices are of low rank: differences from the shared ones."""
        return getattr(self.fc1, "builds_on_shared", False)

    @property
    def joins_shared(self) -> bool:
        """Whether the tokens of this expert can go through the shared matrices together with other tokens.

        Not if something is wrapped around the expert or its matrices, such as a hook: it must see their own calls.
        """
        return self.builds_on_shared and all(is_bare(module) for module in (self, self.fc1, self.fc2))

    @property
    def rank(self) -> int:
        """The rank of the expert's matrices, 0 if they are full."""
        fc1: Any = self.fc1
        return fc1.down.out_features if self.builds_on_shared else 0

    def forward(
        self, states: torch.Tensor, layer: SharedFeedForward, hidden: torch.Tensor | None = None
    ) -> torch.Tensor:
        """`(..., d_model)` to `(..., d_model)`, with the activation of `layer` and, for low ranks, its shared matrices.

        Args:
            states: `(..., d_model)`.
            layer: the layer that the expert belongs to.
            hidden: `layer.fc1(states)`, `(..., ffn_dim)`, if it is computed already: low ranks build on it.
        """
        if self.builds_on_shared:
            hidden = layer.activation_fn(self.fc1(states, layer.fc1, hidden))
            return self.dropout(self.fc2(hidden, layer.fc2))
        # Called as any matrix is: quantisers and adapters replace full ones by modules that take no other argument.
        return self.dropout(self.fc2(layer.activation_fn(self.fc1(states))))

    def at_inference(self, tokens: torch.Tensor, layer: SharedFeedForward) -> torch.Tensor:
        """`forward` of `(tokens, d_model)`, faster for few tokens."""
        if self.builds_on_shared or not is_bare(self):
            return self(tokens, layer)
        fc1: Any = self.fc1
        fc2: Any = self.fc2
        return multiply(fc2, layer.activation_fn(multiply(fc1, tokens)))


def multiply(linear: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    """`linear(states)`, `(tokens, in)` to `(tokens, out)`; for few tokens on a CPU, computed in another order.

    The results are equal up to rounding. In a decoding step most time goes into reading the matrices. MKL computes one
    token on one thread, unless it is given the matrix in blocks; for 2 to 5 tokens, `weight @ states.T` is up to twice
    as fast (both measured with AVX2, float32).
    """
    if len(states) > FEW_TOKENS or not is_plain(linear):
        return linear(states)
    if not (states.device.type == linear.weight.device.type == "cpu" and states.dtype == torch.float32):
        return linear(states)
    if len(states) == 1 and linear.out_features % BLOCKS == 0:
        blocks = linear.weight.unflatten(0, (BLOCKS, -1)).mT
        return torch.bmm(states.expand(BLOCKS, 1, -1), blocks).view(1, -1) + linear.bias
    return (linear.weight @ states.T).T.contiguous() + linear.bias


def is_plain(linear: nn.Module) -> bool:
    """Whether a layer multiplies by its `weight` and nothing else: not quantised, and without adapter or hook."""
    # The weights of quantisers are of other types.
    return type(linear) in (nn.Linear, FullLinear) and type(linear.weight) is nn.Parameter and is_bare(linear)


def is_bare(module: nn.Module) -> bool:
    """Whether a call of a module runs the `forward` of its class and nothing else: it has no hook and no wrapper."""
    hooks = module._forward_pre_hooks or module._forward_hooks or module._backward_pre_hooks or module._backward_hooks
    return not hooks and "forward" not in vars(module)


@torch.no_grad()
def dense_weight(linear: nn.Linear) -> torch.Tensor:
    """The matrix `(out, in)` that a layer multiplies by; of a quantised or adapted one, its output for unit vectors."""
    if is_plain(linear):
        return linear.weight
    units = torch.eye(linear.in_features, device=linear.bias.device, dtype=linear.bias.dtype)
    return (_without_dropout(linear)(units) - linear.bias).T


def _without_dropout(module: nn.Module) -> nn.Module:
    """The same module without dropout, in training mode otherwise. `module` does not change: threads may be using it.

    At inference bitsandbytes would quantise the unit vectors too, or pack its weights.
    """
    twin = copy.copy(module)
    twin._modules = {name: child and _without_dropout(child) for name, child in module._modules.items()}
    twin.training = not isinstance(module, nn.Dropout)
    return twin


__all__ = [
    "FullLinear",
    "LanguageExpert",
    "LanguageGate",
    "LowRankLinear",
    "dense_weight",
    "is_bare",
    "is_plain",
    "multiply",
]
