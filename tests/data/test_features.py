"""Features of short clips fill the window; those of a longer clip keep all of its audio."""

import numpy as np
import pytest
import torch

from modeling_distilwhisper.data.features import speech_features


def clips(processor, *shares):
    window = processor.feature_extractor.n_samples
    generator = np.random.default_rng(0)
    return [generator.uniform(-0.1, 0.1, int(share * window)).astype(np.float32) for share in shares]


def test_short_clips_are_padded_to_the_window(processor):
    features = speech_features(processor, clips(processor, 0.25, 0.5))
    frames = processor.feature_extractor.nb_max_frames
    assert features.input_features.shape == (2, processor.feature_extractor.feature_size, frames)
    assert features.attention_mask.sum(dim=1).tolist() == [frames // 4, frames // 2]


@pytest.mark.parametrize("shares", [(2.5,), (0.5, 2.5)])
def test_a_clip_longer_than_the_window_is_not_cut(processor, shares):
    features = speech_features(processor, clips(processor, *shares))
    frames = processor.feature_extractor.nb_max_frames
    assert features.input_features.shape[-1] == 2.5 * frames
    assert features.attention_mask.sum(dim=1).tolist() == [int(share * frames) for share in shares]


def test_a_clip_of_the_windows_length_is_not_long(processor):
    features = speech_features(processor, clips(processor, 1.0))
    assert features.input_features.shape[-1] == processor.feature_extractor.nb_max_frames
    assert torch.all(features.attention_mask == 1)
