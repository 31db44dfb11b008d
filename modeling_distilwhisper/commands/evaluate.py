"""Score any Whisper: plain, with LoRA, or with language experts; several models at once, on the same speech.

    distilwhisper eval \
        --models small=openai/whisper-small ours=distilwhisper-small-gl large=openai/whisper-large-v2 \
        --data common_voice:cv-corpus-13.0-2023-03-09 fleurs:google/fleurs --languages gl ca \
        --compare ours small --gap small large --output_dir scores

Writes a file of transcripts for each model, corpus, split and language (JSON lines), and from them summary.json and
summary.md. If you start it again, it continues; with more models, corpora or languages, it adds them. Several processes
share the work, on several GPUs or machines (`torchrun --nproc_per_node=2 -m modeling_distilwhisper eval ...`).

With --identification it also scores which language each model detects, among all languages and among those of
--languages, by Whisper's own detection and by trained detection rows where a model has some.
"""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from pathlib import Path

from datasets import Dataset
from transformers import WhisperProcessor

from ..data.selection import Selection, read_rows
from ..data.sources import SPEC_FORM, Source, parse_sources
from ..evaluation.detection import detect_rows, is_detected
from ..evaluation.identification import NOTE, accuracy_rows, confusion_rows
from ..evaluation.normalization import NORMALIZERS
from ..evaluation.summary import difference_rows, error_rates_of, group_rows, score_rows, wer_difference
from ..evaluation.transcription import is_transcribed, transcribe_rows
from ..languages_distilwhisper import is_english
from ..reporting.markdown import table_of
from ..runs.any_whisper import adapted_base, load_model, load_processor, name_models, weights_digest
from ..runs.extras import require
from ..runs.files import file_name, write_atomically
from ..runs.lock import hold, rename_held
from ..runs.old_names import read_json
from ..runs.precision import TRANSCRIBING
from ..runs.processes import begin, is_main_process, on_main
from ..runs.records import RecordFile
from ..runs.run_folder import SETTINGS, RunFolder
from .command_line import DEVICE, command, parse_dataclasses, say

TASKS = ("transcribe", "translate")
ALSO, ONLY = "also", "only"  # which of the two scores: identification beside transcripts, or alone
IDENTIFICATION = "identification"  # the title of a table
RUN_FORM = {"run": {"weights": str | None}}  # of the settings next to transcripts


@dataclass
class EvaluationArguments:
    """The settings of an evaluation."""

    models: list[str] = field(metadata={"help": "Folders or Hub ids, each with or without name= in front."})
    data: list[str] = field(metadata={"help": SPEC_FORM})
    languages: list[str] = field(metadata={"help": "Whisper's codes of the languages, such as gl ca."})
    output_dir: str = field(metadata={"help": "Folder of transcripts and summary."})
    splits: list[str] = field(default_factory=lambda: ["test"], metadata={"help": "train, validation or test."})
    task: str = field(
        default="transcribe", metadata={"help": "'transcribe', or 'translate' into English (BLEU and chrF)."}
    )
    identification: str | None = field(
        default=None,
        metadata={
            "help": "Score which language is detected: 'also' (the flag alone) or 'only', without transcripts.",
            "nargs": "?",
            "const": ALSO,
        },
    )
    normalizer: str = field(default="marks", metadata={"help": "Normaliser of the scores: 'marks' or 'report'."})
    compare: list[str] = field(
        default_factory=list,
        metadata={"help": "Names of models. Tests whether the first differs from each of the others."},
    )
    gap: list[str] = field(
        default_factory=list,
        metadata={"help": "Names of student and teacher. Adds which share of the gap between them is closed."},
    )
    batch_size: int = field(default=16, metadata={"help": "Utterances at a time."})
    num_beams: int = field(default=1, metadata={"help": "Width of the beam; 1 is greedy decoding."})
    precision: str = field(
        default="float32",
        metadata={"help": f"Precision of the models, one of {', '.join(TRANSCRIBING)}; int8: LLM.int8()."},
    )
    device: str = field(default=DEVICE, metadata={"help": "Where the models run: cpu, cuda, mps."})
    max_rows: int | None = field(default=None, metadata={"help": "At most this many rows of each, for a try."})


