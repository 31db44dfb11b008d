"""Where a recording holds speech: a voice activity detector, silero-vad or any callable."""

import pkgutil
import threading
from collections.abc import Callable
from functools import partial

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
        peak = np.abs(samples).max(initial=0.0)
        if not peak:
            return []
        # The library reads the samples through the model that it is given, which knows what they are.
        found = self._find(torch.from_numpy(samples), Probabilities(self._probabilities(samples, peak)))
        return [(span["start"], span["end"]) for span in found]

    def _model(self):
        """This thread's model: it keeps what it heard last, which two recordings at a time would mix."""
        if not hasattr(self._models, "one"):
            from silero_vad import load_silero_vad

            self._models.one = load_silero_vad()
        return self._models.one

    @torch.inference_mode()
    def _probabilities(self, samples: np.ndarray, peak: float) -> torch.Tensor:
        """The probability of speech in each step `(steps,)`."""
        steps = -(-len(samples) // STEP)
        lead, stripe = (LEAD, STRIPE) if steps > STRIPE else (0, steps)
        begins = [begin - lead for begin in range(0, steps, stripe)]
        found, model = [], self._model()
        for first in range(0, len(begins), SIDE_BY_SIDE):
            rows = np.stack([_cut(samples, begin, lead + stripe) for begin in begins[first : first + SIDE_BY_SIDE]])
            # The division makes quiet speech loud. The detector would miss some of it.
            columns = torch.from_numpy(rows / peak).split(STEP, dim=1)
            model.reset_states()
            values = [model(column, SAMPLING_RATE)[:, 0] for column in columns]
            found.append(torch.stack(values[lead:], dim=1).reshape(-1))
        return torch.cat(found)[:steps]


def _cut(samples: np.ndarray, begin: int, count: int) -> np.ndarray:
    """Steps of a recording, from `begin` on, which may be before its start; zeros are where it has none."""
    first, last = begin * STEP, (begin + count) * STEP
    part = samples[max(0, first) : last]
    before = max(0, -first)
    return np.pad(part, (before, last - first - before - len(part)))


class Probabilities:
    """What silero-vad calls in place of its model: the probabilities that are known already, in their order."""

    def __init__(self, values: torch.Tensor):
        self.values = iter(values)

    def reset_states(self) -> None:
        """Nothing: a recording is read once."""

    def __call__(self, samples: torch.Tensor, rate: int) -> torch.Tensor:
        return next(self.values)
