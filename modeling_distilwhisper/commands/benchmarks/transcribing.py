"""Measure how fast and how well engines transcribe: this package with and without experts, and those beside it.

    distilwhisper benchmark transcribe --model distilwhisper-base-ru --plain openai/whisper-base \
        --data "prompts/{language}" --language ru --output_dir transcribing

There are two tasks: a long recording, which is made of clips of the data with pauses between them, and the clips one by
one. All engines decode greedily, and with the same language. Each is a process, and the processes take turns. Writes
transcribing.json and prints a table. Times are worth nothing while the machine does other work. faster-whisper and
whisper.cpp get the plain model in their own forms. The first needs the extra `export`, the second `whispercpp`, and it
is measured where it is named.
"""

import itertools
import json
import os
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...data.audio import read_audio
from ...data.mono import SAMPLING_RATE
from ...data.selection import read_rows
from ...data.sources import SPEC_FORM, parse_sources
from ...evaluation.summary import error_rates_of, wer_difference
from ...names_distilwhisper import public_name
from ...runs.any_whisper import load_config, load_model, load_processor
from ...runs.extras import require
from ...runs.files import write_atomically
from ...runs.lock import hold
from ...runs.origin import origin
from ..command_line import DEVICE, parse_dataclasses
from .engines import CLIPS, ENGINES, LONG, ON_CPU, WHISPER_CPP, Engine
from .tables import print_table
from .turns import take_turns
from .whisper_cpp import check_ggml, write_ggml

RESULTS = "transcribing.json"
OTHERS = "faster-whisper"
NORMALIZER = "marks"


@dataclass
class TranscribingArguments:
    """The settings of a measurement of engines."""

    model: str = field(metadata={"help": "Folder or Hub id of a model with experts."})
    plain: str = field(metadata={"help": "Folder or Hub id of a Whisper of the same size."})
    data: str = field(metadata={"help": SPEC_FORM})
    language: str = field(metadata={"help": "Whisper's code."})
    output_dir: str = field(metadata={"help": "Folder of the results."})
    engines: list[str] = field(
        default_factory=list,
        metadata={
            "help": f"Of: {'; '.join(ENGINES)}. Times and scores are compared with the first. By default all that run "
            "on the device, but whisper.cpp."
        },
    )
    split: str = field(default="test", metadata={"help": "train, validation or test."})
    max_rows: int = field(default=44, metadata={"help": "Clips."})
    long_seconds: float = field(default=600.0, metadata={"help": "Length of the long recording."})
    batch_size: int = field(default=8, metadata={"help": "Windows at a time."})
    rounds: int = field(default=3, metadata={"help": "Timed passes of each engine; the median counts."})
    device: str = field(default=DEVICE, metadata={"help": "Where the models run: cpu, cuda."})


