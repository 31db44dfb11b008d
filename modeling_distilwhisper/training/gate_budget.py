"""Keeping the gates on their budget: the budget loss (eq. 4.6), and thresholds that follow a quantile of the logits."""

from collections.abc import Sequence

import torch

from ..configuration_distilwhisper import DistilWhisperConfig
from ..evaluation.gates import GateReport, over_processes
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration


def gate_budget_loss(gates: Sequence[torch.Tensor], masks: Sequence[torch.Tensor], budget: float) -> torch.Tensor:
    """`| mean of all gates - budget |`, one mean over both stacks, all layers and all real tokens (eq. 4.6).

    Args:
        gates: a tensor `(batch, tokens)` a layer, encoder and decoder together.
        masks: as many boolean tensors of the same shapes: the real tokens of rows that have an expert.
    """
    opened = sum((gate.float() * mask).sum() for gate, mask in zip(gates, masks, strict=True))
    counted = sum(mask.sum() for mask in masks)
    return (opened / counted.clamp(min=1) - budget).abs()


def budget_loss(report: GateReport, config: DistilWhisperConfig) -> torch.Tensor:
    """The loss of eq. 4.6; where languages have budgets of their own, the mean over tokens of each language's loss."""
    gates, masks = report.layers()
    if not config.gate_budgets:
        return gate_budget_loss(gates, masks, config.gate_budget)
    total, counted = 0.0, sum(mask.sum() for mask in masks).clamp(min=1)
    for token, language in config.experts_by_token.items():
        rows = (report.language_ids["encoder"] == token).unsqueeze(1)
        language_masks = [mask & rows for mask in masks]
        share = sum(mask.sum() for mask in language_masks) / counted
        total = total + share * gate_budget_loss(gates, language_masks, config.budget_of(language))
    return total


@torch.no_grad()
def budget_quantiles(model: DistilWhisperForConditionalGeneration, report: GateReport) -> torch.Tensor:
    """Where each gate's threshold would have to be for this batch to meet the budget.

    Returns:
        `(layers, languages)`: the (1 - budget) quantile of the logits over real tokens, NaN for absent languages.
        Layers are in the order of `model.routed_layers()`, languages in that of `model.config.languages`.
    """
    experts = model.config.experts_by_token
    layers = list(model.routed_layers())
    quantiles = torch.full((len(layers), len(experts)), torch.nan, device=report.masks["decoder"].device)
    for row, (side, index) in enumerate(layers):
        for column, (token, language) in enumerate(experts.items()):
            mask = report.masks[side] & (report.language_ids[side] == token).unsqueeze(1)
            if mask.any():
                logits = report.logits[side, index][mask].float()
                quantiles[row, column] = torch.quantile(logits, 1 - model.config.budget_of(language))
    return quantiles


@torch.no_grad()
def move_thresholds(
    model: DistilWhisperForConditionalGeneration, quantiles: Sequence[torch.Tensor], momentum: float
) -> None:
    """Moves each gate's threshold towards the mean of `budget_quantiles` of a step's batches, over all processes.

    So the budget holds by construction in every layer, and training decides only which tokens take the expert. Call
    it after the backward pass: gradient checkpointing decides a second time there, and must decide alike.

    Args:
        momentum: share of the way, in (0, 1]. A new gate goes all the way at once.
    """
    stacked = torch.stack(list(quantiles))
    known = ~stacked.isnan()
    sums = torch.stack([stacked.nan_to_num().sum(dim=0), known.sum(dim=0).float()])
    total, count = over_processes(sums)
    for row, layer in enumerate(model.routed_layers().values()):
        for column, language in enumerate(model.config.languages):
            if count[row, column]:
                target = total[row, column] / count[row, column]
                threshold = layer.experts[language].gate.threshold
                threshold.copy_(target if threshold.isinf() else threshold + momentum * (target - threshold))
