"""Where a recording holds speech: a voice activity detector, silero-vad or any callable."""

import pkgutil
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from .mono import SAMPLING_RATE

Span = tuple[int, int]  # start and end, in samples
# From mono samples at 16 kHz to the spans of speech, in temporal order. One whose answer is only asked for its truth
# (recordings without speech of a corpus) may give a bool. The server calls it in several threads at a time.
Detector = Callable[[np.ndarray], list[Span]]

STEP = 512  # samples that silero-vad reads at a time
# A recording is read in stripes side by side, which takes a fifth of the time. Each begins earlier than what counts of
# it, so that the detector's memory of the sound before is there.
STRIPE, LEAD = 20 * SAMPLING_RATE // STEP, 4 * SAMPLING_RATE // STEP  # in steps
SIDE_BY_SIDE = 100  # stripes: half an hour
MARGIN_MS = 200  # added before and after speech: soft consonants are missed at both ends
MIN_PAUSE_MS = 160


def all_of_it(samples: np.ndarray) -> list[Span]:
    """A detector that takes all of a recording for speech."""
    return [(0, len(samples))] if len(samples) else []


def find_detector(name: str) -> Detector | None:
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
            "takes samples at 16 kHz and returns the spans of speech: a list of (start, end), in samples."
        ) from None
    if not callable(detector):
        raise ValueError(f"{name} is a {type(detector).__name__}. Expected a callable: module:function.")
    return detector


class Silero:
    """Finds speech with silero-vad. Speech shorter than its minimum, a quarter of a second, does not count.

    The spans have a margin of 0.2 s on both sides. Threads may share a detector.

    Args:
        max_seconds: a longer span is cut where speech is least probable.

    Example:
        >>> from modeling_distilwhisper import Silero, read_audio
        >>> detector = Silero()
        >>> spans = detector(read_audio("examples/quickstart/in_domain/ca/test/001.ogg"))
        >>> len(spans), spans[0][0] < spans[0][1]
        (1, True)
    """

    def __init__(self, max_seconds: float = 30.0):
        threads = torch.get_num_threads()
        from silero_vad import get_speech_timestamps  # here: it takes a second, and sets the threads

        torch.set_num_threads(threads)  # one would make transcription slow
        self._models = threading.local()
        self._model()  # what is missing shows here
        self._find = partial(
            get_speech_timestamps,
            sampling_rate=SAMPLING_RATE,
            max_speech_duration_s=max_seconds,
            min_silence_duration_ms=MIN_PAUSE_MS,
            speech_pad_ms=MARGIN_MS,
        )

    def __call__(self, samples: np.ndarray) -> list[Span]:
        return self.of_several([samples])[0]

    def of_several(self, recordings: Sequence[np.ndarray]) -> list[list[Span]]:
        """The spans of each recording. Short ones take much less time together than one after the other.

        Args:
            recordings: `(samples,)` each, at 16 kHz.
        """
        peaks = [np.abs(samples).max(initial=0.0) for samples in recordings]
        counts = [-(-len(samples) // STEP) if peak else 0 for samples, peak in zip(recordings, peaks, strict=True)]
        stripes = [
            _Stripe(samples, peak, begin, min(STRIPE, steps - begin), LEAD if begin else 0)
            for samples, peak, steps in zip(recordings, peaks, counts, strict=True)
            for begin in range(0, steps, STRIPE)
        ]
        groups = (stripes[first : first + SIDE_BY_SIDE] for first in range(0, len(stripes), SIDE_BY_SIDE))
        heard = (values for group in groups for values in self._listen(group))
        # The library reads the samples through the model that it is given, which knows what they are.
        known = ([next(heard) for _ in range(0, steps, STRIPE)] for steps in counts)
        return [self._spans(*pair) for pair in zip(recordings, known, strict=True)]

    def _spans(self, samples: np.ndarray, probabilities: list[torch.Tensor]) -> list[Span]:
        if not probabilities:
            return []
        found = self._find(torch.from_numpy(samples), Probabilities(torch.cat(probabilities)))
        return [(span["start"], span["end"]) for span in found]

    def _model(self):
        """This thread's model: it keeps what it heard last, which two recordings at a time would mix."""
        if not hasattr(self._models, "one"):
            from silero_vad import load_silero_vad

            self._models.one = load_silero_vad()
        return self._models.one

    @torch.inference_mode()
    def _listen(self, stripes: list["_Stripe"]) -> list[torch.Tensor]:
        """The probability of speech in each step of each stripe, `(steps,)`."""
        model = self._model()
        longest = max(stripe.lead + stripe.steps for stripe in stripes)
        columns = torch.from_numpy(np.stack([stripe.cut(longest) for stripe in stripes])).split(STEP, dim=1)
        model.reset_states()
        values = torch.cat([model(column, SAMPLING_RATE) for column in columns], dim=1)
        return [row[stripe.lead :][: stripe.steps] for row, stripe in zip(values, stripes, strict=True)]


class _Stripe(NamedTuple):
    """Steps of a recording, from `begin` on. The steps of `lead` are heard before, and do not count."""

    samples: np.ndarray
    peak: float
    begin: int
    steps: int
    lead: int

    def cut(self, steps: int) -> np.ndarray:
        """So many steps of it `(samples,)`, with zeros behind. Quiet speech is loud here: some would be missed."""
        first = (self.begin - self.lead) * STEP
        part = self.samples[first : (self.begin + self.steps) * STEP]
        return np.pad(part / self.peak, (0, steps * STEP - len(part)))


class Probabilities:
    """What silero-vad calls in place of its model: the probabilities that are known already, in their order."""

    def __init__(self, values: torch.Tensor):
        self.values = iter(values)

    def reset_states(self) -> None:
        """Nothing: a recording is read once."""

    def __call__(self, samples: torch.Tensor, rate: int) -> torch.Tensor:
        return next(self.values)
