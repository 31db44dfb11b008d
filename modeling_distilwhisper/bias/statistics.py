"""Intervals and tests for utterances that are not independent: units are drawn and shuffled whole.

A unit is a speaker where the corpus names speakers, else a sentence (with all its recordings), else an utterance.
Intervals are by bootstrap over units. Tests shuffle the groups' names over units, and only among units that are alike
in everything else: within a sentence where both genders or all models have the same ones, else within a language, since
languages differ in their speakers as in their scores. Resource classes are of languages, so there a language is a unit.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import binomtest, false_discovery_control, monte_carlo_test

from ..evaluation.metrics import CONFIDENCE, interval, ratio

SHUFFLES = 1999
LEVEL = 0.05


def rates_differ(tables: np.ndarray) -> np.ndarray:
    """How far groups' rates are from the rate of all: the mean square distance, weighted.

    Args:
        tables: sums of errors and words, `(..., groups, 2)`.

    Returns:
        `(...)`.
    """
    errors, words = tables[..., 0], np.maximum(tables[..., 1], 1e-12)
    overall = errors.sum(-1, keepdims=True) / words.sum(-1, keepdims=True)
    return (words * (errors / words - overall) ** 2).sum(-1) / words.sum(-1)


def histograms_differ(tables: np.ndarray) -> np.ndarray:
    """Pearson's chi-square of counts, `(..., groups, classes)`; its distribution is that of the shuffles."""
    total = tables.sum((-2, -1), keepdims=True)
    expected = tables.sum(-1, keepdims=True) * tables.sum(-2, keepdims=True) / np.maximum(total, 1e-12)
    squares = np.divide((tables - expected) ** 2, expected, out=np.zeros_like(expected), where=expected > 0)
    return squares.sum((-2, -1))


def shuffle_test(
    sums: np.ndarray, groups: np.ndarray, strata: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Whether groups differ, by a stratified permutation test (`scipy.stats.monte_carlo_test`).

    Args:
        sums: of each unit, `(units, sums)`: errors and words, or counts of classes.
        groups: of each unit, `(units,)`.
        strata: of each unit, `(units,)`: names are shuffled within a stratum only.
        statistic: one of the two above.

    Returns:
        The p-value, at least 1 / 2000.
    """
    strata = np.unique(strata, return_inverse=True)[1].ravel()
    order = np.argsort(strata, kind="stable")
    strata, sums = strata[order], np.asarray(sums, dtype=float)[order]
    names, places = np.unique(np.asarray(groups)[order], return_inverse=True)
    places, generator = places.ravel(), np.random.default_rng(0)

    def shuffled(size: tuple[int, ...]) -> np.ndarray:
        return places[np.argsort(strata + generator.random(size), axis=-1)]

    def measured(places: np.ndarray, axis: int = -1) -> np.ndarray:
        return statistic(np.stack([(places == group).astype(float) @ sums for group in range(len(names))], axis=-2))

    batch = max(1, 2_000_000 // len(places))
    found = monte_carlo_test(
        places, shuffled, measured, vectorized=True, n_resamples=SHUFFLES, batch=batch, alternative="greater"
    )
    return float(found.pvalue)


def adjusted(p_values: np.ndarray) -> np.ndarray:
    """P-values corrected for their number, by the false discovery rate (Benjamini and Hochberg, 1995); NaN stays."""
    p_values = np.asarray(p_values, dtype=float)
    found = np.full(len(p_values), np.nan)
    there = ~np.isnan(p_values)
    if there.any():
        found[there] = false_discovery_control(p_values[there])
    return found


def share_interval(counts: np.ndarray, totals: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a share, from counts and totals of units: by bootstrap; by Wilson's with the units as trials
    where none or all are counted, of which any bootstrap would be certain."""
    share, units = ratio(counts, totals), len(totals)
    if 0 < share < 1 and units > 1:
        return interval(ratio, (counts, totals))
    found = binomtest(round(share * units), units).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)
