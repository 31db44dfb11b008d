"""Transcripts of a data set's rows, in batches of like length, as records that can be scored again and again."""

import time
from collections.abc import Iterator

import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import WhisperProcessor

from ..data.audio import SAMPLING_RATE, read_audio
from ..runs.records import RecordFile

METADATA = ("id", "data_set", "split", "language", "sentence_id", "gender", "age", "accent", "speaker", "seconds")


def transcribe_rows(
    file: RecordFile,
    model,
    processor: WhisperProcessor,
    rows: Dataset,
    *,
    task: str = "transcribe",
    batch_size: int = 16,
    **settings,
) -> list[dict]:
    """Transcribes the rows that the file does not have yet, or that now say something else, the longest first.

    Args:
        model: a Whisper of any kind, in evaluation mode.
        rows: as a reader makes them, with `seconds` (`keep_scorable`).
        task: "transcribe" or "translate".
        settings: for `generate`, as `num_beams=5`.

    Returns:
        The rows' records: what the row says of itself (`METADATA`), `reference`, `hypothesis` and
        `compute_seconds`, its share of the time that its batch took.
    """
    seconds = rows["seconds"][:]
    done, stale = _done(file, rows)
    if stale:
        file.keep([record for record in file.read() if record["id"] not in stale])
    order = sorted((i for i, name in enumerate(rows["id"]) if name not in done), key=lambda i: -seconds[i])
    bar = tqdm(total=len(rows), initial=len(rows) - len(order), desc=file.path.stem, unit="clip")
    for batch in _batches(order, seconds, batch_size, processor.feature_extractor.chunk_length):
        chosen = rows.select(batch)
        started = time.perf_counter()
        hypotheses = _transcribe(model, processor, chosen, task, settings)
        share = (time.perf_counter() - started) / len(batch)
        file.add(
            [
                {name: row[name] for name in METADATA}
                | {"reference": row["text"], "hypothesis": hypothesis, "compute_seconds": share}
                for row, hypothesis in zip(chosen, hypotheses, strict=True)
            ]
        )
        bar.update(len(batch))
    bar.close()
    return records_of(file, rows)


def is_transcribed(file: RecordFile, rows: Dataset) -> bool:
    """Whether `transcribe_rows` would find all rows there: nobody needs a model then."""
    return len(_done(file, rows)[0]) == len(rows)


def records_of(file: RecordFile, rows: Dataset) -> list[dict]:
    """Those records of the file that are of these rows."""
    current = set(rows["id"])
    return [record for record in file.read() if record["id"] in current]


def _done(file: RecordFile, rows: Dataset) -> tuple[set[str], set[str]]:
    """Ids of the rows that the file has, and of those that say something else now."""
    current = dict(zip(rows["id"], zip(rows["text"], rows["seconds"], strict=True), strict=True))
    said = {record["id"]: (record["reference"], record["seconds"]) for record in file.read()}
    done = {name for name, now in current.items() if said.get(name) == now}
    return done, (current.keys() & said.keys()) - done


def _batches(order: list[int], seconds: list[float], size: int, window: float) -> Iterator[list[int]]:
    """Batches of the rows in order; those that do not fit Whisper's window are alone."""
    batch: list[int] = []
    for index in order:
        if seconds[index] > window:
            yield [index]
            continue
        batch.append(index)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@torch.inference_mode()
def _transcribe(model, processor: WhisperProcessor, rows: Dataset, task: str, settings: dict) -> list[str]:
    clips = [read_audio(audio) for audio in rows["audio"]]
    is_long = max(map(len, clips)) > processor.feature_extractor.n_samples
    # Long-form transcription goes from window to window by the timestamps (Radford et al., 2023, section 4.5).
    whole = {"truncation": False, "padding": "longest"} if is_long else {}
    features = processor.feature_extractor(
        clips, sampling_rate=SAMPLING_RATE, return_attention_mask=True, return_tensors="pt", **whole
    )
    told = {"language": rows["language"][:], "task": task}
    if not getattr(model.generation_config, "is_multilingual", True):
        told = {}  # an English Whisper knows neither
    tokens = model.generate(
        input_features=features.input_features.to(model.device, model.dtype),
        attention_mask=features.attention_mask.to(model.device),
        **told,
        return_timestamps=is_long,
        **settings,
    )
    return [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]
