"""The page of `distilwhisper demo` in a process of its own, as people start it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from modeling_distilwhisper import DistilWhisperForConditionalGeneration

from . import speech, tiny
from .scripts import EXAMPLES

END = 120  # seconds for Gradio to close what it opened
START = 240  # seconds for the script, which has torch and Gradio to import: a busy machine took more than 60


def write_files(folder: Path, whisper_dir: Path, processor) -> Path:
    """A tiny model with experts for gl and ca, two clips, one of them longer than its window, and what is no clip."""
    torch.manual_seed(0)
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl", "ca"])
    tiny.unsettle(model)
    model.generation_config.max_length = 24
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    for name, pitches in {
        "short & <b>clip": (300, 800),
        "long": (300, 500, 800, 1200, 500, 300, 800, 500, 1200),
    }.items():
        speech.soundfile.write(
            folder / f"{name}.wav", np.concatenate([speech.tone(pitch) for pitch in pitches]), 16_000
        )
    (folder / "broken.wav").write_text("no audio")
    (folder / "scratch").mkdir()
    return folder


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """The page's address and process. Gradio's files are in `temp`, other temporary ones in `scratch`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The clips are tones, which no detector takes for speech.
    command = [sys.executable, EXAMPLES / "demo.py", folder / "model", "--examples", folder / "long.wav", "--vad=none"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "scratch")}
    environment["GRADIO_TEMP_DIR"] = str(folder / "temp")
    log = folder / "log.txt"
    with open(log, "w") as file:
        page = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu"], env=environment, stdout=file, stderr=file
        )
    try:
        deadline = time.monotonic() + START
        while "Running on local URL" not in log.read_text():
            assert page.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", page
    finally:
        page.terminate()
        page.wait(END)
