"""Several seeds of systems: what an interval rests on, and what a mean is of."""

import numpy as np
import pytest

from modeling_distilwhisper.evaluation.seeds import (
    Errors,
    errors_of,
    mean_over_languages,
    paired_difference,
    spread_of_seeds,
)


def of_random(seed, worse=0, utterances=30):
    counts = np.random.default_rng(seed).integers(0, 4, utterances)
    return {f"clip {number:02}": Errors(8, int(count) + worse, worse, False) for number, count in enumerate(counts)}


def test_more_seeds_of_the_same_transcripts_make_no_interval_narrower():
    first, second = of_random(0), of_random(1)
    once, thrice = (paired_difference([(first, second)] * seeds) for seeds in (1, 3))
    assert once.difference == thrice.difference and once.recordings == thrice.recordings == 30
    assert (once.runs, thrice.runs, thrice.words) == (1, 3, 3 * once.words)


def test_what_comes_from_one_recording_is_drawn_together():
    """Its shifts are no further evidence: all of them may be easy because the recording is."""
    first, second = of_random(0), of_random(1)
    shifts = [{(name, shift): errors for name, errors in one.items() for shift in "ab"} for one in (first, second)]
    apart, together = (paired_difference([tuple(shifts)], key) for key in (lambda pair: pair, lambda pair: pair[0]))
    assert (apart.recordings, together.recordings) == (60, 30)
    assert together.difference == paired_difference([(first, second)]).difference
    assert together.difference.high - together.difference.low > apart.difference.high - apart.difference.low


def test_a_difference_is_paired_and_pooled_over_words():
    short, long = Errors(1, 1, 0, False), Errors(99, 0, 0, False)
    right = {"short": Errors(1, 0, 0, False), "long": long}
    compared = paired_difference([({"short": short, "long": long}, right)])
    assert compared.difference.wer == 0.01, "one word of a hundred, not half of the utterances"
    worse = paired_difference([(of_random(3, worse=1), of_random(3))])
    assert worse.difference.wer == worse.difference.low == worse.difference.high == 1 / 8 and worse.difference.is_real


def test_inserted_words_can_be_left_out():
    compared = paired_difference([(of_random(3, worse=1), of_random(3))], insertions=False)
    assert compared.difference.wer == 0


def test_without_pairs_there_is_no_difference():
    assert paired_difference([]) is None and paired_difference([({}, {})]) is None


def test_a_language_with_more_seeds_does_not_count_more():
    assert mean_over_languages({"gl": [0.2, 0.2, 0.2], "ca": [0.4]}) == pytest.approx(0.3)


def test_one_seed_has_no_spread_and_languages_are_no_seeds():
    assert spread_of_seeds({"gl": [0.2], "ca": [0.4]}) is None
    assert spread_of_seeds({"gl": [0.1, 0.3], "ca": [0.4, 0.4], "hu": [0.9]}) == pytest.approx(0.02**0.5 / 2)


def test_counts_are_those_of_the_metric():
    from modeling_distilwhisper import count_errors

    loop = "la " * 12
    assert errors_of(count_errors(["one two", "la"], ["one to three", loop])) == [
        Errors(2, 2, 1, False),
        Errors(1, 11, 11, True),
    ]
