"""Reading audio files: any format of libsndfile, as mono float32 at 16 kHz."""

import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLING_RATE = 16_000  # Hz, Whisper's


def read_audio(source: str | Path | bytes | Mapping) -> np.ndarray:
    """Decodes wav, flac, mp3, ogg or opus from a path, from bytes, or from the `audio` of a row: a mapping with `bytes`
    or, where they are None, `path`.

    Returns:
        Samples `(samples,)`, float32, mean over channels, resampled to 16 kHz.

    Raises:
        ValueError: the source cannot be decoded or holds NaN; the message names it and the reason.
    """
    if isinstance(source, Mapping):
        source = source["path"] if source["bytes"] is None else source["bytes"]
    name = f"{len(source)} bytes" if isinstance(source, bytes) else source
    file = io.BytesIO(source) if isinstance(source, bytes) else os.fsencode(source)
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError, ValueError) as error:
        why = getattr(error, "error_string", error)
        raise ValueError(f"{name} is not readable audio ({why}). Expected wav, flac, mp3, ogg or opus.") from None
    if not np.isfinite(samples).all():
        raise ValueError(f"{name} has samples that are no numbers. Expected finite ones.")
    mono = samples.mean(axis=1)
    return mono if rate == SAMPLING_RATE else soxr.resample(mono, rate, SAMPLING_RATE)
