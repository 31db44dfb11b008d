"""How gates meet their budget: the gate budget loss (eq. 4.6), and thresholds that follow a quantile of the logits.

A batch is one forward pass in one process. A step is one step of the optimiser: it may have several batches.
"""

from collections.abc import Sequence
from typing import Any

import torch

from ..configuration_distilwhisper import DistilWhisperConfig
from ..evaluation.gates import GateReport, sum_over_processes
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration

# The threshold of a budget of 1: below all logits, and the same number in every precision. Minus infinity is a new
# gate's.
FOR_ALL = -32768.0


def gate_budget_loss(gates: Sequence[torch.Tensor], masks: Sequence[torch.Tensor], budget: float) -> torch.Tensor:
    """`| mean of all gates - budget |`: one mean over encoder and decoder, all layers and all real tokens (eq. 4.6).

    Args:
        gates: a tensor `(batch, tokens)` for each layer of encoder and decoder.
        masks: boolean tensors of the same shapes: the real tokens of rows that have an expert.
        budget: the share of tokens that should take the expert.

    Returns:
        A scalar.
    """
    opened = torch.zeros((), device=masks[0].device)
    for gate, mask in zip(gates, masks, strict=True):
        opened = opened + (gate.float() * mask).sum()
    counted = torch.stack([mask.sum() for mask in masks]).sum()
    return (opened / counted.clamp(min=1) - budget).abs()


def budget_loss(report: GateReport, config: DistilWhisperConfig) -> torch.Tensor:
    """The gate budget loss of a batch. If languages have different budgets: the mean over tokens of each one's loss.

    Args:
        report: the gates of a batch.
        config: the model's, with `gate_budget` and `gate_budgets`.

    Returns:
        A scalar.
    """
    gates, masks = report.layers()
    if not config.gate_budgets:
        return gate_budget_loss(gates, masks, config.gate_budget)
    counted = torch.stack([mask.sum() for mask in masks]).sum().clamp(min=1)
    total = torch.zeros((), device=counted.device)
    for token, language in config.experts_by_token.items():
        rows = (report.language_ids["encoder"] == token).unsqueeze(1)
        language_masks = [mask & rows for mask in masks]
        share = torch.stack([mask.sum() for mask in language_masks]).sum() / counted
        total = total + share * gate_budget_loss(gates, language_masks, config.budget_of(language))
    return total


@torch.no_grad()
def budget_quantiles(model: DistilWhisperForConditionalGeneration, report: GateReport) -> torch.Tensor:
    """The threshold at which each gate would meet the budget on this batch.

    Args:
        model: the model.
        report: the gates of the batch.

    Returns:
        `(layers, languages)`: the (1 - budget) quantile of the logits over real tokens, NaN for absent languages; for a
        budget of 1 `FOR_ALL`, which closes the gate for no token of any recording. Layers are in the order of
        `model.routed_layers()`, languages in that of `model.config.languages`.
    """
    experts = model.config.experts_by_token
    layers = list(model.routed_layers())
    quantiles = torch.full((len(layers), len(experts)), torch.nan, device=report.masks["decoder"].device)
    for side in dict.fromkeys(side for side, _ in layers):
        rows = [row for row, (of_side, _) in enumerate(layers) if of_side == side]
        for column, (token, language) in enumerate(experts.items()):
            mask = report.masks[side] & (report.language_ids[side] == token).unsqueeze(1)
            tokens = mask.flatten().nonzero().squeeze(1)  # reads values, which a GPU waits for: once for all layers
            if len(tokens):
                share = 1 - model.config.budget_of(language)
                for row in rows:
                    logits = report.logits[layers[row]].flatten().index_select(0, tokens).float()
                    quantiles[row, column] = torch.quantile(logits, share) if share else FOR_ALL
    return quantiles


@torch.no_grad()
def move_thresholds(
    model: DistilWhisperForConditionalGeneration, quantiles: Sequence[torch.Tensor], momentum: float
) -> None:
    """Moves each gate's threshold towards the mean of `budget_quantiles` of a step's batches, over all processes.

    So every layer meets the budget by construction, and training decides only which tokens take the expert. Call it
    after the backward pass: there gradient checkpointing computes the gates again, and needs the same thresholds.

    Args:
        model: the model whose thresholds move.
        quantiles: `(layers, languages)` for each batch.
        momentum: in (0, 1]. The new threshold is `old + momentum * (mean - old)`; a new gate takes the mean, and so
            does one whose budget is or was 1.
    """
    stacked = torch.stack(list(quantiles))
    known = ~stacked.isnan()
    sums = torch.stack([stacked.nan_to_num().sum(dim=0), known.sum(dim=0).float()])
    total, count = sum_over_processes(sums)
    has_count = (count > 0).tolist()  # one read for all gates
    for row, layer in enumerate(model.routed_layers().values()):
        for column, language in enumerate(model.config.experts_by_token.values()):
            if has_count[row][column]:
                target = total[row, column] / count[row, column]
                gate: Any = layer.experts.get_submodule(f"{language}.gate")  # a wrapper passes on its attributes
                threshold = gate.threshold
                moved = threshold + momentum * (target - threshold)
                is_at_once = threshold.isinf() | (threshold == FOR_ALL) | (target == FOR_ALL)
                threshold.copy_(torch.where(is_at_once, target, moved))


class BudgetThresholds:
    """Moves the thresholds of hard gates once per step, by the batches of all processes.

    Args:
        model: the model.
        momentum: as for `move_thresholds`.
    """

    def __init__(self, model: DistilWhisperForConditionalGeneration, momentum: float):
        self.model, self.momentum = model, momentum
        self._quantiles: list[torch.Tensor] = []  # of this step's batches

    def note(self, report: GateReport) -> None:
        """Adds the gates of a batch to this step."""
        self._quantiles.append(budget_quantiles(self.model, report))

    def end_step(self, *, is_taken: bool = True) -> None:
        """Moves the thresholds, if gates are trained hard (`gate_training`) and the step is taken, not skipped."""
        if is_taken and self._quantiles and self.model.config.gate_training == "hard":
            move_thresholds(self.model, self._quantiles, self.momentum)
        self._quantiles.clear()
