"""beta is what its schedule says and, learned, stays below its bound and goes to where the loss has its minimum."""

import math

import pytest

from modeling_distilwhisper.training.kd_weight import DistillationWeight


def test_constant_and_linear():
    assert DistillationWeight("constant", 2.0, 0.0, 10.0).at(0.7) == 2.0
    assert [DistillationWeight("linear", 2.0, 0.5, 10.0).at(done) for done in (0.0, 0.5, 1.0)] == [2.0, 1.25, 0.5]


@pytest.mark.parametrize(("kd_loss", "end"), [(0.5, 2.0), (0.2, 5.0), (0.001, 10.0), (4.0, 0.25)])
def test_a_learned_beta_goes_to_one_over_the_loss_and_not_beyond_its_bound(kd_loss, end):
    weight = DistillationWeight("learned", 3.0, 0.0, 10.0)
    assert weight.at(0.0) == pytest.approx(3.0)
    for _ in range(3000):
        weight.learn(kd_loss)
        assert 0 < weight.at(0.0) < 10.0
    assert weight.at(0.0) == pytest.approx(end, rel=0.05)


def test_a_broken_batch_does_not_decide():
    weight = DistillationWeight("learned", 3.0, 0.0, 10.0)
    for kd_loss in (float("nan"), float("inf"), 1e30):
        weight.learn(kd_loss)
    assert weight.at(0.0) == pytest.approx(3.0, rel=0.1)


def test_a_step_lowers_what_it_minimises():
    """The slope by hand would be wrong in sign or size otherwise."""
    for kd_loss in (0.05, 0.6, 3.0):
        weight = DistillationWeight("learned", 2.0, 0.0, 10.0)
        before = weight.at(0.0) * kd_loss - math.log(weight.at(0.0))
        weight.learn(kd_loss)
        assert weight.at(0.0) * kd_loss - math.log(weight.at(0.0)) < before