@command
def main(argv: list[str], prog: str) -> None:
    (arguments,) = parse_dataclasses(__doc__, argv, prog, EvaluationArguments)
    models = name_models(arguments.models)
    check(arguments, models)
    begin(arguments.output_dir)
    for location in models.values():
        adapted_base(location)  # a LoRA adapter needs PEFT, an extra: an error now, before any work
    selections = read_corpora(arguments)
    processors = {name: load_processor(location) for name, location in models.items()}
    records, detections = {}, {}
    for name, location in models.items():
        model = Model(name, location, processors[name], arguments)
        if arguments.identification != ONLY:
            records[name] = transcribe_corpora(model, selections)
        if arguments.identification:
            detections[name] = detect_corpora(model, selections)
    if not is_main_process():
        return
    summary = summarise(records, selections, arguments)
    if detections:
        summary |= identification_of(detections, selections)
    folder = Path(arguments.output_dir)
    text = write_summary(summary, folder, arguments.precision)
    print(
        f"\n{text}\n\nAlso: {folder}/summary.json and {folder}/summary.md; the transcripts are in folders next to them."
    )


def check(arguments: EvaluationArguments, models: Mapping[str, str]) -> None:
    """Refuses wrong settings before anything takes time.

    Raises:
        ValueError: the message names the setting, its values and what it got.
        ImportError: the library that scores translations is not installed.
    """
    if len(set(map(file_name, models))) < len(models):
        raise ValueError(f"The transcripts of {', '.join(models)} would share a folder. Give the models other names.")
    for setting, most in (("compare", len(models)), ("gap", 2)):
        chosen = getattr(arguments, setting)
        if chosen and not (2 <= len(set(chosen)) == len(chosen) <= most and set(chosen) <= set(models)):
            raise ValueError(f"--{setting} takes names of {', '.join(models)}, two or more (gap: two); got {chosen}.")
    for setting, values in {"task": TASKS, "normalizer": NORMALIZERS, "precision": TRANSCRIBING}.items():
        if getattr(arguments, setting) not in values:
            raise ValueError(f"--{setting} must be one of {', '.join(values)}, got {getattr(arguments, setting)!r}.")
    if arguments.identification not in (None, ALSO, ONLY):
        raise ValueError(f"--identification must be {ALSO} or {ONLY}, got {arguments.identification!r}.")
    if arguments.identification == ONLY and (arguments.compare or arguments.gap):
        raise ValueError(
            f"--compare and --gap need transcripts, which --identification {ONLY} does not make. Leave either out."
        )
    if arguments.task == "translate":
        require("sacrebleu")


def read_corpora(arguments: EvaluationArguments) -> list[tuple[Source, Selection]]:
    """The rows to score of each corpus, split and language, with their corpus. All models get the same rows."""
    languages, splits = list(dict.fromkeys(arguments.languages)), list(dict.fromkeys(arguments.splits))
    translate = arguments.task == "translate"
    sources = parse_sources(arguments.data, [*languages, "en"] if translate else languages)
    selections = []
    for source, split, language in product(sources, splits, languages):
        filter_rows = into_english(source, split) if translate else None
        selection = read_rows(
            source, split, language, max_rows=arguments.max_rows, filter_rows=filter_rows, purpose="score"
        )
        print(selection)
        selections.append((source, selection))
    return selections


def into_english(source: Source, split: str) -> Callable[[Dataset], tuple[Dataset, dict[str, int]]]:
    """A step of `read_rows` that puts the same sentences in English in place of the text."""
    from ..evaluation.translation import with_english  # here alone: the module needs an extra

    def filter_rows(rows: Dataset) -> tuple[Dataset, dict[str, int]]:
        paired, without = with_english(rows, source.english.read(split, "en"))
        return paired, {"no English sentence": without}

    return filter_rows


@dataclass
class Model:
    """A model to score, which is loaded where something is missing: of many, one may have been added.

    Attributes:
        name: in the summary.
        location: folder or Hub id.
        processor: the model's.
        arguments: of the evaluation.
    """

    name: str
    location: str
    processor: WhisperProcessor
    arguments: EvaluationArguments

    @cached_property
    def loaded(self):
        return load_model(self.location, self.arguments.precision, self.arguments.device)

    @cached_property
    def settings(self) -> dict:
        """What decides its transcripts."""
        settings = {"model": self.location, "weights": weights_digest(self.location)}
        return settings | {name: getattr(self.arguments, name) for name in ("task", "num_beams", "precision")}

    def file(self, source: Source, selection: Selection, of: str = "") -> RecordFile:
        """The file with the model's records of these rows, in a folder that has these settings."""
        folder = Path(self.arguments.output_dir, file_name(self.name), file_name(source.name))
        on_main(prepare_folder, folder, self.settings | {"data": source.spec})
        return RecordFile(folder / f"{file_name(selection.language)}.{selection.split}{of}.jsonl")


