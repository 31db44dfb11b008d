"""Transcripts of a data set's rows, in batches of similar length, as records that can be scored at any time."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset
from transformers import WhisperProcessor

from ..data.audio import read_audio
from ..data.features import speech_features
from ..language_names_distilwhisper import nearest_language
from ..languages_distilwhisper import is_english, known_languages
from ..runs.numbers import AT_LEAST_0, COUNT
from ..runs.records import RecordFile
from .row_records import METADATA, RecordKind, is_recorded, record_rows

# What a record must have to be scored.
RECORD = {
    **{name: str for name in ("id", "data_set", "split", "language", "reference", "hypothesis")},
    **{name: AT_LEAST_0 for name in ("seconds", "compute_seconds")},
}
TRANSCRIPTS = RecordKind(RECORD, {"reference": "text", "seconds": "seconds"})


def transcribe_rows(
    file: RecordFile,
    model,
    processor: WhisperProcessor,
    rows: Dataset,
    *,
    task: str = "transcribe",
    batch_size: int = 16,
    **generate_kwargs,
) -> list[dict]:
    """Transcribes the rows whose record is missing in a file, or has another reference or length. Longest rows first.

    Under `torchrun` all processes call it, with the same rows. Each transcribes its share, and the file is in the end
    as one process alone would have written it.

    Args:
        file: the records so far. Each batch is added when it is done. Damaged records are made again.
        model: a Whisper of any kind, in evaluation mode.
        processor: the model's.
        rows: as a reader makes them, with `seconds` (`keep_scorable`).
        task: "transcribe" or "translate".
        batch_size: rows per batch. A row longer than Whisper's window (30 s) is transcribed alone.
        **generate_kwargs: settings of `generate`, such as `num_beams=5`.

    Raises:
        ValueError: `batch_size` or `num_beams` is below 1, or the processes have different rows.
        FolderInUseError: another process writes into the file's folder.

    Returns:
        The rows' records: the columns `METADATA` of the row, `reference`, `hypothesis` and `compute_seconds`, the
        batch's time divided by its rows.

    Example:
        >>> import tempfile
        >>> from transformers import WhisperForConditionalGeneration, WhisperProcessor
        >>> from modeling_distilwhisper import keep_scorable, read_folder, transcribe_rows
        >>> from modeling_distilwhisper.runs.records import RecordFile
        >>> model = WhisperForConditionalGeneration.from_pretrained("examples/quickstart/student").eval()
        >>> processor = WhisperProcessor.from_pretrained("examples/quickstart/student")
        >>> rows, _ = keep_scorable(read_folder("examples/quickstart/in_domain/ca", "test").select(range(2)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     records = transcribe_rows(RecordFile(f"{folder}/ca.jsonl"), model, processor, rows, max_new_tokens=4)
        >>> len(records), records[0]["language"], sorted(records[0].keys() - {*rows.column_names})
        (2, 'ca', ['compute_seconds', 'hypothesis', 'reference'])
    """
    COUNT.check("batch_size", batch_size)
    COUNT.check("num_beams", generate_kwargs.get("num_beams", 1))

    def transcripts_of(batch: Dataset) -> list[dict]:
        started = time.perf_counter()
        clips, languages = [read_audio(audio) for audio in batch["audio"]], batch["language"][:]
        hypotheses = transcribe_batch(model, processor, clips, languages, task=task, **generate_kwargs)
        compute_seconds = (time.perf_counter() - started) / len(batch)
        return [
            {name: row[name] for name in METADATA}
            | {"reference": row["text"], "hypothesis": hypothesis, "compute_seconds": compute_seconds}
            for row, hypothesis in zip(batch, hypotheses, strict=True)
        ]

    window = processor.feature_extractor.chunk_length
    return record_rows(file, rows, transcripts_of, TRANSCRIPTS, batch_size=batch_size, window=window)


def is_transcribed(file: RecordFile, rows: Dataset) -> bool:
    """Whether `transcribe_rows` would have nothing to do: then no model needs to be loaded. All processes call it."""
    return is_recorded(file, rows, TRANSCRIPTS)


def known_or_detected(model, features: torch.Tensor, languages: Sequence[str]) -> list[str]:
    """Languages that a model knows, in the place of those that it does not.

    Args:
        model: any multilingual Whisper.
        features: the first window of each recording, `(batch, mel bins, frames)`.
        languages: names.
    """
    known = known_languages(model)
    codes = [nearest_language(language, known) for language in languages]
    unknown = [index for index, code in enumerate(codes) if code is None]
    if unknown:
        names = {token: name for name, token in known.items()}
        detected = model.detect_language(features[unknown].to(model.device, model.dtype)).tolist()
        for index, token in zip(unknown, detected, strict=True):
            codes[index] = names[token]
    return [code for code in codes if code is not None]


@torch.inference_mode()
def transcribe_batch(
    model,
    processor: WhisperProcessor,
    clips: Sequence[np.ndarray],
    languages: Sequence[str],
    *,
    task: str = "transcribe",
    **generate_kwargs,
) -> list[str]:
    """The transcripts of clips that are transcribed together.

    Args:
        model: a Whisper of any kind, in evaluation mode.
        processor: the model's.
        clips: samples `(samples,)` at 16 kHz of each.
        languages: the name of each one's language. One that the model has no token for is replaced: `de-CH` by `de`,
            others by the language that the model detects.
        task: "transcribe" or "translate".
        **generate_kwargs: settings of `generate`.
    """
    features = speech_features(processor, clips)
    prompt = {}
    if not is_english(model):  # it has neither in its prompt
        window = features.input_features[..., : processor.feature_extractor.nb_max_frames]
        prompt = {"language": known_or_detected(model, window, languages), "task": task}
    tokens = model.generate(
        input_features=features.input_features.to(model.device, model.dtype),
        attention_mask=features.attention_mask.to(model.device),
        **prompt,
        return_timestamps=max(map(len, clips)) > processor.feature_extractor.n_samples,
        **generate_kwargs,
    )
    return [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]
