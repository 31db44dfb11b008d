"""The frames of a text's tokens are those that Transformers finds, cell by cell, in much less time."""

import time

import numpy as np
import pytest
import torch
from transformers.models.whisper.generation_whisper import _dynamic_time_warping, _median_filter

from modeling_distilwhisper.transcription.alignment import FRAME, first_frames, token_starts


def of_transformers(costs: np.ndarray) -> list[int]:
    tokens, frames = _dynamic_time_warping(costs)
    return [int(frames[tokens == token].min()) for token in range(len(costs))]


@pytest.mark.parametrize(("tokens", "frames"), [(1, 1), (1, 9), (9, 1), (7, 7), (30, 200), (60, 25), (3, 400)])
@pytest.mark.parametrize("seed", range(3))
def test_the_cheapest_path_is_that_of_transformers(tokens, frames, seed):
    costs = np.random.default_rng(seed).normal(size=(tokens, frames))
    assert first_frames(costs) == of_transformers(costs)


def test_ties_are_broken_as_there():
    costs = np.random.default_rng(0).integers(-2, 3, size=(12, 40)).astype(float)
    assert first_frames(costs) == of_transformers(costs)
    assert first_frames(np.zeros((4, 6))) == of_transformers(np.zeros((4, 6)))


@pytest.mark.parametrize("frames", [2, 3, 4, 300])
def test_tokens_begin_where_their_attention_is(frames):
    """Also with fewer frames than the filter is wide, and in half precision, where values are often the same."""
    generator = torch.Generator().manual_seed(0)
    attention = torch.rand(5, 20, frames, generator=generator).softmax(-1).half().float()
    normal = (attention - attention.mean(-2, keepdim=True)) / attention.std(-2, keepdim=True, unbiased=False)
    costs = -_median_filter(normal, 7).mean(0).double().numpy()
    assert token_starts(attention, 7) == [FRAME * frame for frame in of_transformers(costs)]


def test_attention_that_says_nothing_gives_times_all_the_same():
    assert len(token_starts(torch.full((2, 5, 30), 0.1), 7)) == 5
    assert token_starts(torch.rand(2, 1, 30), 7) == [0.0]
    assert token_starts(torch.rand(2, 3, 0), 7) == [0.0, 0.0, 0.0]


def test_a_full_window_takes_a_small_part_of_what_it_took():
    costs = np.random.default_rng(0).normal(size=(220, 1500))
    begun = time.perf_counter()
    found = first_frames(costs)
    ours = time.perf_counter() - begun
    begun = time.perf_counter()
    assert found == of_transformers(costs)
    assert ours < (time.perf_counter() - begun) / 5
