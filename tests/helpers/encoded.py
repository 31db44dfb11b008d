"""Recordings in every form, as bytes; and a machine without ffmpeg."""

import io
import os
import shutil
from functools import cache

import numpy as np
import pytest
import soundfile

from .speech import RATE, tone

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is not installed")


@cache
def encoded(form: str, seconds: float = 3.0, rate: int = RATE) -> bytes:
    noise = np.random.default_rng(0).standard_normal(int(seconds * RATE)).astype(np.float32)
    return written(tone(440, seconds) + 0.01 * noise, rate, form)


def written(samples, rate: int = RATE, form: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    container, _, codec = form.partition(":")
    soundfile.write(file, samples, rate, format=container, subtype=codec or subtype)
    return file.getvalue()


class ffmpeg_absent:
    """Hides ffmpeg, as on a machine without it."""

    def __enter__(self):
        self.path = os.environ["PATH"]
        os.environ["PATH"] = ""

    def __exit__(self, *_):
        os.environ["PATH"] = self.path
