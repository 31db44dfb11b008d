"""A teacher's predictions at each position, reduced to its top tokens and the total probability of all others."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass
class TopLogits:
    """The k most likely tokens of each position, for one temperature.

    Attributes:
        ids: `(batch, tokens, k)`, ids in the student's vocabulary.
        logits: `(batch, tokens, k)`, log-probabilities at temperature 1: logits before any temperature.
        rest: `(batch, tokens)`, logarithm of the sum of `exp(logit / temperature)` over all other tokens.
    """

    ids: torch.Tensor
    logits: torch.Tensor
    rest: torch.Tensor

    def log_probs(self, temperature: float) -> torch.Tensor:
        """`(batch, tokens, k + 1)`, all other tokens last, at the temperature that `rest` was made for."""
        return torch.cat([self.logits / temperature, self.rest.unsqueeze(-1)], dim=-1).log_softmax(dim=-1)


def top_logits(
    logits: torch.Tensor, k: int, temperatures: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The k most likely tokens of `(..., vocabulary)` logits.

    Args:
        logits: of a teacher.
        k: number of tokens kept per position.
        temperatures: for which the rest is computed.

    Returns:
        ids `(..., k)`, log-probabilities at temperature 1 `(..., k)`, and the rest for each temperature, as `TopLogits`
        has it: `(..., temperatures)`.

    Raises:
        ValueError: k is not between 1 and the vocabulary's size.
    """
    if not 1 <= k < logits.shape[-1]:
        raise ValueError(f"k must be from 1 to {logits.shape[-1] - 1}, below the vocabulary's size, got {k}.")
    log_probs = logits.float().log_softmax(dim=-1)
    top, ids = log_probs.topk(k, dim=-1)
    others = log_probs.scatter(-1, ids, -torch.inf)
    rest = torch.stack([(others / temperature).logsumexp(dim=-1) for temperature in temperatures], dim=-1)
    return ids, top, rest
