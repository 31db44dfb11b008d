"""Parts of the training loss (eq. 4.7, 4.8): cross-entropy, and distillation by JS or KL divergence.

The gate budget loss is in `gate_budget.py`.

Every part is a sum over real target tokens divided by `num_items`, so that the parts of a batch that is cut into
gradient-accumulation steps or spread over processes add up to the loss of the complete batch. Label -100 is padding.
With weights of rows, each token counts as much as its row, in the sum and in `num_items` (`count_tokens`).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from ..data.labels import IGNORED
from .top_logits import TopLogits

LEAST_TOKENS = 1e-6  # a weighted number of tokens that is 0 is this: 0 divided by it is 0
LOWEST_LOG_PROB = -1e4  # exp() of it is 0 in every dtype; 0 times it is 0, where 0 times -inf is NaN


def cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
    num_items: float | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy of the reference transcript, in nats per token.

    Args:
        logits: `(batch, tokens, vocabulary)`.
        labels: `(batch, tokens)`.
        label_smoothing: share of the target spread evenly over the vocabulary.
        num_items: the number that the sum is divided by. Default: the real tokens of `labels`.
        weights: `(batch,)`, of each row; `None`: 1.

    Returns:
        A scalar.
    """
    total = F.cross_entropy(
        logits.float().flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
        reduction="sum" if weights is None else "none",
    )
    if weights is not None:
        total = (total.view(labels.shape) * weights[:, None]).sum()
    return total / _num_items(labels, num_items, weights)


def count_tokens(labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """The real target tokens of labels `(batch, tokens)`, each as often as the weight `(batch,)` of its row says."""
    real = labels != IGNORED
    return real.sum() if weights is None else (real * weights[:, None]).sum()


def js_divergence(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor | TopLogits,
    labels: torch.Tensor,
    *,
    temperature: float = 1.0,
    num_items: float | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Jensen-Shannon divergence of teacher and student (eq. 4.7), in nats per token, times `temperature` squared.

    It is symmetric, 0 for equal distributions, and at most ln 2 before that factor.

    With a teacher's top tokens only (`TopLogits`), all other tokens count as one token. Let p and q be the teacher's
    and the student's probability of it, JS the divergence of the complete distributions, and JS_k the one that is
    computed: `JS - ln 2 * (p + q) / 2 <= JS_k <= JS`.

    Args:
        student_logits: `(batch, tokens, vocabulary)`.
        teacher_logits: the same, for the same reference transcript; or its top tokens, made for this temperature.
        labels: `(batch, tokens)`; its padding is left out.
        temperature: both logits are divided by it. Above 1, unlikely tokens count for more.
        num_items, weights: as for `cross_entropy`.

    Returns:
        A scalar.

    Raises:
        ValueError: the shapes differ.
    """

    def divergence(student: torch.Tensor, teacher: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        middle = torch.logaddexp(student, teacher) - math.log(2)
        return 0.5 * (_kl(teacher, middle, weights) + _kl(student, middle, weights))

    return _distillation(divergence, student_logits, teacher_logits, labels, temperature, num_items, weights)


def kl_divergence(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor | TopLogits,
    labels: torch.Tensor,
    *,
    temperature: float = 1.0,
    num_items: float | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Kullback-Leibler divergence of the student from the teacher (eq. 2.2). Arguments as for `js_divergence`.

    With a teacher's top tokens only, it is at most the divergence of the complete distributions.
    """

    def divergence(student: torch.Tensor, teacher: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        return _kl(teacher, student, weights)

    return _distillation(divergence, student_logits, teacher_logits, labels, temperature, num_items, weights)


DIVERGENCES: dict[str, Callable[..., torch.Tensor]] = {"js": js_divergence, "kl": kl_divergence}


def _kl(target: torch.Tensor, other: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """KL(target || other) of log-probabilities `(n, vocabulary)`, times weights `(n,)`, summed: a scalar."""
    terms = target.exp() * (target - other)
    return terms.sum() if weights is None else (terms.sum(dim=-1) * weights).sum()


def _distillation(divergence, student_logits, teacher, labels, temperature, num_items, weights) -> torch.Tensor:
    if isinstance(teacher, TopLogits):
        teacher_shape = (*teacher.ids.shape[:2], student_logits.shape[-1])
    else:
        teacher_shape = tuple(teacher.shape)
    if tuple(student_logits.shape) != teacher_shape or student_logits.shape[:2] != labels.shape:
        raise ValueError(
            "Student and teacher logits must have the same shape (batch, tokens, vocabulary) over the labels' (batch, "
            f"tokens); got {tuple(student_logits.shape)}, {teacher_shape} and {tuple(labels.shape)}."
        )
    real = labels != IGNORED
    student = student_logits[real].float() / temperature
    if isinstance(teacher, TopLogits):
        expected = teacher.log_probs(temperature)[real]
        top = student.gather(-1, teacher.ids[real]) - student.logsumexp(dim=-1, keepdim=True)
        others = (1 - top.exp().sum(dim=-1, keepdim=True)).clamp(min=torch.finfo(torch.float32).eps).log()
        student = torch.cat([top, others], dim=-1)
    else:
        student = F.log_softmax(student, dim=-1)
        expected = F.log_softmax(teacher[real].float() / temperature, dim=-1)
    student, expected = (log_probs.clamp(min=LOWEST_LOG_PROB) for log_probs in (student, expected))
    of_tokens = None if weights is None else weights[:, None].expand_as(labels)[real]
    return temperature**2 * divergence(student, expected, of_tokens) / _num_items(labels, num_items, weights)


def _num_items(
    labels: torch.Tensor, num_items: float | None, weights: torch.Tensor | None = None
) -> float | torch.Tensor:
    if num_items is not None:
        return num_items
    return count_tokens(labels, weights).clamp(min=1 if weights is None else LEAST_TOKENS)
