"""Every model in every precision on every corpus and language: transcripts in a folder, made by one machine or many."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset
from transformers.utils import logging

from ..evaluation.transcription import is_transcribed, transcribe_rows
from ..runs.any_whisper import load_config, load_model, load_processor, weights_digest
from ..runs.files import file_name
from ..runs.records import RecordFile
from ..runs.run_folder import RunFolder
from .corpora import MIN_BALANCED_UTTERANCES, Corpus, count_reasons, select
from .groups import model_shape
from .voice import find_detector

logger = logging.get_logger(__name__)

TRANSCRIPTS, ROWS, CHECKED = "transcripts", "rows", "checked"


@dataclass(frozen=True)
class Cell:
    """One model in one precision on one corpus in one language, transcribed to the end.

    Attributes:
        run: what was run: `model`, `shape`, `precision`, `data_set`, `balanced` and more.
        records: of its utterances, as `transcribe_rows` makes them.
    """

    run: dict
    language: str
    records: list[dict]


def share_of(units: Sequence, part: int, parts: int) -> list:
    """The part-th of `parts` machines' share (from 1), every `parts`-th unit.

    Raises:
        ValueError: there is no such part.
    """
    if not 1 <= part <= parts:
        raise ValueError(f"Expected a part from 1 to {parts}, got {part}.")
    return list(units[part - 1 :: parts])


def read_rows(
    folder: Path, units: Sequence[tuple[Corpus, str]], vad: str = "silero", least: int = MIN_BALANCED_UTTERANCES
) -> list[tuple[Corpus, str, Dataset]]:
    """The rows of corpora and languages, with notes of which and why in `folder/rows/<corpus>/<language>.jsonl`.

    A language that a corpus does not have, or has too little of, is told and left out.

    Args:
        vad: the voice activity detector of balanced corpora, as `find_detector` takes it.
        least: utterances that a language of a balanced corpus must have.
    """
    detector = find_detector(vad) if any(corpus.balanced for corpus, _ in units) else None
    found = []
    for corpus, language in units:
        run = {"data_set": corpus.name, "splits": list(corpus.splits), "balanced": corpus.balanced}
        if corpus.balanced:
            run |= {"vad": vad, "least": least}
        try:
            rows = corpus.read(language)
        except (FileNotFoundError, ValueError) as error:
            logger.warning(f"{corpus.name} {language} is left out: {error}")
            continue
        places = [folder / name / file_name(corpus.name) for name in (ROWS, CHECKED)]
        notes_in, checked_in = (RunFolder(place, {"run": run}) for place in places)
        checked = RecordFile(checked_in.folder / f"{file_name(language)}.jsonl")
        rows, notes = select(rows, checked, detector if corpus.balanced else None, corpus.balanced, least)
        RecordFile(notes_in.folder / f"{file_name(language)}.jsonl").keep(notes)
        if len(rows):
            found.append((corpus, language, rows))
    return found


def run_grid(
    folder: Path,
    models: Mapping[str, str],
    precisions: Sequence[str],
    data: Sequence[tuple[Corpus, str, Dataset]],
    *,
    batch_size: int = 16,
    num_beams: int = 1,
    device: str = "cpu",
) -> None:
    """Transcribes what is not transcribed yet, a file for each cell:
    `folder/transcripts/<model>/<precision>/<corpus>/<language>.jsonl`.

    Settings stand beside the files and name no place, so that folders of several machines can be joined.

    Args:
        models: locations by name.

    Raises:
        ValueError: the folder has transcripts of other weights or settings.
    """
    for name, location in models.items():
        about = {"model": name, "shape": model_shape(load_config(location))}
        about["weights"] = weights_digest(location) or location
        processor = load_processor(location)
        for precision in precisions:
            model = None
            for corpus, language, rows in data:
                run = about | {"precision": precision, "num_beams": num_beams, "data_set": corpus.name}
                run |= {"balanced": corpus.balanced, "splits": list(corpus.splits)}
                place = folder / TRANSCRIPTS / file_name(name) / file_name(precision) / file_name(corpus.name)
                file = RecordFile(RunFolder(place, {"run": run}).folder / f"{file_name(language)}.jsonl")
                if is_transcribed(file, rows):
                    continue
                if model is None:
                    model = load_model(location, precision, device)
                transcribe_rows(file, model, processor, rows, batch_size=batch_size, num_beams=num_beams)


def join(parts: Sequence[Path], folder: Path) -> None:
    """Puts what several machines made into one folder; parts may overlap where they agree.

    Raises:
        FileNotFoundError: a part holds no transcripts.
        ValueError: parts have other settings, or heard something else in the same utterance.
    """
    for part in parts:
        if not (part / TRANSCRIPTS).is_dir():
            raise FileNotFoundError(f"{part} holds no {TRANSCRIPTS}. Expected a folder that a run with --part wrote.")
        for path in sorted(part.glob("*/**/settings.json")):
            into = RunFolder(folder / path.parent.relative_to(part), json.loads(path.read_text(encoding="utf-8")))
            for file in sorted(path.parent.glob("*.jsonl")):
                _merge(file, RecordFile(into.folder / file.name))


def _merge(source: Path, into: RecordFile) -> None:
    there = {record["id"]: record for record in into.read()}
    for record in RecordFile(source).read():
        known = there.setdefault(record["id"], record)
        if known.get("hypothesis") != record.get("hypothesis"):
            raise ValueError(f"{source} and {into.path} heard other things in {record['id']}. Join only one of them.")
    into.keep(list(there.values()))


def read_cells(folder: Path) -> tuple[list[Cell], list[str]]:
    """The cells of a folder that are transcribed to the end, and the names of those that are not: every model and
    precision that the folder has is wanted of all rows that were taken.

    Raises:
        FileNotFoundError: there is no cell to read.
    """
    cells, unfinished, taken = [], [], list(_rows(folder))
    runs = {}
    for settings in sorted((folder / TRANSCRIPTS).glob("*/*/*/settings.json")):
        run = json.loads(settings.read_text(encoding="utf-8"))["run"]
        runs[run["model"], run["precision"], run["data_set"]] = run, settings.parent
    for system in dict.fromkeys(key[:2] for key in runs):
        begun = {data_set for *owner, data_set in runs if tuple(owner) == system}
        never = dict.fromkeys(data_set for data_set, _, _ in taken if data_set not in begun)
        unfinished += [f"{' '.join((*system, data_set))}: nothing" for data_set in never]
        for data_set, language, notes in taken:
            if data_set not in begun:
                continue
            wanted = {note["id"] for note in notes if note["kept"]}
            run, place = runs[*system, data_set]
            read = RecordFile(place / f"{language}.jsonl").read()
            records = [record for record in read if record["id"] in wanted]
            if len(records) < len(wanted):
                unfinished.append(f"{' '.join((*system, data_set, language))}: {len(records)} of {len(wanted)}")
            elif records:
                cells.append(Cell(run, language, records))
    if not cells:
        raise FileNotFoundError(f"{folder} holds no finished transcripts. Expected a folder that run_bias.py wrote.")
    return cells, unfinished


def left_out(folder: Path) -> list[dict]:
    """What became of the rows of every corpus and language: how many are kept, how many are left out and why."""
    found = []
    for data_set, language, notes in _rows(folder):
        about = {"data_set": data_set, "language": language, "kept": sum(note["kept"] for note in notes)}
        found += [{**about, "left out": count, "for": reason} for reason, count in count_reasons(notes).most_common()]
        if all(note["kept"] for note in notes):
            found.append({**about, "left out": 0, "for": ""})
    return found


def _rows(folder: Path) -> Iterator[tuple[str, str, list[dict]]]:
    """Every corpus and language, with the notes of its rows."""
    for path in sorted((folder / ROWS).glob("*/*.jsonl")):
        run = json.loads((path.parent / "settings.json").read_text(encoding="utf-8"))["run"]
        yield run["data_set"], path.stem, RecordFile(path).read()
