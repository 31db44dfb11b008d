"""Rows are drawn by language as the temperature says, each row of a language equally often, also when resumed."""

from collections import Counter

import pytest

from modeling_distilwhisper.training.sampling import LanguageSampler

LANGUAGES = ["gl"] * 6 + ["ca"] * 54


def drawn(sampler, epochs):
    rows = Counter()
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert len(order) == len(sampler) == len(LANGUAGES)
        rows.update(order)
    return rows


def test_temperature_one_takes_each_row_once():
    assert set(drawn(LanguageSampler(LANGUAGES, 1.0, 0), 1).values()) == {1}


@pytest.mark.parametrize(("temperature", "share"), [(2.0, 15), (1e9, 30)])  # sqrt(6) : sqrt(54) is 1 : 3
def test_shares_follow_the_temperature(temperature, share):
    assert LanguageSampler(LANGUAGES, temperature, 0).shares() == {"gl": share, "ca": 60 - share}


def test_rows_of_a_language_are_drawn_equally_often_over_the_epochs():
    rows = drawn(LanguageSampler(LANGUAGES, 1e9, 0), 9)
    assert {rows[row] for row in range(6)} == {45}
    assert {rows[row] for row in range(6, 60)} == {5}


def test_an_epoch_is_drawn_alike_again_and_each_epoch_is_another():
    one, two = (LanguageSampler(LANGUAGES, 2.0, 3) for _ in range(2))
    list(one)
    for sampler in (one, two):
        sampler.set_epoch(4)
    assert list(one) == list(two)
    two.set_epoch(5)
    assert list(one) != list(two)
    assert list(one) != list(LanguageSampler(LANGUAGES, 2.0, 4))


def test_a_language_of_one_row_is_never_lost():
    assert LanguageSampler(["gl", *["ca"] * 400], 1.0, 0).shares() == {"gl": 1, "ca": 400}
    assert LanguageSampler(["gl", "ca", "en", *["uk"] * 3], 1e9, 0).shares().keys() == {"gl", "ca", "en", "uk"}
