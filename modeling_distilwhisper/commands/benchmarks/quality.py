"""Measure how well models transcribe and what that takes: WER, megabytes, memory and time, in one run on one machine.

    distilwhisper benchmark quality --models plain=openai/whisper-base experts=distilwhisper-base-ru \
        --data "prompts/{language}" --languages ru --output_dir quality
    distilwhisper benchmark quality examples/configs/quality_ru.yaml

All models transcribe the same clips, greedily. Each is a process, and the processes take turns: a turn is a pass over
all clips. WER is compared with that of the first model (paired bootstrap). Whisper
computes 30 s for each clip, however short it is; so the clips are also timed packed, joined to windows of up to 30 s,
as in a long recording. Writes quality.md, quality.json, transcripts.jsonl and the picture quality.png. Times are worth
nothing while the machine does other work.
"""

import json
import os
import statistics
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...data.selection import Selection, read_rows
from ...data.sources import SPEC_FORM, parse_sources
from ...evaluation.normalization import NORMALIZERS
from ...evaluation.summary import error_rates_of, wer_difference
from ...names_distilwhisper import public_name
from ...reporting.quality import quality_page
from ...runs.any_whisper import check_precision, load_processor, name_models
from ...runs.download_size import DownloadSize, download_size
from ...runs.files import write_atomically
from ...runs.lock import hold
from ...runs.origin import origin
from ...runs.precision import TRANSCRIBING
from ..command_line import DEVICE, import_figures, parse_dataclasses
from .recogniser import Clip, Recogniser
from .turns import take_turns

RESULTS, PAGE, TRANSCRIPTS, PICTURE = "quality.json", "quality.md", "transcripts.jsonl", "quality.png"


@dataclass
class QualityArguments:
    """The settings of a measurement of quality, size and time."""

    models: list[str] = field(
        metadata={
            "help": "Folders or Hub ids, each with or without name= in front. The others are compared with the first."
        }
    )
    data: str = field(metadata={"help": SPEC_FORM})
    languages: list[str] = field(metadata={"help": "Whisper's codes of the languages, such as gl ca."})
    output_dir: str = field(metadata={"help": "Folder of the results."})
    split: str = field(default="test", metadata={"help": "train, validation or test."})
    normalizer: str = field(default="marks", metadata={"help": "Normaliser of the scores: 'marks' or 'report'."})
    batch_sizes: list[int] = field(default_factory=lambda: [1, 8], metadata={"help": "Clips at a time."})
    rounds: int = field(default=3, metadata={"help": "Timed passes of each model over all clips; the median counts."})
    precision: str = field(
        default="float32", metadata={"help": f"Precision of the models, one of {', '.join(TRANSCRIBING)}."}
    )
    device: str = field(default=DEVICE, metadata={"help": "Where the models run: cpu, cuda."})
    max_rows: int | None = field(default=None, metadata={"help": "At most this many clips of a language, for a try."})


def main(argv: list[str], prog: str) -> None:
    (arguments,) = parse_dataclasses(__doc__, argv, prog, QualityArguments)
    models = name_models(arguments.models)
    check(arguments)
    folder = Path(arguments.output_dir)
    hold(folder)
    sizes = {name: download_size(location, arguments.languages) for name, location in models.items()}
    for location in models.values():
        load_processor(location)  # if it has none, an error now
    (source,) = parse_sources([arguments.data], arguments.languages)
    selections = []
    for language in dict.fromkeys(arguments.languages):
        selections.append(
            read_rows(source, arguments.split, language, max_rows=arguments.max_rows, purpose="transcribe")
        )
        print(selections[-1], flush=True)
    begun, load = time.time(), os.getloadavg()[0]
    settings = Namespace(**vars(arguments) | {"models": models, "clips": clips_of(selections)})
    measured = take_turns(Recogniser, list(models), settings, warm_up=False)
    records = records_of(selections, {name: result["transcripts"] for name, result in measured.items()})
    content = {
        "settings": public_settings(arguments, models),
        **origin(arguments.device),
        "load before": load,
        "minutes": (time.time() - begun) / 60,
        **results_of(models, sizes, measured, records, selections, arguments.normalizer),
    }
    print(f"\n{write(folder, content, records)}\n\nAlso in {folder}: {', '.join(written(folder))}")


