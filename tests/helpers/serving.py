"""A server of a tiny model: its parts in this process, or as people start it."""

import asyncio
import io
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch
from helpers.speech import RATE, clip, loud_spans

from . import tiny

END = 120  # seconds for Ray to close what it opened
START = 240  # seconds for Ray, and for a replica that has torch to import
NAME = "tiny"


def write_experts(folder: Path, whisper_dir: Path, languages: tuple[str, ...]) -> Path:
    """A folder of expert files alone, each far from the shared path."""
    from modeling_distilwhisper import DistilWhisperForConditionalGeneration

    torch.manual_seed(0)
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=list(languages))
    tiny.unsettle(model)
    model.save_experts(folder)
    return folder


def wav(seconds: float = 1.0, pitch: int = 500, rate: int = RATE) -> bytes:
    """The bytes of a recording: a tone with noise."""
    return encoded(clip(seconds, pitch), "WAV", rate)


def encoded(samples: np.ndarray, kind: str, rate: int = RATE) -> bytes:
    """Samples as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind)
    return file.getvalue()


def make_engine(places, memory: float = 1e9):
    """An engine on a model with experts for gl and ca, and a folder with those of ru and fr."""
    from modeling_distilwhisper.serving.engine import Engine

    model, more = places
    return Engine(str(model), [str(more)], int(memory), "float32", "cpu")


def make_api(engine, *, name: str = NAME, key: str | None = None, minutes: float = 1, call=None, **limits):
    """The app over an engine in this process."""
    from modeling_distilwhisper.serving.api import Api, Limits
    from modeling_distilwhisper.serving.metrics import Metrics
    from modeling_distilwhisper.serving.recogniser import Recogniser

    async def here(item):
        (outcome,) = await asyncio.to_thread(engine.run, [item])
        return outcome

    async def is_ready() -> bool:
        return True

    lines: list[str] = []
    recogniser = Recogniser(
        call or here, engine.describe(), loud_spans, at_once=4, minutes=minutes, metrics=Metrics(), log=lines.append
    )
    api = Api(recogniser, name, Limits(**{"upload": 1, "upload_seconds": 5, "requests": 4} | limits), key, is_ready)
    return api, lines


def transcript_alone(model, processor, samples, language: str | None, detector=loud_spans, **settings):
    """What a recording says that goes through the model alone."""
    from modeling_distilwhisper import BatchTranscriber

    ((_, transcript),) = BatchTranscriber(model, processor, detector, **settings)([("it", samples, language)])
    return transcript


@contextmanager
def server(
    folder: Path, *arguments, vad: str = "helpers.speech:loud_spans", **environment
) -> Iterator[tuple[str, subprocess.Popen, Path]]:
    """Address, process and log of `distilwhisper serve`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "modeling_distilwhisper", "serve", *map(str, arguments), "--port", str(port)]
    command += ["--vad", vad]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **environment}
    log = folder / "log.txt"
    with open(log, "w") as file:
        process = subprocess.Popen(command, env=settings, stdout=file, stderr=file)
    try:
        end = time.monotonic() + START
        while "Serving " not in log.read_text():
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", process, log
    finally:
        process.terminate()
        try:
            process.wait(END)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def number(address: str, name: str) -> float:
    """A number of a server's metrics."""
    text = urllib.request.urlopen(f"{address}/metrics").read().decode()
    return float(re.search(rf"^{name} (\S+)", text, re.MULTILINE)[1])


def replicas_of(process: subprocess.Popen) -> list[int]:
    """The processes with the model that a server has started."""
    lines = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout.splitlines()[1:]
    rows = [(int(pid), int(parent), args) for pid, parent, args in (line.split(None, 2) for line in lines)]
    family = {process.pid}
    while more := {pid for pid, parent, _ in rows if parent in family} - family:
        family |= more
    return [pid for pid, _, args in rows if pid in family and "ServeReplica" in args]
