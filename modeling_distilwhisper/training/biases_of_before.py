"""Runs of low-rank experts that were begun when the biases of `up` still learned end as they were begun."""

from pathlib import Path

import torch
from torch import nn
from transformers.trainer import OPTIMIZER_NAME

from ..expert_layers_distilwhisper import LowRankLinear


def learn_biases_of_before(model: nn.Module, checkpoint: Path) -> None:
    """Lets the biases of trained low-rank matrices learn if the optimiser of a checkpoint has a state for each."""
    matrices = [module for module in model.modules() if isinstance(module, LowRankLinear)]
    biases = [matrix.up.bias for matrix in matrices if matrix.up.weight.requires_grad]
    frozen = [bias for bias in biases if not bias.requires_grad]
    if not frozen:
        return
    groups = torch.load(checkpoint / OPTIMIZER_NAME, map_location="cpu", weights_only=True)["param_groups"]
    trained = sum(parameter.requires_grad for parameter in model.parameters())
    if sum(len(group["params"]) for group in groups) == trained + len(frozen):
        for bias in frozen:
            bias.requires_grad_(True)
