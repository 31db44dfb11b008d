"""Reads audio of any format of libsndfile, or of ffmpeg where it is installed, as mono float32 at 16 kHz."""

import io
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

from .decoding import decode
from .ffmpeg import decode_with_ffmpeg, is_for_ffmpeg
from .mono import SAMPLING_RATE
from .windows import Content, File

EXPECTED = "Expected wav, flac, mp3, ogg or opus"

__all__ = ["SAMPLING_RATE", "read_audio"]


def read_audio(source: str | Path | bytes | Mapping) -> np.ndarray:
    """Decodes wav, flac, mp3, ogg or opus; where the ffmpeg program is installed, also m4a, amr, webm and others.

    All of the audio is read, whatever the header says of its length: recordings that were joined, and those of a
    recorder that never wrote a length.

    Args:
        source: a path, the bytes of a file, or the `audio` of a row: a mapping with `bytes` and
            `path`, which is read if `bytes` is `None`.

    Returns:
        Samples `(samples,)` at 16 kHz: float32, the mean of the channels. Where channels cancel each other (a
        recording with one channel inverted), the samples are those of the loudest channel.

    Raises:
        ValueError: the source is no file, cannot be decoded, was cut off, or is beyond the bounds of `data/mono.py`
            on length, rate, channels and level; or a sample is NaN or infinite. The message names source and reason.

    Example:
        >>> from modeling_distilwhisper import read_audio
        >>> samples = read_audio("examples/quickstart/in_domain/ca/test/000.ogg")
        >>> samples.dtype, samples.ndim, len(samples) / 16_000  # seconds
        (dtype('float32'), 1, 1.204)
    """
    if isinstance(source, Mapping):
        if not {"bytes", "path"} & source.keys():
            raise ValueError(
                f"A mapping with {', '.join(map(str, source)) or 'nothing'} is no audio of a row. Expected `bytes` or "
                "`path`: do not decode the column (`Audio(decode=False)`)."
            )
        path = source.get("path")
        return read_audio("" if path is None else path) if source.get("bytes") is None else read_audio(source["bytes"])
    if isinstance(source, bytes | bytearray | memoryview):
        return _read(f"{len(source)} bytes", Content(source), bytes(source))
    if not isinstance(source, str | Path):
        raise ValueError(
            f"{type(source).__name__} is no audio. Expected a path, the bytes of a file, or a row's audio."
        )
    try:
        file = _open(source)
    except (OSError, ValueError) as error:
        raise ValueError(f"{source} is not readable audio ({_reason(error)}). {EXPECTED}.") from None
    return _read(str(source), file, source)


def _open(path: str | Path) -> io.FileIO:
    """Opens a file without a buffer, since libsndfile shares its position. To read a pipe could take forever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is a folder, a pipe or a device, not a file")
    return open(path, "rb", buffering=0)


def _read(name: str, file: File, source: str | Path | bytes) -> np.ndarray:
    """Decodes a file that is open; `source` is the same for another program."""
    try:
        with file:
            try:
                return decode(file)
            except soundfile.LibsndfileError as error:
                if not is_for_ffmpeg(error, file):
                    raise
            return decode_with_ffmpeg(source)
    except (soundfile.SoundFileError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name} is not readable audio ({_reason(error)}). {EXPECTED}.") from None


def _reason(error: Exception) -> str:
    return getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
