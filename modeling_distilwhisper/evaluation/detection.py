"""Which languages a model hears in a data set's rows, as records from which accuracy among any languages follows."""

from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset
from transformers import WhisperProcessor
from transformers.modeling_outputs import BaseModelOutput

from ..data.audio import read_audio
from ..data.features import speech_features
from ..runs.detection import TRAINED, WHISPER, ranked_languages, trained_languages
from ..runs.numbers import AT_LEAST_0, COUNT
from ..runs.records import RecordFile
from .row_records import RecordKind, is_recorded, record_rows

COLUMNS = ("id", "data_set", "split", "language", "seconds")
# What a record must have to be scored. Where a model has trained rows, there is "trained" too.
RECORD = {**{name: str for name in COLUMNS[:-1]}, "seconds": AT_LEAST_0, WHISPER: [str]}
DETECTIONS = RecordKind(RECORD, {"language": "language", "seconds": "seconds"})


def detect_rows(
    file: RecordFile, model, processor: WhisperProcessor, rows: Dataset, *, batch_size: int = 16
) -> list[dict]:
    """Detects the language of the rows whose record is missing in a file, or has another language or length.

    A record has all languages in their order, not the first alone: with other candidates, no row is heard again. Only
    the first window of a recording counts (30 s in Whisper), as in `generate`. Several processes share the rows.

    Args:
        file: the records so far. Each batch is added when it is done. Damaged records are made again.
        model: a multilingual Whisper of any kind, in evaluation mode.
        processor: the model's.
        rows: as a reader makes them, with `seconds` (`keep_scorable`).
        batch_size: rows per batch.

    Raises:
        ValueError: `batch_size` is below 1, the processes have different rows, or the model is for English alone.
        FolderInUseError: another process writes into the file's folder.

    Returns:
        The rows' records: `COLUMNS`, and names of languages, the most probable first: in `whisper` by Whisper's own
        detection, in `trained` with the model's trained rows if it has some.

    Example:
        >>> import tempfile
        >>> from modeling_distilwhisper import keep_scorable, load_model, load_processor, read_folder
        >>> from modeling_distilwhisper.evaluation.detection import detect_rows
        >>> from modeling_distilwhisper.runs.records import RecordFile
        >>> folder = "examples/quickstart/student"
        >>> rows, _ = keep_scorable(read_folder("examples/quickstart/in_domain/ca", "test").select(range(2)))
        >>> with tempfile.TemporaryDirectory() as out:
        ...     records = detect_rows(RecordFile(f"{out}/ca.jsonl"), load_model(folder), load_processor(folder), rows)
        >>> [(record["language"], "ca" in record["whisper"]) for record in records]
        [('ca', True), ('ca', True)]
    """
    COUNT.check("batch_size", batch_size)

    def records_of(batch: Dataset) -> list[dict]:
        rankings = rank_batch(model, processor, [read_audio(audio) for audio in batch["audio"]])
        return [
            {name: row[name] for name in COLUMNS}
            | {detection: ranking[number] for detection, ranking in rankings.items()}
            for number, row in enumerate(batch)
        ]

    return record_rows(file, rows, records_of, DETECTIONS, batch_size=batch_size)


def is_detected(file: RecordFile, rows: Dataset) -> bool:
    """Whether `detect_rows` would have nothing to do: then no model needs to be loaded. All processes call it."""
    return is_recorded(file, rows, DETECTIONS)


@torch.inference_mode()
def rank_batch(model, processor: WhisperProcessor, clips: Sequence[np.ndarray]) -> dict[str, list[list[str]]]:
    """The languages of each clip's first window, the most probable first, by kind of detection.

    Args:
        model: a multilingual Whisper of any kind, in evaluation mode.
        processor: the model's.
        clips: samples `(samples,)` at 16 kHz of each.
    """
    window = processor.feature_extractor.n_samples
    features = speech_features(processor, [clip[:window] for clip in clips]).input_features
    encoded = model.get_encoder()(features.to(model.device, model.dtype)).last_hidden_state
    kinds = [WHISPER, *([TRAINED] if trained_languages(model) else [])]
    return {kind: ranked_languages(model, BaseModelOutput(encoded), kind) for kind in kinds}
