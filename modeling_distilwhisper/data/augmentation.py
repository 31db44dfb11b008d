"""Changed copies of training recordings: another tempo, noise, a codec, gaps. By audiomentations (the extra "augment").

What is learned from one speaker and microphone should hold for others too. Recordings of validation and test are
never changed.
"""

import contextlib
import hashlib
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..runs.extras import require
from .mono import SAMPLING_RATE

KINDS = ("tempo", "noise", "codec", "gaps")
SHARE = 0.5  # of the recordings that each kind changes
SHORTEST = 0.1  # seconds: a shorter recording stays as it is


class Augmentation:
    """Changes a recording at random: each kind, half of the recordings.

    What is drawn depends on the seed, the epoch and the recording alone. So a resumed run, and several processes or
    workers, make what an unbroken run in one process makes.

    Args:
        kinds: some of `KINDS`. "tempo": up to a tenth slower or faster, at the same pitch. "noise": 5 to 25 dB weaker
            than the speech, from white to brown. "codec": MP3 of 8 to 32 kbit/s, or a telephone's band.
            "gaps": up to a tenth of the recording silenced, and a band of frequencies removed (SpecAugment, Park et
            al., 2019, on the waveform).
        seed: of the run.

    Raises:
        ValueError: a kind is none of `KINDS`.
        ImportError: audiomentations is not installed.

    Example:
        >>> import numpy as np
        >>> from modeling_distilwhisper.data.augmentation import Augmentation
        >>> change = Augmentation(["noise"], seed=0)
        >>> clip = np.sin(np.arange(16000, dtype=np.float32))
        >>> change.start_epoch(1)
        >>> change(clip).shape, bool((change(clip) == change(clip)).all())
        ((16000,), True)
    """

    def __init__(self, kinds: Sequence[str], seed: int):
        check_kinds(kinds)
        require("audiomentations", "fast_mp3_augment")
        import audiomentations as lib

        each = {"p": SHARE}
        makers = {
            "tempo": lambda: lib.TimeStretch(min_rate=0.9, max_rate=1.1, leave_length_unchanged=False, **each),
            "noise": lambda: lib.AddColorNoise(min_snr_db=5, max_snr_db=25, min_f_decay=-6, max_f_decay=0, **each),
            "codec": lambda: lib.OneOf(
                [
                    lib.Mp3Compression(min_bitrate=8, max_bitrate=32, backend="fast-mp3-augment", p=1),
                    lib.BandPassFilter(
                        min_center_freq=1500,
                        max_center_freq=2000,
                        min_bandwidth_fraction=1.4,
                        max_bandwidth_fraction=1.8,
                        p=1,
                    ),
                ],
                **each,
            ),
            "gaps": lambda: lib.Compose(
                [
                    lib.TimeMask(min_band_part=0.02, max_band_part=0.1, p=1),
                    lib.BandStopFilter(min_bandwidth_fraction=0.1, max_bandwidth_fraction=0.5, p=1),
                ],
                **each,
            ),
        }
        self.kinds = [kind for kind in KINDS if kind in kinds]  # in the order in which speech meets them
        self.change = lib.Compose([makers[kind]() for kind in self.kinds])
        self.seed = seed
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers of a data loader read it too

    def start_epoch(self, epoch: int) -> None:
        """Draws anew: in each epoch a recording is changed in another way."""
        self.epoch.fill_(epoch)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Changes a recording.

        Args:
            samples: `(samples,)` at 16 kHz, float32. They stay as they are.

        Returns:
            `(changed samples,)`, float32, from -1 to 1.
        """
        if len(samples) < SHORTEST * SAMPLING_RATE:
            return samples
        key = f"{self.seed} {int(self.epoch)} ".encode() + np.ascontiguousarray(samples).tobytes()
        with _seeded(int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "big")):
            changed = self.change(samples.copy(), sample_rate=SAMPLING_RATE)
        peak = np.abs(changed).max(initial=0)
        return np.ascontiguousarray(changed / max(peak, 1.0), dtype=np.float32)


def check_kinds(kinds: Sequence[str]) -> None:
    """Raises `ValueError` if a kind is none of `KINDS`."""
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"--augment: expected some of {', '.join(KINDS)}, got {', '.join(map(repr, unknown))}.")


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds the generators that audiomentations draws from, and gives them back as they were."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
