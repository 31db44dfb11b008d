"""Trained full experts as low-rank ones: a fraction of the size, and nearly what they were."""

import torch

from ..expert_layers_distilwhisper import FullLinear, LowRankLinear, dense_weight
from ..experts_distilwhisper import LanguageExpertsMixin


@torch.no_grad()
def compress_experts(model: LanguageExpertsMixin, rank: int, languages: list[str] | None = None) -> None:
    """Replaces full experts by the shared feed-forward plus, to each matrix, the best update of this rank.

    Best in the squares of the weights: the truncated singular value decomposition of expert minus shared matrix. Gates
    and biases stay what they are.

    Args:
        model: a `DistilWhisperForConditionalGeneration`. On a quantised backbone the update is to what that makes of
            the shared matrix.
        rank: of the update, from 1 to `d_model`; at `d_model` nothing is lost.
        languages: whose experts; by default all that are loaded.

    Raises:
        ValueError: a rank out of range, or experts that are not loaded or not full.
    """
    if not 1 <= rank <= model.config.d_model:
        raise ValueError(f"Expected a rank from 1 to {model.config.d_model}, got {rank}.")
    for language in model.config.languages if languages is None else languages:
        experts = model.experts_of(language)
        if any(not isinstance(expert.fc1, FullLinear) for expert in experts.values()):
            raise ValueError(f"The experts of {language!r} are of low rank already. Expected full ones.")
        for place, expert in experts.items():
            layer = model.routed_layers()[place]
            expert.fc1 = _low_rank(expert.fc1, layer.fc1, rank)
            expert.fc2 = _low_rank(expert.fc2, layer.fc2, rank)


def _low_rank(expert: FullLinear, shared: torch.nn.Linear, rank: int) -> LowRankLinear:
    difference = (expert.weight - dense_weight(shared)).float()  # there is no decomposition in half precision
    left, sizes, right = torch.linalg.svd(difference, full_matrices=False)
    roots = sizes[:rank].sqrt()
    low = LowRankLinear(expert.in_features, expert.out_features, rank).to(expert.weight)
    low.up.weight.copy_(left[:, :rank] * roots)
    low.down.weight.copy_(roots[:, None] * right[:rank])
    low.up.bias.copy_(expert.bias - shared.bias)
    return low.train(expert.training)
