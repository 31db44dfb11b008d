"""The divergence from the likeliest tokens of a teacher is near that from all of them, and below it."""

import pytest
import torch

from modeling_distilwhisper.training.losses import js_divergence, kl_divergence
from modeling_distilwhisper.training.top_logits import TopLogits, top_logits


def peaky(seed, size=2000):
    """Logits as trained models have them: most mass on some tens of tokens."""
    generator = torch.Generator().manual_seed(seed)
    shared = 3.2 * torch.randn(3, 20, size, generator=torch.Generator().manual_seed(0), device="cpu")
    own = 0.5 * torch.randn(3, 20, size, generator=generator, device="cpu")
    return (shared + own).to(torch.get_default_device())


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_divergence_from_a_few_tokens_is_below_that_from_all_and_near_it(temperature):
    student, teacher, labels = peaky(1), peaky(2), torch.ones(3, 20, dtype=torch.long)
    ids, top, rest = top_logits(teacher, 64, [1.0, 2.0])
    short = TopLogits(ids, top, rest[..., [1.0, 2.0].index(temperature)])
    for divergence in (js_divergence, kl_divergence):
        complete = divergence(student, teacher, labels, temperature=temperature)
        shortened = divergence(student, short, labels, temperature=temperature)
        assert 0 < shortened <= complete
        if divergence is js_divergence:
            ours = (student / temperature).softmax(-1)
            masses = [short.log_probs(temperature).exp()[..., -1], 1 - ours.gather(-1, ids).sum(-1)]
            bound = temperature**2 * torch.log(torch.tensor(2.0)) * sum(masses) / 2
            assert complete - shortened <= bound.mean()


def test_all_tokens_but_one_give_the_complete_divergence():
    """The rest is then one token: nothing is lost, gradients neither."""
    labels = torch.ones(3, 20, dtype=torch.long)
    labels[1, 5:] = -100
    ids, top, rest = top_logits(peaky(2), 1999, [2.0])
    for divergence in (js_divergence, kl_divergence):
        gradients = []
        for teacher in (peaky(2), TopLogits(ids, top, rest[..., 0])):
            student = peaky(1).requires_grad_()
            loss = divergence(student, teacher, labels, temperature=2.0)
            loss.backward()
            gradients.append((loss.detach(), student.grad))
        for actual, expected in zip(*gradients, strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-4)
