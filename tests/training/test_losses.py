"""The loss parts are what the equations say, at their limits, under padding, and however a batch is cut."""

import math

import pytest
import torch

from modeling_distilwhisper.training.gate_budget import gate_budget_loss
from modeling_distilwhisper.training.losses import cross_entropy, js_divergence, kl_divergence

LABELS = torch.tensor([[1, 2, 3, -100], [4, -100, -100, -100]])


def logits(seed, scale=3.0):
    numbers = torch.randn(2, 4, 11, generator=torch.Generator().manual_seed(seed), device="cpu")
    return scale * numbers.to(torch.get_default_device())


def by_hand(student, teacher, temperature=1.0):
    """JS as eq. 4.7 prints it, in double precision and without log space."""
    p, q = ((x.double() / temperature).softmax(-1) for x in (teacher, student))
    m = (p + q) / 2
    per_token = 0.5 * (p * (p / m).log()).sum(-1) + 0.5 * (q * (q / m).log()).sum(-1)
    return temperature**2 * per_token[LABELS != -100].mean()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_js_is_the_equations(temperature):
    loss = js_divergence(logits(0), logits(1), LABELS, temperature=temperature)
    torch.testing.assert_close(loss.double(), by_hand(logits(0), logits(1), temperature), atol=1e-5, rtol=1e-5)


def test_js_is_symmetric_and_kl_is_not():
    torch.testing.assert_close(js_divergence(logits(0), logits(1), LABELS), js_divergence(logits(1), logits(0), LABELS))
    assert not torch.isclose(kl_divergence(logits(0), logits(1), LABELS), kl_divergence(logits(1), logits(0), LABELS))


def test_kl_is_torchs():
    student, teacher = (x[LABELS != -100].log_softmax(-1) for x in (logits(0), logits(1)))
    expected = torch.nn.functional.kl_div(student, teacher, log_target=True, reduction="batchmean")
    torch.testing.assert_close(kl_divergence(logits(0), logits(1), LABELS), expected)


@pytest.mark.parametrize("divergence", [js_divergence, kl_divergence])
def test_divergence_is_zero_at_equality_with_zero_gradient(divergence):
    student = logits(0).requires_grad_()
    loss = divergence(student, logits(0), LABELS)
    loss.backward()
    assert abs(loss.item()) < 1e-6 and student.grad.abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_js_is_at_most_ln_2_and_finite_at_extreme_logits(dtype):
    student, teacher = torch.full((2, 4, 11), -3e4, dtype=dtype), torch.full((2, 4, 11), -3e4, dtype=dtype)
    student[..., 0], teacher[..., 1] = 3e4, 3e4
    student[0, 0, 2] = -torch.inf  # a suppressed token
    student.requires_grad_()
    loss = js_divergence(student, teacher, LABELS)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("loss", [js_divergence, kl_divergence, cross_entropy])
def test_padding_does_not_count(loss):
    def value(filler):
        student, teacher = logits(0), logits(1)
        student[LABELS == -100] = filler
        teacher[LABELS == -100] = -filler
        return loss(student, LABELS) if loss is cross_entropy else loss(student, teacher, LABELS)

    assert torch.equal(value(0.0), value(100.0))


@pytest.mark.parametrize("loss", [js_divergence, kl_divergence, cross_entropy])
def test_parts_of_a_batch_add_up_to_the_whole(loss):
    """As gradient accumulation and several processes cut it: rows with different numbers of token_mask tokens."""

    def value(rows, num_items=None):
        inputs = [logits(0)[rows]] if loss is cross_entropy else [logits(0)[rows], logits(1)[rows]]
        return loss(*inputs, LABELS[rows], num_items=num_items)

    torch.testing.assert_close(value([0], num_items=4) + value([1], num_items=4), value([0, 1]))
    assert not torch.isclose((value([0]) + value([1])) / 2, value([0, 1])), "the mean of means is another number"


def test_label_smoothing_is_torchs():
    expected = torch.nn.functional.cross_entropy(
        logits(0).flatten(0, 1), LABELS.flatten(), label_smoothing=0.1, ignore_index=-100
    )
    torch.testing.assert_close(cross_entropy(logits(0), LABELS, label_smoothing=0.1), expected)


@pytest.mark.parametrize(
    ("student", "teacher"), [((2, 4, 11), (2, 4, 1)), ((2, 4, 11), (2, 1, 11)), ((2, 3, 11), (2, 3, 11))]
)
def test_shapes_that_would_broadcast_are_refused(student, teacher):
    with pytest.raises(ValueError, match="must have the same shape"):
        js_divergence(torch.zeros(student), torch.zeros(teacher), LABELS)


def test_budget_is_one_mean_over_both_stacks_and_real_tokens():
    encoder, decoder = torch.tensor([[1.0, 1.0, 0.0, 1.0]]), torch.tensor([[0.0, 1.0]])
    audio_mask, token_mask = torch.tensor([[True, True, True, False]]), torch.tensor([[True, False]])
    loss = gate_budget_loss([encoder, decoder], [audio_mask, token_mask], budget=0.2)
    assert loss.item() == pytest.approx(2 / 4 - 0.2)


def test_budget_pulls_from_both_sides_and_not_through_padding():
    for value, sign in ((0.9, 1.0), (0.1, -1.0)):
        gates = torch.full((1, 4), value, requires_grad=True)
        gate_budget_loss([gates], [torch.tensor([[True, True, False, False]])], budget=0.5).backward()
        assert gates.grad.tolist() == [[sign / 2, sign / 2, 0.0, 0.0]]
