"""Scores any Whisper: plain, with LoRA, or with language experts; several at once, on the same speech.

    python examples/run_eval.py \
        --models small=openai/whisper-small ours=distilwhisper-small-gl large=openai/whisper-large-v2 \
        --data common_voice:cv-corpus-13.0-2023-03-09 fleurs:google/fleurs --languages gl ca \
        --compare ours small --gap small large --output_dir scores

Writes a file of transcripts for each model, corpus, split and language (JSON lines), and from them summary.json and
summary.md. Started again, it goes on where it was; with more models, corpora or languages, it adds them.
"""

import json
import shutil
import sys
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import torch
from datasets import Dataset
from tabulate import tabulate
from transformers import HfArgumentParser, WhisperProcessor

from ..data import Source, keep_scorable, parse_sources
from ..evaluation.normalization import NORMALIZERS
from ..evaluation.summary import (
    difference_rows,
    error_rates_of,
    group_rows,
    score_rows,
    wer_difference,
)
from ..evaluation.transcription import transcribe_rows
from ..evaluation.translation import translation_difference, translation_rates, with_english
from ..runs.any_whisper import load_model, load_processor, name_models, weights_digest
from ..runs.files import file_name, write_whole
from ..runs.old_names import read_json
from ..runs.precision import PRECISIONS
from ..runs.records import RecordFile
from ..runs.run_folder import SETTINGS, RunFolder
from ..runs.settings import parse_settings

TASKS = ("transcribe", "translate")


@dataclass
class EvaluationArguments:
    models: list[str] = field(metadata={"help": "Folders or Hub ids, each with or without name= in front."})
    data: list[str] = field(metadata={"help": "[name=][folder:|common_voice:|fleurs:|hub:]location[?setting=value]"})
    languages: list[str] = field(metadata={"help": "Whisper's codes of the languages, such as gl ca."})
    output_dir: str = field(metadata={"help": "Folder of transcripts and summary."})
    splits: list[str] = field(default_factory=lambda: ["test"], metadata={"help": "train, validation or test."})
    task: str = field(
        default="transcribe", metadata={"help": "'transcribe', or 'translate' into English (BLEU and chrF)."}
    )
    normalizer: str = field(default="marks", metadata={"help": "Normaliser of the scores: 'marks' or 'report'."})
    compare: list[str] = field(
        default_factory=list, metadata={"help": "Names of models: is the first really better than the others?"}
    )
    gap: list[str] = field(
        default_factory=list, metadata={"help": "Names of student and teacher: how much of the gap is closed?"}
    )
    batch_size: int = field(default=16, metadata={"help": "Utterances at a time."})
    num_beams: int = field(default=1, metadata={"help": "Width of the beam; 1 is greedy decoding."})
    precision: str = field(
        default="float32",
        metadata={"help": f"Precision of the models, one of {', '.join(PRECISIONS)}; int8: LLM.int8()."},
    )
    device: str = field(
        default="cuda" if torch.cuda.is_available() else "cpu", metadata={"help": "Where the models run."}
    )
    max_rows: int | None = field(default=None, metadata={"help": "At most so many rows of each, for a try."})


