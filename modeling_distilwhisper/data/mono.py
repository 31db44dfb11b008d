"""Blocks of decoded audio to mono samples at 16 kHz, and the bounds on what a recording may be."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

SAMPLING_RATE = 16_000  # Hz, Whisper's
MAX_HOURS = 8  # 1.8 GB of samples. A small file can unfold to any length.
_MOST_HOURS: ContextVar[float] = ContextVar("most_hours", default=float("inf"))  # of this call
RATES = (2_000, 768_000)  # Hz, of a recording. A rate outside comes from a damaged header.
MAX_CHANNELS = 64  # a sphere of microphones has as many
# Times full scale. Samples of floats may exceed 1; those of 16 bits that were not divided by 32768 are a mistake.
MAX_LEVEL = 100.0
# Of the energy of the loudest channel. The mean of independent channels has half of it, or a quarter if one is silent.
CANCELLED = 0.01


def check_form(rate: int, channels: int) -> None:
    """Refuses rates and numbers of channels that no recording of speech has.

    Raises:
        ValueError: one is out of its bounds.
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"its header says {rate} Hz, expected {RATES[0]} to {RATES[1]} Hz")
    if not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f"its header says {channels} channels, expected at most {MAX_CHANNELS}")


@contextmanager
def at_most(hours: float) -> Iterator[None]:
    """Within it, this thread or task refuses recordings that are longer, while they are decoded: not of `MAX_HOURS`."""
    token = _MOST_HOURS.set(hours)
    try:
        yield
    finally:
        _MOST_HOURS.reset(token)


def check_length(seconds: float, what: str = "it goes on for") -> None:
    """Refuses a recording longer than `MAX_HOURS`, or than `at_most` allows.

    Raises:
        ValueError: it is longer.
    """
    most = min(MAX_HOURS, _MOST_HOURS.get())
    if seconds > most * 3600:
        hours, bound = f"{seconds / 3600:,.1f} hours", f"{most:g}"
        if most < MAX_HOURS:  # of the call
            hours, bound = f"{seconds / 60:,.1f} minutes", f"{60 * most:g}"
        raise ValueError(f"{what} {hours}, expected at most {bound}: divide it")


def check_level(samples: np.ndarray) -> None:
    """Refuses samples that are not finite, or absurdly large.

    Raises:
        ValueError: there is one.
    """
    level = max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))  # NaN, if a sample is
    if not np.isfinite(level):
        raise ValueError("samples are NaN or infinite, expected finite ones")
    if level > MAX_LEVEL:
        raise ValueError(f"samples reach {level:.3g} times full scale, expected -1 to 1 (16 bits: divide by 32768)")


class Mono:
    """Collects the blocks of a recording as mono samples at 16 kHz, in the memory of the result.

    Args:
        rate: of the blocks, in Hz.
        channels: in each block.
        channel: the one to take; `None`: the mean of all.

    Attributes:
        frames: number of frames so far; a frame is a sample of each channel.
        rest: the error of what follows the audio, if it is no audio.

    Raises:
        ValueError: rate or channels are out of bounds.
    """

    def __init__(self, rate: int, channels: int, channel: int | None = None):
        check_form(rate, channels)
        self.rate, self.channel, self.frames = rate, channel, 0
        self.rest: Exception | None = None
        self._energies = np.zeros(channels)
        self._energy_of_mean = 0.0
        self._resampler = None
        if rate != SAMPLING_RATE:
            import soxr  # samples that are at this rate already need no library

            self._resampler = soxr.ResampleStream(rate, SAMPLING_RATE, 1, "float32")
        self._samples = bytearray()  # grows in place, unlike a list of arrays that is joined at the end

    @property
    def seconds(self) -> float:
        """Duration so far."""
        return self.frames / self.rate

    def add(self, block: np.ndarray) -> None:
        """Adds a block `(frames, channels)`.

        Raises:
            ValueError: a sample is not finite or absurdly large, or the recording becomes too long.
        """
        self.frames += len(block)
        check_length(self.seconds)
        check_level(block)
        mono = block.mean(axis=1) if self.channel is None else np.ascontiguousarray(block[:, self.channel])
        if block.shape[1] > 1:
            self._energies += np.einsum("fc,fc->c", block, block)
            self._energy_of_mean += float(np.dot(mono, mono))
        self._append(mono if self._resampler is None else self._resampler.resample_chunk(mono))

    def finish(self) -> np.ndarray:
        """The samples `(samples,)`. Call it once."""
        if self._resampler is not None:
            self._append(self._resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True))
        return np.frombuffer(self._samples, dtype=np.float32)

    def _append(self, samples: np.ndarray) -> None:
        self._samples += samples.tobytes()

    def loudest_of_cancelled(self) -> int | None:
        """The loudest channel, if the channels cancel each other in the mean; otherwise `None`."""
        loudest = int(self._energies.argmax())
        is_cancelled = self.channel is None and self._energy_of_mean < CANCELLED * self._energies[loudest]
        return loudest if is_cancelled and len(self._energies) > 1 else None
