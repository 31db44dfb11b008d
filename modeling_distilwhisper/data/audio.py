"""Reads audio of any format of libsndfile as mono float32 at 16 kHz."""

import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLING_RATE = 16_000  # Hz, Whisper's


def read_audio(source: str | Path | bytes | Mapping) -> np.ndarray:
    """Decodes wav, flac, mp3, ogg or opus.

    Args:
        source: a path, the bytes of a file, or the `audio` of a row: a mapping with `bytes` and
            `path`, which is read if `bytes` is `None`.

    Returns:
        Samples `(samples,)` at 16 kHz: float32, the mean of the channels.

    Raises:
        ValueError: the source cannot be decoded, or a sample is NaN or infinite. The message names source and reason.

    Example:
        >>> from modeling_distilwhisper import read_audio
        >>> samples = read_audio("examples/quickstart/in_domain/ca/test/000.ogg")
        >>> samples.dtype, samples.ndim, len(samples) / 16_000  # seconds
        (dtype('float32'), 1, 1.204)
    """
    if isinstance(source, Mapping):
        return read_audio(source["path"] if source["bytes"] is None else source["bytes"])
    name = f"{len(source)} bytes" if isinstance(source, bytes) else source
    file = io.BytesIO(source) if isinstance(source, bytes) else os.fsencode(source)
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError, ValueError) as error:
        reason = getattr(error, "error_string", error)
        raise ValueError(f"{name} is not readable audio ({reason}). Expected wav, flac, mp3, ogg or opus.") from None
    if not np.isfinite(samples).all():
        raise ValueError(f"{name} has samples that are NaN or infinite. Expected finite samples.")
    mono = samples.mean(axis=1)
    return mono if rate == SAMPLING_RATE else soxr.resample(mono, rate, SAMPLING_RATE)
