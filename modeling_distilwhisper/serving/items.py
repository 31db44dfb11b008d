"""What goes to a replica and comes back: windows of recordings, each an item of a batch."""

from dataclasses import dataclass, field

import numpy as np

from ..transcription.window_batch import WindowText

DETECT = "detect"  # a task beside Whisper's two: only the language is asked for


@dataclass(frozen=True)
class Settings:
    """How a window is decoded. Only windows with the same settings can share a call of `generate`.

    Attributes:
        task: "transcribe", "translate", or `DETECT`.
        prompt: text that Whisper takes for the words before the window.
        temperature: 0 is greedy decoding.
        logprobs: whether the mean log probability of the text is wanted. Windows that differ in it share a call.
    """

    task: str = "transcribe"
    prompt: str = ""
    temperature: float = 0.0
    logprobs: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Item:
    """A window of a recording.

    Attributes:
        samples: `(samples,)` at 16 kHz, at most Whisper's window.
        language: a code; `None` where the task is to detect it.
        settings: how it is decoded.
    """

    samples: np.ndarray
    language: str | None
    settings: Settings


@dataclass(frozen=True)
class Outcome:
    """What a replica answers to an item.

    Attributes:
        language: the code, given or detected.
        text: with the times of words in the window; `None` if only the language was asked for, or if there is an error.
        error: a sentence for the client if there is no transcript.
        detail: of the error, for the server's log alone.
        batches: number of rows in each call of `generate` since the last outcome; only the first one of a batch has it.
        loaded: bytes of the experts in memory.
    """

    language: str | None
    text: WindowText | None = None
    error: str | None = None
    detail: str = ""
    batches: tuple[int, ...] = ()
    loaded: int = 0


@dataclass(frozen=True)
class Description:
    """What a server has to know of its model.

    Attributes:
        languages: names that the model knows.
        experts: codes of the languages with experts.
        window: of Whisper, in samples.
    """

    languages: tuple[str, ...]
    experts: tuple[str, ...]
    window: int
