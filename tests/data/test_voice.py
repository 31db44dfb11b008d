"""Where speech is found does not depend on what else is heard at the same time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from silero_vad import get_speech_timestamps, load_silero_vad

from modeling_distilwhisper import Silero, read_audio
from modeling_distilwhisper.data import voice

CLIPS = sorted((Path(__file__).parents[2] / "examples/quickstart/in_domain/ca/test").glob("*.ogg"))


def test_threads_that_share_a_detector_find_what_one_finds():
    """Silero's model keeps what it heard last: two recordings at a time gave other spans, or ended the process."""
    recordings = 4 * [read_audio(path) for path in CLIPS[:12]]
    detector = Silero()
    alone = [detector(samples) for samples in recordings]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(detector, recordings)) == alone
    assert sum(map(len, alone)) >= len(recordings)


def test_speech_of_a_long_recording_is_where_the_detector_finds_it_in_one_piece():
    """It is heard in stripes side by side: one that is counted from a wrong step moves all speech in it."""
    pause = np.zeros(12_000, np.float32)
    samples = np.concatenate([part for path in CLIPS[:24] for part in (read_audio(path), pause)])
    assert len(samples) > 2 * voice.STRIPE * voice.STEP
    settings = {"sampling_rate": 16_000, "min_silence_duration_ms": voice.MIN_PAUSE_MS}
    settings |= {"speech_pad_ms": voice.MARGIN_MS, "max_speech_duration_s": 30.0}
    complete = get_speech_timestamps(torch.from_numpy(samples / np.abs(samples).max()), load_silero_vad(), **settings)
    found, expected = (np.zeros(len(samples), bool) for _ in range(2))
    for start, end in Silero()(samples):
        found[start:end] = True
    for span in complete:
        expected[span["start"] : span["end"]] = True
    assert 0.3 < expected.mean() < 0.99 and (found != expected).mean() < 0.01
