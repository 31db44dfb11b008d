"""Transcripts of every model and precision on every corpus and language, made by one process or several."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers.utils import logging

from ..data.voice import find_detector
from ..evaluation.transcription import is_transcribed, transcribe_rows
from ..runs.any_whisper import load_config, load_model, load_processor, weights_digest
from ..runs.files import file_name
from ..runs.forms import read_json_file
from ..runs.processes import on_main, require_same
from ..runs.records import RecordFile
from ..runs.run_folder import RunFolder
from .corpora import MIN_BALANCED_UTTERANCES, Corpus, count_reasons, select_rows
from .groups import model_shape

logger = logging.get_logger(__name__)

TRANSCRIPTS, ROWS, CHECKED = "transcripts", "rows", "checked"
# What is expected in the files of a study.
CELL_FORM = {"run": {"model": str, "precision": str, "data_set": str, "shape": Any, "balanced": bool}}
WITH_ID = {"id": str}
NOTE_FORM = WITH_ID | {"kept": bool, "reason": str | None}
TRANSCRIPT_FORM = WITH_ID | {"reference": str, "hypothesis": str}


@dataclass(frozen=True)
class Cell:
    """The complete transcripts of one model and precision on one corpus and language.

    Attributes:
        run: settings of the run: `model`, `shape`, `precision`, `data_set`, `balanced` and more.
        language: Whisper's code.
        records: of the utterances, from `transcribe_rows`.
    """

    run: dict
    language: str
    records: list[dict]


def read_study_rows(
    folder: Path,
    units: Sequence[tuple[Corpus, str]],
    vad: str = "silero",
    min_utterances: int = MIN_BALANCED_UTTERANCES,
) -> list[tuple[Corpus, str, Dataset]]:
    """Reads and chooses the rows of the study. Notes on every row go to `folder/rows/<corpus>/<language>.jsonl`.

    A language that a corpus lacks is left out with a warning. Under `torchrun` all processes call it, as `run_grid`.

    Args:
        folder: of the study.
        units: corpora and languages.
        vad: the voice activity detector of balanced corpora, by its name for `find_detector`.
        min_utterances: how many utterances a language of a balanced corpus needs.

    Returns:
        Corpus, language and rows of the units that have rows.
    """
    detector = find_detector(vad) if any(corpus.balanced for corpus, _ in units) else None
    data = []
    for corpus, language in units:
        run = {"data_set": corpus.name, "splits": list(corpus.splits), "balanced": corpus.balanced}
        if corpus.balanced:
            run |= {"vad": vad, "least": min_utterances}
        rows = _read_or_warn(corpus, language)
        require_same(f"rows of {corpus.name} {language}", None if rows is None else rows["id"][:])
        if rows is None:
            continue
        notes_file, checked_file = (
            RecordFile(
                RunFolder(folder / name / file_name(corpus.name), {"run": run}).folder / f"{file_name(language)}.jsonl"
            )
            for name in (ROWS, CHECKED)
        )
        rows, notes = select_rows(
            rows, checked_file, detector if corpus.balanced else None, corpus.balanced, min_utterances
        )
        on_main(notes_file.keep, notes)
        if len(rows):
            data.append((corpus, language, rows))
    return data


def _read_or_warn(corpus: Corpus, language: str) -> Dataset | None:
    try:
        return corpus.read(language)
    except (FileNotFoundError, ValueError) as error:
        logger.warning(f"{corpus.name} {language} is left out: {error}")
        return None


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
    """Transcribes the utterances that have no transcript yet. Processes share the utterances of each cell.

    Each cell is a file, `folder/transcripts/<model>/<precision>/<corpus>/<language>.jsonl`. The settings next to
    the files hold no path, since another machine may continue.

    Args:
        folder: of the study.
        models: folders or Hub ids by name.
        precisions: names of precisions for `load_model`.
        data: from `read_study_rows`.
        batch_size: utterances at a time.
        num_beams: width of the beam; 1 is greedy decoding.
        device: where the models run.

    Raises:
        ValueError: the folder has transcripts of other weights or settings.
    """
    for name, location in models.items():
        model_settings = {"model": name, "shape": model_shape(load_config(location))}
        model_settings["weights"] = weights_digest(location) or location
        processor = load_processor(location)
        for precision in precisions:
            model = None
            for corpus, language, rows in data:
                run = model_settings | {"precision": precision, "num_beams": num_beams, "data_set": corpus.name}
                run |= {"balanced": corpus.balanced, "splits": list(corpus.splits)}
                subfolder = folder / TRANSCRIPTS / file_name(name) / file_name(precision) / file_name(corpus.name)
                file = RecordFile(RunFolder(subfolder, {"run": run}).folder / f"{file_name(language)}.jsonl")
                if is_transcribed(file, rows):
                    continue
                if model is None:
                    model = load_model(location, precision, device)
                transcribe_rows(file, model, processor, rows, batch_size=batch_size, num_beams=num_beams)


def read_cells(folder: Path) -> tuple[list[Cell], list[str]]:
    """Reads the complete cells of a folder.

    A cell is expected for every model and precision that the folder has, and every corpus and language that has rows.

    Returns:
        The complete cells, and the names of the others, with the number of their transcripts.

    Raises:
        FileNotFoundError: no cell is complete.
    """
    cells, unfinished, units = [], [], list(_notes(folder))
    runs = {}
    for settings in sorted((folder / TRANSCRIPTS).glob("*/*/*/settings.json")):
        run = read_json_file(settings, CELL_FORM)["run"]
        runs[run["model"], run["precision"], run["data_set"]] = run, settings.parent
    for system in dict.fromkeys(key[:2] for key in runs):
        started = {data_set for *run_system, data_set in runs if tuple(run_system) == system}
        missing = dict.fromkeys(data_set for data_set, _, _ in units if data_set not in started)
        unfinished += [f"{' '.join((*system, data_set))}: nothing" for data_set in missing]
        for data_set, language, notes in units:
            if data_set not in started:
                continue
            expected = {note["id"] for note in notes if note["kept"]}
            run, subfolder = runs[(*system, data_set)]
            records = RecordFile(subfolder / f"{language}.jsonl").read(TRANSCRIPT_FORM)
            records = [record for record in records if record["id"] in expected]
            if len(records) < len(expected):
                unfinished.append(f"{' '.join((*system, data_set, language))}: {len(records)} of {len(expected)}")
            elif records:
                cells.append(Cell(run, language, records))
    if not cells:
        raise FileNotFoundError(
            f"{folder} has no complete transcripts. Expected an output folder of `distilwhisper bias`."
        )
    return cells, unfinished


def left_out(folder: Path) -> list[dict]:
    """How many rows of every corpus and language are kept, and how many are left out and why."""
    table = []
    for data_set, language, notes in _notes(folder):
        unit = {"data_set": data_set, "language": language, "kept": sum(note["kept"] for note in notes)}
        table += [{**unit, "left out": count, "for": reason} for reason, count in count_reasons(notes).most_common()]
        if all(note["kept"] for note in notes):
            table.append({**unit, "left out": 0, "for": ""})
    return table


def _notes(folder: Path) -> Iterator[tuple[str, str, list[dict]]]:
    """Every corpus and language, with the notes on its rows."""
    for path in sorted((folder / ROWS).glob("*/*.jsonl")):
        run = read_json_file(path.parent / "settings.json", {"run": {"data_set": str}})["run"]
        yield run["data_set"], path.stem, RecordFile(path).read(NOTE_FORM)
