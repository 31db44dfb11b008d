"""Engines that transcribe the same recordings: this package, Transformers' pipeline, faster-whisper, whisper.cpp."""

from argparse import Namespace
from collections.abc import Callable, Sequence

import numpy as np
from transformers import logging, pipeline

from ...data.mono import SAMPLING_RATE
from ...data.voice import Silero
from ...runs.any_whisper import load_model, load_processor
from ...runs.extras import require
from ...transcription.batched import BatchTranscriber
from ...transcription.sequential import transcribe_clips

LONG, CLIPS = "long recording", "clips"
Transcribe = Callable[[Sequence[np.ndarray]], list[str]]


class Engine:
    """One engine with one model. A task is a pass over the long recording, or over all clips.

    Args:
        name: one of `ENGINES`.
        arguments: `model`, `plain`, `converted` (plain for faster-whisper), `ggml` (plain for whisper.cpp), `language`,
            `batch_size`, `device`, `threads` and, by task, `recordings`.
    """

    tasks = [LONG, CLIPS]

    def __init__(self, name: str, arguments: Namespace):
        logging.set_verbosity_error()  # `generate` warns about lengths at each call
        self.recordings = arguments.recordings
        self.transcribe = ENGINES[name](arguments)
        self.transcripts: dict[str, list[str]] = {}
        self.transcribe(self.recordings[CLIPS][:1])  # what is done once alone is not timed

    def run(self, task: str) -> None:
        self.transcripts[task] = self.transcribe(self.recordings[task])

    def facts(self) -> dict:
        return {"transcripts": self.transcripts}


def _batched(arguments: Namespace, location: str, precision: str = "auto") -> Transcribe:
    transcriber = BatchTranscriber(
        load_model(location, precision, arguments.device),
        load_processor(location),
        Silero(),
        batch_size=arguments.batch_size,
    )

    def transcribe(recordings: Sequence[np.ndarray]) -> list[str]:
        given = ((number, samples, arguments.language) for number, samples in enumerate(recordings))
        results = dict(transcriber(given))
        for result in results.values():
            if isinstance(result, Exception):
                raise result
        return [results[number].text for number in range(len(recordings))]

    return transcribe


def _sequential(arguments: Namespace) -> Transcribe:
    model = load_model(arguments.model, "auto", arguments.device)
    processor = load_processor(arguments.model)

    def transcribe(recordings: Sequence[np.ndarray]) -> list[str]:
        texts = []
        for start in range(0, len(recordings), arguments.batch_size):
            batch = recordings[start : start + arguments.batch_size]
            transcripts = transcribe_clips(model, processor, batch, [arguments.language] * len(batch))
            texts += [transcript.text for transcript in transcripts]
        return texts

    return transcribe


def _pipeline(arguments: Namespace) -> Transcribe:
    processor = load_processor(arguments.plain)
    speech = pipeline(
        "automatic-speech-recognition",
        model=load_model(arguments.plain, "auto", arguments.device),
        tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor,
        chunk_length_s=30,
        ignore_warning=True,
    )

    def transcribe(recordings: Sequence[np.ndarray]) -> list[str]:
        given = [{"raw": samples, "sampling_rate": SAMPLING_RATE} for samples in recordings]
        settings = {"language": arguments.language}
        return [found["text"] for found in speech(given, batch_size=arguments.batch_size, generate_kwargs=settings)]

    return transcribe


def _faster_whisper(arguments: Namespace, precision: str, batched: bool) -> Transcribe:
    require("faster_whisper")
    from faster_whisper import BatchedInferencePipeline, WhisperModel  # an extra

    device = "cuda" if arguments.device.startswith("cuda") else "cpu"
    model = WhisperModel(
        arguments.converted, device=device, compute_type=precision, cpu_threads=arguments.threads, local_files_only=True
    )
    engine = BatchedInferencePipeline(model) if batched else model
    settings = {"batch_size": arguments.batch_size} if batched else {"vad_filter": True}

    def transcribe(recordings: Sequence[np.ndarray]) -> list[str]:
        return [
            " ".join(
                segment.text.strip()
                for segment in engine.transcribe(samples, language=arguments.language, beam_size=1, **settings)[0]
            )
            for samples in recordings
        ]

    return transcribe


def _whisper_cpp(arguments: Namespace) -> Transcribe:
    from pywhispercpp.model import Model  # an extra

    settings = {"language": arguments.language, "n_threads": arguments.threads, "print_progress": False}
    # Its default is a beam; and it writes to the terminal.
    engine = Model(arguments.ggml, params_sampling_strategy=0, redirect_whispercpp_logs_to=None)

    def transcribe(recordings: Sequence[np.ndarray]) -> list[str]:
        return [
            " ".join(segment.text.strip() for segment in engine.transcribe(samples, **settings))
            for samples in recordings
        ]

    return transcribe


INT8, WHISPER_CPP = "experts, int8", "whisper.cpp, float16"
ON_CPU = (INT8, WHISPER_CPP)  # on no other device
# By the name that stands in the table. All decode greedily.
ENGINES: dict[str, Callable[[Namespace], Transcribe]] = {
    "experts": lambda arguments: _batched(arguments, arguments.model),
    "plain": lambda arguments: _batched(arguments, arguments.plain),
    INT8: lambda arguments: _batched(arguments, arguments.model, "cpu-int8"),
    "experts, sequential": _sequential,
    "pipeline of Transformers": _pipeline,
    "faster-whisper, batched": lambda arguments: _faster_whisper(arguments, "float32", True),
    "faster-whisper, batched, int8": lambda arguments: _faster_whisper(arguments, "int8", True),
    "faster-whisper, sequential": lambda arguments: _faster_whisper(arguments, "float32", False),
    "faster-whisper, sequential, int8": lambda arguments: _faster_whisper(arguments, "int8", False),
    WHISPER_CPP: _whisper_cpp,
}
