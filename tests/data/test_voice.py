"""Where speech is found does not depend on what else is heard at the same time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modeling_distilwhisper import Silero, read_audio

CLIPS = sorted((Path(__file__).parents[2] / "examples/quickstart/in_domain/ca/test").glob("*.ogg"))


def test_threads_that_share_a_detector_find_what_one_finds():
    """Silero's model keeps what it heard last: two recordings at a time gave other spans, or ended the process."""
    recordings = 4 * [read_audio(path) for path in CLIPS[:12]]
    detector = Silero()
    alone = [detector(samples) for samples in recordings]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(detector, recordings)) == alone
    assert sum(map(len, alone)) >= len(recordings)