def main(argv: list[str], prog: str) -> None:
    (arguments,) = parse_dataclasses(__doc__, argv, prog, TranscribingArguments)
    check(arguments)
    folder = Path(arguments.output_dir)
    hold(folder)
    (source,) = parse_sources([arguments.data], [arguments.language])
    selection = read_rows(source, arguments.split, arguments.language, purpose="transcribe")
    rows = selection.rows.select(range(min(arguments.max_rows, len(selection.rows))))
    clips, texts = [read_audio(audio) for audio in rows["audio"]], rows["text"][:]
    every = [(read_audio(row["audio"]), row["text"]) for row in selection.rows]
    recording, spoken = joined(every, arguments.long_seconds)
    references = {LONG: [spoken], CLIPS: texts}
    begun, load = time.time(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as converted:
        if any(name.startswith(OTHERS) for name in arguments.engines):
            convert(arguments.plain, converted)
        ggml = Path(converted, "whisper.ggml")
        if WHISPER_CPP in arguments.engines:
            write_ggml(load_model(arguments.plain, "float32"), load_processor(arguments.plain), ggml)
        settings = {"converted": converted, "ggml": str(ggml), "threads": torch.get_num_threads()}
        settings |= {"recordings": {LONG: [recording], CLIPS: clips}}
        measured = take_turns(Engine, arguments.engines, Namespace(**vars(arguments) | settings), warm_up=False)
    content = {
        "settings": public_settings(arguments),
        **origin(arguments.device),
        "load before": load,
        "minutes": (time.time() - begun) / 60,
        "seconds": {LONG: len(recording) / SAMPLING_RATE, CLIPS: sum(map(len, clips)) / SAMPLING_RATE},
        "clips": len(clips),
        "engines": results_of(measured, references, arguments.language),
    }
    write_atomically(folder / RESULTS, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    print_table(table_of(content["engines"]), floatfmt=".3f")
    print(f"\nAlso in {folder}: {RESULTS}")


def check(arguments: TranscribingArguments) -> None:
    """Refuses wrong settings before anything takes time, and names the engines where none was named.

    Raises:
        ValueError: the message names the setting, its values and what it got.
        ImportError: faster-whisper or whisper.cpp is not installed.
    """
    on_cpu = torch.device(arguments.device).type == "cpu"
    if not arguments.engines:
        left_out = {WHISPER_CPP} if on_cpu else set(ON_CPU)
        arguments.engines = [name for name in ENGINES if name not in left_out]
    if unknown := [name for name in arguments.engines if name not in ENGINES]:
        raise ValueError(f"--engines must be of {'; '.join(ENGINES)}, got {unknown[0]!r}.")
    if any(name.startswith(OTHERS) for name in arguments.engines):
        require("faster_whisper", "ctranslate2")
    if not on_cpu and (wrong := [name for name in arguments.engines if name in ON_CPU]):
        raise ValueError(f"The engine {wrong[0]!r} runs on a CPU alone, got --device {arguments.device}.")
    if WHISPER_CPP in arguments.engines:
        require("pywhispercpp")
        check_ggml(load_config(arguments.plain))
    if (Path(arguments.output_dir) / RESULTS).exists():
        raise ValueError(f"{arguments.output_dir} holds the results of a measurement already. Name another folder.")


def joined(rows: Sequence[tuple[np.ndarray, str]], seconds: float) -> tuple[np.ndarray, str]:
    """A recording `(samples,)` of about so many seconds, made of clips with pauses of 0.3 to 3 s, and its text.

    If the clips are fewer, they come again.
    """
    pauses = np.random.default_rng(0)
    parts: list[np.ndarray] = []
    texts: list[str] = []
    length = 0
    for samples, text in itertools.cycle(rows):
        if length >= seconds * SAMPLING_RATE:
            break
        pause = np.zeros(int(pauses.uniform(0.3, 3) * SAMPLING_RATE), np.float32)
        parts += [samples, pause]
        texts.append(text)
        length += len(samples) + len(pause)
    return np.concatenate(parts), " ".join(texts)


def convert(location: str, folder: str) -> None:
    """Writes a Whisper in the form of faster-whisper."""
    from ctranslate2.converters import TransformersConverter  # an extra

    TransformersConverter(location).convert(folder, force=True)
    # faster-whisper reads these two, under these names. Newer folders of Whispers have processor_config.json instead.
    processor = load_processor(location)
    processor.tokenizer.save_pretrained(folder)
    processor.feature_extractor.save_pretrained(folder)


def public_settings(arguments: TranscribingArguments) -> dict[str, Any]:
    """The settings that others may see: no folder of this machine."""
    settings = {name: value for name, value in vars(arguments).items() if name not in ("data", "output_dir")}
    return settings | {name: public_name(settings[name]) for name in ("model", "plain")}


def results_of(
    measured: Mapping[str, Mapping], references: Mapping[str, Sequence[str]], language: str
) -> list[dict[str, Any]]:
    """A row for each engine: by task its times, their median as a ratio to the first engine's, and its scores."""
    first = next(iter(measured))
    rows = []
    for name, result in measured.items():
        row: dict[str, Any] = {"engine": name, "memory": result["memory"], "memory_before": result["memory_before"]}
        for task, texts in references.items():
            seconds = result["seconds"][task]
            records = _records(texts, result["transcripts"][task], language)
            of_task = {"seconds": seconds, "median": statistics.median(seconds), **error_rates_of(records, NORMALIZER)}
            of_task["ratio"] = of_task["median"] / statistics.median(measured[first]["seconds"][task])
            if name != first and len(texts) > 1:
                theirs = _records(texts, measured[first]["transcripts"][task], language)
                of_task["less first"] = wer_difference(records, theirs, NORMALIZER)
            row[task] = of_task
        rows.append(row)
    return rows


def _records(references: Sequence[str], hypotheses: Sequence[str], language: str) -> list[dict]:
    pairs = zip(references, hypotheses, strict=True)
    return [
        {"id": str(number), "language": language, "reference": reference, "hypothesis": hypothesis, "seconds": 0.0}
        for number, (reference, hypothesis) in enumerate(pairs)
    ]


def table_of(engines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the table that is printed."""
    rows = []
    for engine in engines:
        row: dict[str, Any] = {"engine": engine["engine"]}
        for task in (LONG, CLIPS):
            row |= {f"{task}: s": engine[task]["median"], "ratio" if task == LONG else "ratio ": engine[task]["ratio"]}
            row[f"{task}: WER"] = engine[task]["wer"]
        rows.append({**row, "GB": (engine["memory"] - engine["memory_before"]) / 1e9})
    return rows