def transcribe_corpora(model: Model, selections: list[tuple[Source, Selection]]) -> list[dict]:
    """The transcripts of all rows by a model; those that its files have already are not made again."""
    records = []
    for source, selection in selections:
        file = model.file(source, selection)
        done = is_transcribed(file, selection.rows)
        records += transcribe_rows(
            file,
            None if done else model.loaded,
            model.processor,
            selection.rows,
            task=model.arguments.task,
            batch_size=model.arguments.batch_size,
            num_beams=model.arguments.num_beams,
        )
    return records


def detect_corpora(model: Model, selections: list[tuple[Source, Selection]]) -> list[dict]:
    """The languages that a model detects in all rows, as `transcribe_corpora` makes transcripts."""
    records: list[dict] = []
    for source, selection in selections:
        file = model.file(source, selection, ".languages")
        detector = None if is_detected(file, selection.rows) else model.loaded
        if detector is not None and is_english(detector):
            say(f"{model.name} is a Whisper for English alone, so it detects no language.")
            return []
        batch_size = model.arguments.batch_size
        records += detect_rows(file, detector, model.processor, selection.rows, batch_size=batch_size)
    return records


def prepare_folder(folder: Path, settings: dict) -> None:
    """Makes the folder of a model's transcripts of a corpus, or checks that it has these settings."""
    put_aside_if_weights_changed(folder, settings)
    RunFolder(folder, {"run": settings})


def put_aside_if_weights_changed(folder: Path, settings: dict) -> None:
    """Moves transcripts of the same model with other weights away: it was trained since. They are kept."""
    hold(folder)
    file = folder / SETTINGS
    before = read_json(file, RUN_FORM, f"Delete {folder}.")["run"] if file.is_file() else settings
    if before != settings and before | {"weights": settings["weights"]} == settings:
        old = folder.with_name(f"{folder.name}.{(before['weights'] or 'hub')[:8]}")
        shutil.rmtree(old, ignore_errors=True)  # of the same weights: the model was trained back and forth
        rename_held(folder, old)
        print(f"The model's weights have changed. Its earlier transcripts are in {old}.")


def scoring(arguments: EvaluationArguments) -> tuple[Callable[..., dict], Callable[..., dict]]:
    """What scores the records of a model, and what compares those of two models, for the task."""
    if arguments.task == "translate":
        from ..evaluation.translation import translation_difference, translation_rates

        return translation_rates, translation_difference
    normalizer = arguments.normalizer
    return partial(error_rates_of, normalizer=normalizer), partial(wer_difference, normalizer=normalizer)


def summarise(
    records: Mapping[str, list[dict]], selections: list[tuple[Source, Selection]], arguments: EvaluationArguments
) -> dict[str, list[dict]]:
    """Tables of scores, means, differences and rows left out, from the records of each model."""
    rates, difference = scoring(arguments)
    summary: dict[str, list[dict]] = {"scores": score_rows(records, rates)}
    if arguments.task == "transcribe":
        gap = (arguments.gap[0], arguments.gap[1]) if arguments.gap else None
        summary["means"] = group_rows(summary["scores"], gap)
    for other in arguments.compare[1:]:
        first = arguments.compare[0]
        rows = difference_rows(records[first], records[other], difference)
        summary.setdefault("differences", []).extend({"of": first, "less that of": other, **row} for row in rows)
    summary["rows left out"] = [
        {
            "data_set": selection.corpus,
            "split": selection.split,
            "language": selection.language,
            "rows": len(selection.rows),
            "left out": count,
            "for": reason,
        }
        for _, selection in selections
        for reason, count in selection.left_out.items()
    ]
    return summary


def identification_of(
    detections: Mapping[str, list[dict]], selections: list[tuple[Source, Selection]]
) -> dict[str, list[dict]]:
    """Tables of language identification among all languages and among the asked ones."""
    asked = list(dict.fromkeys(selection.language for _, selection in selections))
    return {IDENTIFICATION: accuracy_rows(detections, asked), "confusion": confusion_rows(detections, asked)}


def write_summary(summary: dict[str, list[dict]], folder: Path, precision: str) -> str:
    """Writes summary.json and summary.md; returns the text of the latter."""
    content = summary | {"precision": precision}
    write_atomically(folder / "summary.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    notes = {IDENTIFICATION: f"\n\n{NOTE}"}
    tables = {name: rows for name, rows in summary.items() if rows}
    text = "\n\n".join(f"## {name}\n\n{table_of(rows, '.3f')}{notes.get(name, '')}" for name, rows in tables.items())
    write_atomically(folder / "summary.md", f"{text}\n")
    return text


if __name__ == "__main__":
    sys.exit(main())
