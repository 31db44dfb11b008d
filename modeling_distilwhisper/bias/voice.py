"""Detects recordings without speech. FLEURS has some (section 3.1.1)."""

import pkgutil
from collections.abc import Callable

import numpy as np
import torch

from ..data.audio import SAMPLING_RATE
from ..runs.extras import require

HasSpeech = Callable[[np.ndarray], bool]  # of mono samples at 16 kHz


def find_detector(name: str) -> HasSpeech | None:
    """Returns a voice activity detector: "silero", "none", or any callable, named "module:function".

    Raises:
        ValueError: the callable does not exist.
    """
    if name == "silero":
        return Silero()
    if name == "none":
        return None
    try:
        detector = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"There is no detector {name!r} ({error}). Expected silero, none, or module:function, a callable that "
            "takes samples at 16 kHz and returns whether they hold speech."
        ) from None
    if not callable(detector):
        raise ValueError(f"{name} is a {type(detector).__name__}. Expected a callable: module:function.")
    return detector


class Silero:
    """Detects speech with silero-vad. Speech shorter than its minimum, a quarter of a second, does not count.

    Raises:
        ImportError: silero-vad is not installed.
    """

    def __init__(self):
        threads = torch.get_num_threads()
        require("silero_vad")
        from silero_vad import get_speech_timestamps, load_silero_vad  # an extra

        torch.set_num_threads(threads)  # its import sets one thread, and transcription would be slow
        self._model, self._find = load_silero_vad(), get_speech_timestamps

    def __call__(self, samples: np.ndarray) -> bool:
        peak = np.abs(samples).max(initial=0.0)
        if not peak:
            return False
        # The division makes quiet speech loud. The detector would miss some of it.
        return bool(self._find(torch.from_numpy(samples / peak), self._model, sampling_rate=SAMPLING_RATE))
