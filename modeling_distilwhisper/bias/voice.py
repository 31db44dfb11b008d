"""Which recordings hold speech: FLEURS has empty ones (section 3.1.1)."""

import pkgutil
from collections.abc import Callable

import numpy as np
import torch

from ..data.audio import SAMPLING_RATE

HasSpeech = Callable[[np.ndarray], bool]  # of mono samples at 16 kHz


def find_detector(written: str) -> HasSpeech | None:
    """A voice activity detector by name: "silero", "none", or any callable as "module:function".

    Raises:
        ValueError: there is no such callable.
    """
    if written == "silero":
        return Silero()
    if written == "none":
        return None
    try:
        detector = pkgutil.resolve_name(written)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"There is no detector {written!r} ({error}). Expected silero, none, or module:function, a callable that "
            "takes samples at 16 kHz and says whether they hold speech."
        ) from None
    if not callable(detector):
        raise ValueError(f"{written} is a {type(detector).__name__}. Expected a callable: module:function.")
    return detector


class Silero:
    """Whether silero-vad finds at least a quarter of a second of speech, its own minimum.

    Raises:
        ImportError: silero-vad is not installed.
    """

    def __init__(self):
        threads = torch.get_num_threads()
        try:
            from silero_vad import get_speech_timestamps, load_silero_vad  # an extra
        except ImportError:
            raise ImportError(
                'Voice activity needs silero-vad: pip install "modeling_distilwhisper[bias]", or --vad none'
            ) from None
        torch.set_num_threads(threads)  # it sets one as it is imported, and transcribing would crawl
        self._model, self._find = load_silero_vad(), get_speech_timestamps

    def __call__(self, samples: np.ndarray) -> bool:
        peak = np.abs(samples).max(initial=0.0)
        if not peak:
            return False
        # Quiet speech counts: without this the detector misses some.
        return bool(self._find(torch.from_numpy(samples / peak), self._model, sampling_rate=SAMPLING_RATE))
