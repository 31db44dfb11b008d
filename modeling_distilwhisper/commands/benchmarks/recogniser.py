"""A model that transcribes the same clips again and again: one by one, in batches, and packed into full windows."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import logging

from ...data.audio import read_audio
from ...evaluation.row_records import batches_by_length
from ...evaluation.transcription import transcribe_batch
from ...runs.any_whisper import load_model, load_processor
from ...runs.cpu_int8 import Int8Linear

CLIPS, PACKED = "clips", "packed"


@dataclass(frozen=True)
class Clip:
    """A recording: its audio as a row has it, Whisper's code of its language, and its length."""

    audio: Mapping[str, Any]
    language: str
    seconds: float


class Recogniser:
    """One model. A task is a pass over all clips, "clips, batch 8", or over the packed ones, "packed, batch 8".

    A pass reads the audio too. The transcripts are those of the first task.

    Args:
        name: of the model.
        arguments: `models` (locations by name), `clips`, `languages`, `batch_sizes`, `precision` and `device`.
    """

    def __init__(self, name: str, arguments: Namespace):
        logging.set_verbosity_error()  # `generate` warns about lengths at each call
        location = arguments.models[name]
        self.model = load_model(location, arguments.precision, arguments.device, arguments.languages)
        self.processor = load_processor(location)
        self.clips: Sequence[Clip] = arguments.clips
        window = self.window = self.processor.feature_extractor.chunk_length
        forms = {CLIPS: [[number] for number in range(len(self.clips))], PACKED: pack(self.clips, window)}
        self.windows = len(forms[PACKED])
        self.batches = {
            f"{form}, batch {size}": self._batches(parts, size, window)
            for form, parts in forms.items()
            for size in arguments.batch_sizes
        }
        self.tasks = list(self.batches)
        self.transcripts = [""] * len(self.clips)
        for batches in self.batches.values():  # what is done once alone, such as allocating memory, is not timed
            self._transcribe(batches[0])

    def _batches(self, parts: list[list[int]], size: int, window: float) -> list[list[list[int]]]:
        seconds = [sum(self.clips[number].seconds for number in part) for part in parts]
        order = sorted(range(len(parts)), key=lambda index: -seconds[index])
        return [[parts[index] for index in batch] for batch in batches_by_length(order, seconds, size, window)]

    def run(self, task: str) -> None:
        for batch in self.batches[task]:
            texts = self._transcribe(batch)
            if task == self.tasks[0]:
                for part, text in zip(batch, texts, strict=True):
                    self.transcripts[part[0]] = text

    def _transcribe(self, batch: list[list[int]]) -> list[str]:
        samples = [np.concatenate([read_audio(self.clips[number].audio) for number in part]) for part in batch]
        languages = [self.clips[part[0]].language for part in batch]
        return transcribe_batch(self.model, self.processor, samples, languages)

    def facts(self) -> dict:
        tensors = [*self.model.parameters(), *self.model.buffers()]
        weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        packed = [module for module in self.model.modules() if isinstance(module, Int8Linear)]
        weights += sum(matrix.in_features * matrix.out_features for matrix in packed)
        return {
            "weights": weights,
            "window": self.window,
            "windows": self.windows,
            "transcripts": self.transcripts,
        }


def pack(clips: Sequence[Clip], window: float) -> list[list[int]]:
    """The numbers of clips that are joined: one after the other, as long as they are of one language and fill no more
    than a window, in seconds. A longer clip is alone.

    Example:
        >>> pack([Clip({}, "gl", 12.0), Clip({}, "gl", 15.0), Clip({}, "gl", 8.0), Clip({}, "ca", 4.0)], 30)
        [[0, 1], [2], [3]]
    """
    parts: list[list[int]] = []
    language, seconds = None, 0.0
    for number, clip in enumerate(clips):
        if parts and clip.language == language and seconds + clip.seconds <= window:
            parts[-1].append(number)
            seconds += clip.seconds
        else:
            parts.append([number])
            language, seconds = clip.language, clip.seconds
    return parts
