"""Compresses trained full experts to low-rank ones, a fraction of their size."""

from collections.abc import Mapping
from typing import Any

import torch

from ..expert_layers_distilwhisper import FullLinear, LowRankLinear, dense_weight
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration


@torch.no_grad()
def compress_experts(
    model: DistilWhisperForConditionalGeneration, rank: int, languages: list[str] | None = None
) -> None:
    """Replaces full experts by low-rank ones: the shared feed-forward plus an update of each matrix.

    The update is the best least-squares approximation of that rank: the truncated singular value decomposition of
    expert minus shared matrix. Gates and biases do not change.

    Args:
        model: has full experts. If its backbone is quantised, the shared matrix is the quantised one.
        rank: of the update, from 1 to `d_model`. With `d_model` the experts compute what they did before.
        languages: codes of the languages; by default all that are loaded.

    Raises:
        ValueError: the rank is out of range, or experts are not loaded or not full.

    Example:
        >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration, compress_experts
        >>> model = DistilWhisperForConditionalGeneration.from_whisper("examples/quickstart/student", languages=["ca"])
        >>> before = model.num_parameters()
        >>> compress_experts(model, rank=8)
        >>> model.num_parameters() < before
        True
    """
    if not 1 <= rank <= model.config.d_model:
        raise ValueError(f"Expected a rank from 1 to {model.config.d_model}, got {rank}.")
    for language in (model.config.languages or []) if languages is None else languages:
        experts: Mapping[tuple[str, int], Any] = model.experts_of(language)
        if any(not isinstance(expert.fc1, FullLinear) for expert in experts.values()):
            raise ValueError(f"The experts of {language!r} are of low rank already. Expected full experts.")
        layers: Mapping[tuple[str, int], Any] = model.routed_layers()
        for position, expert in experts.items():
            layer = layers[position]
            expert.fc1 = _low_rank(expert.fc1, layer.fc1, rank)
            expert.fc2 = _low_rank(expert.fc2, layer.fc2, rank)


def _low_rank(expert: FullLinear, shared: torch.nn.Linear, rank: int) -> LowRankLinear:
    difference = (expert.weight - dense_weight(shared)).float()  # torch has no decomposition in half precision
    left, values, right = torch.linalg.svd(difference, full_matrices=False)
    roots = values[:rank].sqrt()
    low = LowRankLinear(expert.in_features, expert.out_features, rank).to(expert.weight)
    low.up.weight.copy_(left[:, :rank] * roots)
    low.down.weight.copy_(roots[:, None] * right[:rank])
    low.up.bias.copy_(expert.bias - shared.bias)
    return low.train(expert.training)