def main(argv: list[str] | None = None) -> None:
    (arguments,) = parse_settings(HfArgumentParser(EvaluationArguments), sys.argv[1:] if argv is None else argv)
    models = name_models(arguments.models)
    check(arguments, models)
    languages, splits = list(dict.fromkeys(arguments.languages)), list(dict.fromkeys(arguments.splits))
    needed = [*languages, "en"] if arguments.task == "translate" else languages
    corpora = Corpora(parse_sources(arguments.data, needed), splits, languages, arguments)
    processors = {name: load_processor(location) for name, location in models.items()}
    systems = {
        name: transcribe(name, location, processors[name], corpora, arguments) for name, location in models.items()
    }

    folder = Path(arguments.output_dir)
    if arguments.task == "translate":
        summary = {"scores": score_rows(systems, translation_rates)}
        difference = translation_difference
    else:
        summary = {"scores": score_rows(systems, partial(error_rates_of, normalizer=arguments.normalizer))}
        summary["means"] = group_rows(summary["scores"], tuple(arguments.gap) or None)
        difference = partial(wer_difference, normalizer=arguments.normalizer)
    for other in arguments.compare[1:]:
        first = arguments.compare[0]
        rows = difference_rows(systems[first], systems[other], difference)
        summary.setdefault("differences", []).extend({"of": first, "less that of": other, **row} for row in rows)
    summary["rows left out"] = corpora.left_out
    whole = summary | {"precision": arguments.precision}
    write_whole(folder / "summary.json", json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    text = "\n\n".join(
        f"## {name}\n\n{tabulate(rows, headers='keys', floatfmt='.3f', tablefmt='github')}"
        for name, rows in summary.items()
    )
    write_whole(folder / "summary.md", f"{text}\n")
    print(f"\n{text}\n\nAlso: {folder}/summary.json and {folder}/summary.md; the transcripts are beside them.")


def check(arguments: EvaluationArguments, models: dict[str, str]) -> None:
    """Before anything takes time."""
    if len(set(map(file_name, models))) < len(models):
        raise ValueError(f"The transcripts of {', '.join(models)} would share a folder. Name them otherwise.")
    for setting, most in (("compare", len(models)), ("gap", 2)):
        chosen = getattr(arguments, setting)
        if chosen and not (2 <= len(set(chosen)) == len(chosen) <= most and set(chosen) <= set(models)):
            raise ValueError(f"--{setting} takes names of {', '.join(models)}, two or more (gap: two); got {chosen}.")
    for setting, values in {"task": TASKS, "normalizer": NORMALIZERS, "precision": PRECISIONS}.items():
        if getattr(arguments, setting) not in values:
            raise ValueError(f"--{setting} must be one of {', '.join(values)}, got {getattr(arguments, setting)!r}.")


class Corpora:
    """The rows of each corpus, split and language, read once for all models.

    Attributes:
        cells: corpus, split, language and rows.
        left_out: how many rows could not be scored, by reason, of each.
    """

    def __init__(self, sources: list[Source], splits: list[str], languages: list[str], arguments: EvaluationArguments):
        self.left_out: list[dict[str, str | int]] = []
        self.cells = [
            (source, split, language, self._read(source, split, language, arguments))
            for source, split, language in product(sources, splits, languages)
        ]

    def _read(self, source: Source, split: str, language: str, arguments: EvaluationArguments) -> Dataset:
        rows, left_out = source.read(split, language), {}
        if arguments.task == "translate":
            rows, left_out["no English sentence"] = with_english(rows, source.english.read(split, "en"))
        if arguments.max_rows is not None:
            rows = rows.select(range(min(arguments.max_rows, len(rows))))
        rows, unusable = keep_scorable(rows)
        left_out |= unusable
        about = {"data_set": source.name, "split": split, "language": language, "rows": len(rows)}
        self.left_out += [{**about, "left out": count, "for": reason} for reason, count in left_out.items() if count]
        told = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count) or "none"
        print(f"{source.name} {split} {language}: {len(rows)} rows; left out: {told}")
        if not len(rows):
            raise ValueError(f"No usable row in {source.name} {split} {language}: nothing to score.")
        return rows


def transcribe(name: str, location: str, processor: WhisperProcessor, corpora: Corpora, arguments) -> list[dict]:
    """The records of a model; those that are there already are not made again."""
    model, records = load_model(location, arguments.precision, arguments.device), []
    decides = {"model": location, "weights": weights_digest(location)}
    decides |= {setting: getattr(arguments, setting) for setting in ("task", "num_beams", "precision")}
    for source, split, language, rows in corpora.cells:
        own = decides | {"data": source.written}
        place = Path(arguments.output_dir, file_name(name), file_name(source.name))
        put_aside_if_trained_on(place, own)
        folder = RunFolder(place, {"run": own})
        records += transcribe_rows(
            RecordFile(folder.folder / f"{file_name(language)}.{split}.jsonl"),
            model,
            processor,
            rows,
            task=arguments.task,
            batch_size=arguments.batch_size,
            num_beams=arguments.num_beams,
        )
    return records


def put_aside_if_trained_on(place: Path, decides: dict) -> None:
    """Transcripts of the same model with other weights make room, and are kept."""
    settings = place / SETTINGS
    begun = read_json(settings)["run"] if settings.is_file() else decides
    if begun != decides and begun | {"weights": decides["weights"]} == decides:
        old = place.with_name(f"{place.name}.{(begun['weights'] or 'hub')[:8]}")
        shutil.rmtree(old, ignore_errors=True)  # of the same weights: the model was trained back and forth
        place.rename(old)
        print(f"The model's weights are others now. Its earlier transcripts are in {old}.")


if __name__ == "__main__":
    main()
