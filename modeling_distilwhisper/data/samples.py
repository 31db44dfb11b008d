"""Arrays that users give as recordings: understood, or refused with what to give."""

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np

from .mono import SAMPLING_RATE, check_level

EXPECTED = "Expected mono samples (samples,) at 16 kHz: float32 from -1 to 1 (`read_audio` gives them), or int16"


def as_samples(clip: Any, name: str = "The clip") -> np.ndarray:
    """Samples `(samples,)` as float32 from what a user gives: an array, a tensor or a list.

    Args:
        clip: of floats from -1 to 1, or of int16, whose full scale is 32768. An axis of one channel is dropped.
        name: of the clip, for the message.

    Raises:
        ValueError: it has several channels, another type, or samples that are not finite or absurdly large.
    """
    if hasattr(clip, "detach"):  # a tensor of torch: numpy reads neither bfloat16 nor a GPU
        clip = clip.detach().cpu()
        clip = (clip.float() if clip.is_floating_point() else clip).numpy()
    try:
        samples = np.asarray(clip)
    except ValueError:
        raise ValueError(f"{name} is no array of numbers. {EXPECTED}.") from None
    if samples.ndim == 2 and 1 in samples.shape:
        samples = samples.reshape(-1)
    if samples.ndim != 1:
        hint = " Take the mean of the channels, or one of them." if samples.ndim == 2 else ""
        raise ValueError(f"{name} has the shape {samples.shape}. {EXPECTED}.{hint}")
    if samples.dtype == np.int16:
        samples = samples.astype(np.float32) / 32768
    elif not (np.issubdtype(samples.dtype, np.floating) or not samples.size):
        raise ValueError(f"{name} has samples of {samples.dtype}. {EXPECTED}.")
    try:
        check_level(samples)
    except ValueError as error:
        raise ValueError(f"{name} cannot be used: {error}. {EXPECTED}.") from None
    return np.ascontiguousarray(samples, dtype=np.float32)


def samples_of_row(audio: Any) -> np.ndarray:
    """Samples `(samples,)` of a row's audio: of one that is decoded already, or of what `read_audio` takes.

    Args:
        audio: samples at 16 kHz, as `as_samples` takes them; a mapping of them, `array`, and their `sampling_rate`, as
            `datasets` decodes them; or a path, the bytes of a file, or a mapping with `bytes` and `path`.

    Raises:
        ValueError: it is at another rate, or what `as_samples` and `read_audio` raise.
    """
    if isinstance(audio, Mapping) and "array" in audio:
        if (rate := audio.get("sampling_rate")) != SAMPLING_RATE:
            raise ValueError(f"The audio of a row is at {rate} Hz, expected {SAMPLING_RATE}. Resample it first.")
        return as_samples(audio["array"], "The audio of a row")
    if isinstance(audio, list | np.ndarray) or hasattr(audio, "detach"):
        return as_samples(audio, "The audio of a row")
    from .audio import read_audio  # which needs libraries that samples in memory do not

    return read_audio(audio)


def as_clips(clips: Sequence) -> list[np.ndarray]:
    """A list of clips, each as `as_samples` gives it.

    Raises:
        ValueError: it is one clip without a list around it, or a clip cannot be used; the message names which.
    """
    if isinstance(clips, str | bytes) or getattr(clips, "ndim", 2) < 2 or (len(clips) and _is_number(clips[0])):
        raise ValueError(f"The clips are {type(clips).__name__} of single values. Expected a list of clips: [clip].")
    return [as_samples(clip, f"Clip {number}") for number, clip in enumerate(clips)]


def _is_number(value: Any) -> bool:
    return isinstance(value, Number) or getattr(value, "ndim", 1) == 0
