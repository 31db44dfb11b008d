"""Timed transcripts of many recordings: their windows of speech go through the model together, in full batches."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from transformers import BatchFeature, WhisperProcessor

from ..data.mono import SAMPLING_RATE
from ..data.samples import as_samples
from ..data.voice import Detector, all_of_it
from ..runs.detection import WHISPER, check_candidates
from .segments import UNDETERMINED, Dropped, Segment, Transcript
from .sentences import timed_text
from .window_batch import WindowText, detect_languages, transcribe_windows, window_features
from .windows import Window, cut_windows

Item = TypeVar("Item")
Recording = tuple[Any, np.ndarray, str | None]  # a key that tells it apart, its samples and its language
# Batches that are planned at a time. A batch takes as long as its longest window, so similar ones share a batch.
BATCHES_AHEAD = 4


class BatchTranscriber:
    """Transcribes recordings of any length and of any languages by one model.

    Speech is found by the detector and packed into windows of up to 30 s, without the pauses between. The windows of
    all recordings fill batches. No transcript depends on the other recordings.

    Args:
        model: a multilingual Whisper of any kind, in evaluation mode.
        processor: the model's.
        detector: finds speech; `None`: all of a recording counts as speech, and a long one is cut anywhere.
        batch_size: windows in a batch.
        detect_each: whether a language that is not given is detected for each window, not once for a recording.
        candidate_languages: names of the languages to choose from; `None`: all.
        detection: "whisper", its own; or "trained", by the model's trained detection rows.
        on_batch: called after each batch with the seconds of speech that are done.
        settings: for `generate`, such as `num_beams=5` or `task="translate"`.

    Raises:
        ValueError: a candidate that the model cannot detect; or trained rows are asked for, and it has none.

    Example:
        >>> from modeling_distilwhisper import BatchTranscriber, load_model, load_processor, read_audio
        >>> folder = "examples/quickstart/teacher"
        >>> model, processor = load_model(folder, "float32", "cpu"), load_processor(folder)
        >>> clip = read_audio("examples/quickstart/in_domain/ca/test/000.ogg")
        >>> transcriber = BatchTranscriber(model, processor, detector=None)
        >>> [(name, transcript.text) for name, transcript in transcriber([("000", clip, "ca")])]
        [('000', 'disset quilograms')]
    """

    def __init__(
        self,
        model,
        processor: WhisperProcessor,
        detector: Detector | None,
        *,
        batch_size: int = 8,
        detect_each: bool = False,
        candidate_languages: Sequence[str] | None = None,
        detection: str = WHISPER,
        on_batch: Callable[[float], None] | None = None,
        **settings: Any,
    ):
        self.model, self.processor, self.detector = model, processor, detector
        self.batch_size, self.detect_each, self.settings = batch_size, detect_each, settings
        self.on_batch, self.speech_seconds = on_batch, 0.0
        check_candidates(model, candidate_languages, detection)
        self.choice = (candidate_languages, detection)

    def __call__(self, recordings: Iterable[Recording]) -> Iterator[tuple[Any, Transcript | Exception]]:
        """Yields the key and transcript of each recording when it is done; in place of a transcript, what went wrong.

        Args:
            recordings: with samples as `as_samples` takes them, and a code or `None`. They are taken as they are
                needed: about `BATCHES_AHEAD` batches are in memory, and the recordings that they are of.
        """
        waiting: deque[_Piece] = deque()
        most = BATCHES_AHEAD * self.batch_size
        for job in one_ahead(self._job(*recording) for recording in recordings):
            if not job.windows:
                yield job.key, job.result()
            waiting.extend(_Piece(job, window) for window in job.windows)
            while len(waiting) >= most:
                yield from self._run([waiting.popleft() for _ in range(most)])
        if waiting:
            yield from self._run([*waiting])

    def _job(self, key: Any, samples: np.ndarray, language: str | None) -> "_Job":
        """A recording, with its windows of speech."""
        try:
            samples = as_samples(samples)
            windows = cut_windows((self.detector or all_of_it)(samples), self.processor.feature_extractor.n_samples)
            return _Job(key, samples, language, windows)
        except Exception as error:  # of this recording alone
            return _Job(key, samples, language, [], error=error)

    def _run(self, pieces: Sequence["_Piece"]) -> Iterator[tuple[Any, Transcript | Exception]]:
        """Transcribes windows in batches; yields the recordings that are done with them."""
        if not self.detect_each:
            self._detect([piece for piece in pieces if piece.job.language is None and piece.is_first])
        for batch, features in self._with_features(sorted(pieces, key=lambda piece: -piece.window.length)):
            self._transcribe(*_unfailed(batch, features))
            self.speech_seconds += sum(piece.window.length for piece in batch) / SAMPLING_RATE
            if self.on_batch is not None:
                self.on_batch(self.speech_seconds)
            for job in dict.fromkeys(piece.job for piece in batch):
                if len(job.texts) == len(job.windows):
                    yield job.key, job.result()

    def _with_features(self, pieces: Sequence["_Piece"]) -> Iterator[tuple[Sequence["_Piece"], BatchFeature]]:
        """Batches with their features, which are computed while the model works on the batch before."""
        batches = (pieces[start : start + self.batch_size] for start in range(0, len(pieces), self.batch_size))
        return one_ahead((batch, self._features(batch)) for batch in batches)

    def _features(self, pieces: Sequence["_Piece"]) -> BatchFeature:
        return window_features(self.processor, [piece.window.cut(piece.job.samples) for piece in pieces])

    def _detect(self, pieces: Sequence["_Piece"]) -> None:
        """Gives recordings their language, from their first windows."""
        for batch, features in self._with_features(pieces):
            with suppress(Exception):  # then each window is detected alone, where a failure is that of its recording
                for piece, language in zip(batch, self._languages(batch, features), strict=True):
                    piece.job.language = language

    def _languages(self, pieces: Sequence["_Piece"], features: BatchFeature) -> list[str]:
        """The language of each window: that of its recording, or else the one that is detected."""
        languages = [piece.job.language for piece in pieces]
        known = [language for language in languages if language is not None]
        if len(known) == len(languages):
            return known
        detected = detect_languages(self.model, self.processor, features, *self.choice)
        return [language or other for language, other in zip(languages, detected, strict=True)]

    def _transcribe(self, pieces: Sequence["_Piece"], features: BatchFeature) -> None:
        """Puts the text of each window into its job. If a batch fails, its windows are tried one by one."""
        if not pieces:
            return
        try:
            languages = self._languages(pieces, features)
            texts = transcribe_windows(self.model, self.processor, features, languages, **self.settings)
            for piece, language, text in zip(pieces, languages, texts, strict=True):
                piece.add(text, language, self.detect_each)
        except Exception as error:
            if len(pieces) > 1:
                for piece in pieces:
                    self._transcribe(*_unfailed([piece], self._features([piece])))
            else:
                pieces[0].job.fail(error.with_traceback(None), pieces[0].window)  # which would hold memory


@dataclass(eq=False)
class _Job:
    """A recording with its windows, and what they say so far."""

    key: Any
    samples: np.ndarray
    language: str | None
    windows: list[Window]
    texts: dict[Window, tuple[str, list[Segment], list[Dropped]]] = field(default_factory=dict)
    error: Exception | None = None

    def fail(self, error: Exception, window: Window) -> None:
        self.error = error
        self.texts[window] = ("", [], [])

    def result(self) -> Transcript | Exception:
        if self.error is not None:
            return self.error
        speech: Counter[str] = Counter()
        transcript = Transcript(self.language or UNDETERMINED, len(self.samples) / SAMPLING_RATE, [])
        for window in self.windows:
            language, segments, dropped = self.texts[window]
            speech[language] += window.length
            transcript.segments += segments
            transcript.dropped += dropped
        if self.language is None and speech:
            transcript.language = speech.most_common(1)[0][0]
        return transcript


@dataclass(eq=False)
class _Piece:
    """A window of a recording."""

    job: _Job
    window: Window

    @property
    def is_first(self) -> bool:
        return self.window is self.job.windows[0]

    def add(self, text: WindowText, language: str, mark: bool) -> None:
        """Takes the text of the window, or drops it if it is invented.

        Args:
            text: of the window.
            language: of the window.
            mark: whether segments name it.
        """
        segments, dropped = timed_text(self.window, text)
        for segment in segments:
            segment.language = language if mark else None
        self.job.texts[self.window] = (language, segments, dropped)


def _unfailed(pieces: Sequence[_Piece], features: BatchFeature) -> tuple[Sequence[_Piece], BatchFeature]:
    """Windows without those of recordings that have failed already: no more time is spent on them."""
    rows = [row for row, piece in enumerate(pieces) if piece.job.error is None]
    for piece in pieces:
        if piece.job.error is not None:
            piece.job.fail(piece.job.error, piece.window)
    if len(rows) == len(pieces):
        return pieces, features
    return [pieces[row] for row in rows], BatchFeature({name: values[rows] for name, values in features.items()})


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items. Each is made in another thread, while the one before is worked on."""
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(_take, items)
        while taken := ahead.result():
            ahead = pool.submit(_take, items)
            yield from taken


def _take(items: Iterator[Item]) -> list[Item]:
    """The next item in a list, or an empty list."""
    return [*islice(items, 1)]