def check(arguments: QualityArguments) -> None:
    """Refuses wrong settings before anything takes time.

    Raises:
        ValueError: the message names the setting, its values and what it got.
        ImportError: the library of a quantised precision is missing.
    """
    for setting, values in {"normalizer": NORMALIZERS, "precision": TRANSCRIBING}.items():
        if getattr(arguments, setting) not in values:
            raise ValueError(f"--{setting} must be one of {', '.join(values)}, got {getattr(arguments, setting)!r}.")
    if (Path(arguments.output_dir) / RESULTS).exists():
        raise ValueError(f"{arguments.output_dir} holds the results of a measurement already. Name another folder.")
    check_precision(arguments.precision, arguments.device)
    arguments.batch_sizes = list(dict.fromkeys(arguments.batch_sizes))


def clips_of(selections: Sequence[Selection]) -> list[Clip]:
    """The clips of all selections, in their order."""
    return [Clip(row["audio"], row["language"], row["seconds"]) for selection in selections for row in selection.rows]


def records_of(selections: Sequence[Selection], transcripts: Mapping[str, Sequence[str]]) -> dict[str, list[dict]]:
    """A record for each clip by model, as scores need them."""
    rows = [
        {name: row[name] for name in ("id", "data_set", "split", "language", "seconds")} | {"reference": row["text"]}
        for selection in selections
        for row in selection.rows
    ]
    return {
        name: [row | {"hypothesis": text} for row, text in zip(rows, texts, strict=True)]
        for name, texts in transcripts.items()
    }


def public_settings(arguments: QualityArguments, models: Mapping[str, str]) -> dict[str, Any]:
    """The settings that others may see: no folder of this machine."""
    settings = {name: value for name, value in vars(arguments).items() if name not in ("models", "data", "output_dir")}
    return {"models": {name: public_name(location) for name, location in models.items()}, **settings}


def results_of(
    models: Mapping[str, str],
    sizes: Mapping[str, DownloadSize],
    measured: Mapping[str, Mapping],
    records: Mapping[str, list[dict]],
    selections: Sequence[Selection],
    normalizer: str,
) -> dict[str, Any]:
    """What was measured: `data`, the clips; `systems`, a row for each model; `by language`, its scores in each."""
    audio = sum(sum(selection.rows["seconds"]) for selection in selections)
    first = next(iter(models))
    systems, by_language = [], []
    for name, result in measured.items():
        row: dict[str, Any] = {"system": name, "kind": sizes[name].kind}
        row |= error_rates_of(records[name], normalizer)
        if name != first and len(records[name]) > 1:
            row["less first"] = wer_difference(records[name], records[first], normalizer)
        row |= {"download": sizes[name].total, "another language": sizes[name].another_language}
        row |= {key: result[key] for key in ("weights", "memory", "memory_before")}
        row["seconds"] = result["seconds"]
        row["seconds per hour"] = {
            task: statistics.median(seconds) * 3600 / audio for task, seconds in result["seconds"].items()
        }
        systems.append(row)
        for selection in selections:
            of_language = [record for record in records[name] if record["language"] == selection.language]
            scores = error_rates_of(of_language, normalizer)
            by_language.append({"system": name, "language": selection.language, **scores})
    data = [
        {
            "data_set": selection.corpus,
            "split": selection.split,
            "language": selection.language,
            "rows": len(selection.rows),
            "hours": selection.hours,
            "left_out": dict(selection.left_out),
        }
        for selection in selections
    ]
    facts = measured[first]
    windows = {"window seconds": facts["window"], "packed windows": facts["windows"]}
    return {"data": data, **windows, "systems": systems, "by language": by_language}


def write(folder: Path, content: dict[str, Any], records: Mapping[str, list[dict]]) -> str:
    """Writes all files of the results; returns the text of the page."""
    lines = (
        json.dumps({"system": name, **record}, ensure_ascii=False) for name, rows in records.items() for record in rows
    )
    write_atomically(folder / TRANSCRIPTS, "".join(f"{line}\n" for line in lines))
    page = quality_page(content)
    write_atomically(folder / PAGE, f"{page}\n")
    if import_figures():
        from ...reporting.quality_figure import draw_quality  # matplotlib is an extra

        draw_quality(content, folder / PICTURE)
    # The last one: a folder that has it is complete.
    write_atomically(folder / RESULTS, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return page


def written(folder: Path) -> list[str]:
    return [name for name in (PAGE, RESULTS, TRANSCRIPTS, PICTURE) if (folder / name).is_file()]
