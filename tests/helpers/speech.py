"""Speech for tests: a small data folder of tones, a pitch for each word, and the pipeline that transcribes."""

import csv
from pathlib import Path

import numpy as np
import soundfile
from transformers import pipeline

RATE = 16_000
WORDS = {"la": 300, "ri": 500, "mo": 800, "tu": 1200}  # Hz


def write_folder(folder: Path, language: str, rows: int = 12, seed: int = 0) -> Path:
    """train/ (`rows` files), validation/ and test/ (4 each), with metadata.csv."""
    generator = np.random.default_rng(seed)
    for split, count in {"train": rows, "validation": 4, "test": 4}.items():
        (folder / split).mkdir(parents=True)
        lines = []
        for number in range(count):
            words = generator.choice(list(WORDS), size=2)
            name = f"{number}.flac"
            soundfile.write(folder / split / name, np.concatenate([tone(WORDS[word]) for word in words]), RATE)
            lines.append([name, " ".join(words), language, "female"])
        write_metadata(folder / split, lines)
    return folder


def write_metadata(folder: Path, lines: list[list[str]], header=("file_name", "transcription", "language", "gender")):
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])


def tone(pitch: float, seconds: float = 0.5) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * pitch * np.arange(int(RATE * seconds)) / RATE).astype(np.float32)


def make_pipeline(model, processor):
    return pipeline(
        "automatic-speech-recognition",
        model=model,
        tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor,
    )


def is_loud(samples: np.ndarray) -> bool:
    """A voice activity detector for tones."""
    return bool(np.abs(samples).max(initial=0) > 0.1)


def loud_spans(samples: np.ndarray) -> list[tuple[int, int]]:
    """The spans of tones in a recording, for a voice activity detector."""
    loud = np.concatenate([[False], np.abs(samples) > 0.01, [False]])
    edges = np.flatnonzero(loud[1:] != loud[:-1]).reshape(-1, 2)
    spans: list[tuple[int, int]] = []
    for start, end in edges.tolist():
        if spans and start - spans[-1][1] < RATE // 10:  # a tone passes through zero
            start = spans.pop()[0]
        spans.append((start, end))
    return spans


def clip(seconds, pitch=500):
    noise = np.random.default_rng(int(pitch)).standard_normal(int(seconds * RATE)).astype(np.float32)
    return 0.1 * noise + tone(pitch, seconds)[: len(noise)]
