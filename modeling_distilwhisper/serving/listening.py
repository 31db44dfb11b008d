"""Where recordings hold speech: short ones that arrive at the same time are heard together."""

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ..data.mono import SAMPLING_RATE
from ..data.voice import Detector, Silero, Span
from .gathering import Gathering

MOST, WAIT = 16, 0.005  # recordings heard together, and seconds
SHORT = 30 * SAMPLING_RATE  # samples; a longer recording would let the others wait


class Listener:
    """Finds speech for many clients. silero-vad takes as long for many short recordings as for a few.

    Args:
        detector: finds speech. Only `Silero` hears several together.
    """

    def __init__(self, detector: Detector):
        self.detector = detector
        self._alone = ThreadPoolExecutor(1, "listener")
        several = detector.of_several if type(detector) is Silero else None
        self._together = several and Gathering(several, MOST, WAIT)

    def submit(self, samples: np.ndarray) -> "Future[list[Span]]":
        """The spans of speech in a recording, in samples; `samples` is `(samples,)` at 16 kHz."""
        if self._together is None or len(samples) > SHORT:
            return self._alone.submit(self.detector, samples)
        return self._together.submit(samples)
