"""Intervals and tests for utterances that are not independent: they draw and shuffle units, not utterances.

A unit is a speaker if the corpus names speakers; else a sentence with all its recordings; else an utterance. Intervals
are by bootstrap over units. Tests shuffle the names of groups over units, within strata: within a sentence if both
genders or all models have the same sentences; else within a language, because languages differ in their speakers and in
their scores. Resource classes are classes of languages, so there the unit is a language.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, false_discovery_control, monte_carlo_test

from ..evaluation.metrics import CONFIDENCE, bootstrap_interval, ratio

SHUFFLES = 1999
LEVEL = 0.05


def rates_differ(tables: np.ndarray) -> np.ndarray:
    """Weighted mean square distance of the groups' rates from the overall rate.

    Args:
        tables: sums of errors and words, `(..., groups, 2)`.

    Returns:
        `(...)`.
    """
    errors, words = tables[..., 0], np.maximum(tables[..., 1], 1e-12)
    overall = errors.sum(-1, keepdims=True) / words.sum(-1, keepdims=True)
    return (words * (errors / words - overall) ** 2).sum(-1) / words.sum(-1)


def histograms_differ(tables: np.ndarray) -> np.ndarray:
    """Pearson's chi-square of counts `(..., groups, classes)`. The shuffles give its distribution."""
    total = tables.sum((-2, -1), keepdims=True)
    expected = tables.sum(-1, keepdims=True) * tables.sum(-2, keepdims=True) / np.maximum(total, 1e-12)
    squares = np.divide((tables - expected) ** 2, expected, out=np.zeros_like(expected), where=expected > 0)
    return squares.sum((-2, -1))


def shuffle_test(
    sums: np.ndarray, groups: np.ndarray, strata: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Tests whether groups differ, by a stratified permutation test (`scipy.stats.monte_carlo_test`).

    Args:
        sums: of each unit, `(units, sums)`: errors and words, or counts of classes.
        groups: of each unit, `(units,)`.
        strata: of each unit, `(units,)`. Names are shuffled within a stratum only.
        statistic: `rates_differ` or `histograms_differ`.

    Returns:
        The p-value, at least 1 / 2000.
    """
    strata = np.unique(strata, return_inverse=True)[1].ravel()
    order = np.argsort(strata, kind="stable")
    strata, sums = strata[order], np.asarray(sums, dtype=float)[order]
    names, indices = np.unique(np.asarray(groups)[order], return_inverse=True)
    indices, generator = indices.ravel(), np.random.default_rng(0)

    def shuffled(size: tuple[int, ...]) -> np.ndarray:
        return indices[np.argsort(strata + generator.random(size), axis=-1)]

    def measured(indices: np.ndarray, axis: int = -1) -> np.ndarray:
        return statistic(np.stack([(indices == group).astype(float) @ sums for group in range(len(names))], axis=-2))

    batch = max(1, 2_000_000 // len(indices))
    result = monte_carlo_test(
        indices, shuffled, measured, vectorized=True, n_resamples=SHUFFLES, batch=batch, alternative="greater"
    )
    return float(result.pvalue)


def adjusted(p_values: ArrayLike) -> np.ndarray:
    """Adjusts p-values for their number, by the false discovery rate (Benjamini and Hochberg, 1995). NaN stays NaN."""
    values = np.asarray(p_values, dtype=float)
    result = np.full(len(values), np.nan)
    known = ~np.isnan(values)
    if known.any():
        result[known] = false_discovery_control(values[known])
    return result


def share_interval(counts: np.ndarray, totals: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a share, from the counts and totals of units.

    It is by bootstrap. For a share of 0 or 1, where a bootstrap has no width, it is Wilson's, with units as trials.
    """
    share, units = float(ratio(counts, totals)), len(totals)
    if 0 < share < 1 and units > 1:
        return bootstrap_interval(ratio, (counts, totals)) or (share, share)
    wilson = binomtest(round(share * units), units).proportion_ci(CONFIDENCE, method="wilson")
    return float(wilson.low), float(wilson.high)
