"""A recording of any length to its transcript, by windows that share batches with those of other requests."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from ..data.audio import read_audio
from ..data.mono import SAMPLING_RATE, at_most
from ..data.voice import Detector
from ..transcription.segments import UNDETERMINED, Transcript
from ..transcription.sentences import timed_text
from ..transcription.windows import Window, cut_windows
from .errors import ApiError
from .items import DETECT, Description, Item, Outcome, Settings
from .listening import Listener
from .metrics import Metrics

Call = Callable[[Item], Awaitable[Outcome]]  # gives a window to a replica
DECODERS = 2  # recordings that are decoded at a time


class Recogniser:
    """Transcribes recordings by the replicas.

    Args:
        call: gives a window to a replica.
        description: of the model.
        detector: finds speech.
        at_once: the most windows of a recording that are under way. More would keep others out of the batches.
        minutes: the longest recording.
        metrics: of the server.
        log: writes a line for the people who run the server.
    """

    def __init__(
        self,
        call: Call,
        description: Description,
        detector: Detector,
        *,
        at_once: int,
        minutes: float,
        metrics: Metrics,
        log: Callable[[str], None],
    ):
        self.call, self.description = call, description
        self.listener = Listener(detector)
        self.at_once, self.minutes = at_once, minutes
        self.metrics, self.log = metrics, log
        self._decoders = ThreadPoolExecutor(DECODERS, "decoder")

    async def decode(self, file: BinaryIO) -> np.ndarray:
        """The samples `(samples,)` of a recording.

        Raises:
            ApiError: it cannot be read, is empty or too long.
        """
        try:
            samples = await asyncio.get_running_loop().run_in_executor(self._decoders, self._decode, file)
        except ValueError as error:
            raise ApiError(400, str(error), "invalid_audio", param="file") from None
        if not len(samples):
            raise ApiError(400, "The recording is empty.", "invalid_audio", param="file")
        return samples

    def _decode(self, file: BinaryIO) -> np.ndarray:
        with at_most(self.minutes / 60):
            return read_audio(file.read())

    async def transcribe(
        self, samples: np.ndarray, language: str | None, settings: Settings
    ) -> AsyncGenerator[Transcript, None]:
        """The transcript of each window, in temporal order, with times in the recording.

        Args:
            samples: `(samples,)` at 16 kHz.
            language: a code, or `None` to detect it in the first window.
            settings: how the windows are decoded.

        Raises:
            ApiError: a replica failed.
        """
        spans = await asyncio.wrap_future(self.listener.submit(samples))
        windows = cut_windows(spans, self.description.window)
        if language is None and windows:
            first = windows[0].cut(samples)
            language = (await self._ask(Item(first, None, replace(settings, task=DETECT)))).language
        free = asyncio.Semaphore(self.at_once)

        async def one(window: Window) -> Transcript:
            async with free:
                outcome = await self._ask(Item(window.cut(samples), language, settings))
            segments, dropped = timed_text(window, outcome.text) if outcome.text is not None else ([], [])
            return Transcript(outcome.language or UNDETERMINED, window.length / SAMPLING_RATE, segments, dropped)

        tasks = [asyncio.ensure_future(one(window)) for window in windows]
        try:
            for task in tasks:
                yield await task
        finally:  # also if the client has hung up
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def complete(self, samples: np.ndarray, language: str | None, settings: Settings) -> Transcript:
        """The transcript of a recording. Arguments and errors as for `transcribe`."""
        async with aclosing(self.transcribe(samples, language, settings)) as windows:
            return joined([window async for window in windows], len(samples) / SAMPLING_RATE, language)

    async def _ask(self, item: Item) -> Outcome:
        outcome = await self.call(item)
        self.metrics.add_outcome(outcome)
        if outcome.error is not None:
            self.log(f"{outcome.error} {outcome.detail}")
            raise ApiError(500, outcome.error, "model_error")
        return outcome


def joined(windows: list[Transcript], seconds: float, language: str | None) -> Transcript:
    """One transcript of those of a recording's windows."""
    found = windows[0].language if windows else language or UNDETERMINED
    segments = [segment for window in windows for segment in window.segments]
    return Transcript(found, seconds, segments, [part for window in windows for part in window.dropped])
