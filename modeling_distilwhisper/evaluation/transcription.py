"""Transcripts of a data set's rows, in batches of similar length, as records that can be scored at any time."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import WhisperProcessor

from ..data.audio import read_audio
from ..data.features import speech_features
from ..language_names_distilwhisper import nearest_language
from ..languages_distilwhisper import is_english, known_languages
from ..runs.numbers import AT_LEAST_0, COUNT
from ..runs.processes import is_main_process, on_main, require_same, share
from ..runs.records import RecordFile

METADATA = ("id", "data_set", "split", "language", "sentence_id", "gender", "age", "accent", "speaker", "seconds")
# What a record must have to be scored.
RECORD = {
    **{name: str for name in ("id", "data_set", "split", "language", "reference", "hypothesis")},
    **{name: AT_LEAST_0 for name in ("seconds", "compute_seconds")},
}


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
    require_same(f"rows for {file.path.name}", [rows[name][:] for name in ("id", "text", "seconds")])
    order, seconds = on_main(_missing, file, rows), rows["seconds"][:]
    mine, done = share(order), len(rows) - len(order)
    own = file.of_this_process()
    bar = tqdm(total=done + len(mine), initial=done, desc=file.path.stem, unit="clip", disable=not is_main_process())
    for indices in batches_by_length(mine, seconds, batch_size, processor.feature_extractor.chunk_length):
        batch = rows.select(indices)
        started = time.perf_counter()
        clips, languages = [read_audio(audio) for audio in batch["audio"]], batch["language"][:]
        hypotheses = transcribe_batch(model, processor, clips, languages, task=task, **generate_kwargs)
        compute_seconds = (time.perf_counter() - started) / len(indices)
        own.add(
            [
                {name: row[name] for name in METADATA}
                | {"reference": row["text"], "hypothesis": hypothesis, "compute_seconds": compute_seconds}
                for row, hypothesis in zip(batch, hypotheses, strict=True)
            ]
        )
        bar.update(len(indices))
    bar.close()
    file.merge()
    return on_main(_in_order, file, rows)


def is_transcribed(file: RecordFile, rows: Dataset) -> bool:
    """Whether `transcribe_rows` would have nothing to do: then no model needs to be loaded. All processes call it."""
    return on_main(lambda: len(_done(file, rows)[0]) == len(rows) and not file.is_in_parts())


def _missing(file: RecordFile, rows: Dataset) -> list[int]:
    """The indices of the rows to transcribe, longest first. Outdated records are deleted."""
    file.hold()
    done, outdated = _done(file, rows)
    if outdated or file.is_in_parts():
        file.keep([record for record in file.read(RECORD) if record["id"] not in outdated])
    names = rows["id"][:]
    return [index for index in _longest_first(rows) if names[index] not in done]


def _in_order(file: RecordFile, rows: Dataset) -> list[dict]:
    """The records of these rows, which it puts in the order in which one process writes them: scores and their
    intervals do then not depend on the number of processes, or on interruptions."""
    names = rows["id"][:]
    places = {names[index]: place for place, index in enumerate(_longest_first(rows))}
    records = file.read(RECORD)
    found = [record for record in records if record["id"] in places]
    in_order = sorted(found, key=lambda record: places[record["id"]])
    if in_order != found:
        file.keep([*(record for record in records if record["id"] not in places), *in_order])
    return in_order


def _longest_first(rows: Dataset) -> list[int]:
    seconds = rows["seconds"][:]
    return sorted(range(len(seconds)), key=lambda index: -seconds[index])


def _done(file: RecordFile, rows: Dataset) -> tuple[set[str], set[str]]:
    """Ids of the rows that the file has a valid record of, and of those whose record is outdated."""
    current = dict(zip(rows["id"], zip(rows["text"], rows["seconds"], strict=True), strict=True))
    recorded = {record["id"]: (record["reference"], record["seconds"]) for record in file.read(RECORD)}
    done = {name for name, row in current.items() if recorded.get(name) == row}
    return done, (current.keys() & recorded.keys()) - done


def batches_by_length(order: Sequence[int], seconds: Sequence[float], size: int, window: float) -> Iterator[list[int]]:
    """Batches of `size` rows in an order; a row longer than Whisper's window, in seconds, is a batch alone."""
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
