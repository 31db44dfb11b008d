"""Which rows can be trained on or scored, and why the others cannot. No row is ever fatal."""

import os
import re
from collections import Counter
from collections.abc import Callable

from datasets import Dataset, Value
from tqdm.auto import tqdm
from transformers import WhisperProcessor

from .audio import SAMPLING_RATE, read_audio
from .labels import label_ids

CONTROL_TOKEN = re.compile(r"<\|[^|]*\|>")
MAX_TOKENS = 448  # of a target: the decoder positions of every Whisper that OpenAI published


def keep_scorable(rows: Dataset) -> tuple[Dataset, Counter]:
    """Leaves out rows without text or without audio that can be read, and counts them by reason.

    Returns:
        The other rows, with a column `seconds`, and a count a reason.
    """
    return _keep(rows, check_scorable)


def keep_usable(rows: Dataset, processor: WhisperProcessor, max_tokens: int = MAX_TOKENS) -> tuple[Dataset, Counter]:
    """Leaves out rows that cannot be trained on: what `keep_scorable` leaves out, and what does not fit the model.

    Args:
        processor: the model's: its window (30 s) bounds the audio, its tokenizer counts the text.
        max_tokens: the model's longest target, prompt and end token included.

    Returns:
        As `keep_scorable`.
    """
    window = processor.feature_extractor.chunk_length

    def check(row: dict) -> tuple[str | None, float]:
        if CONTROL_TOKEN.search(row["text"]):
            return "control token in the text", 0.0
        try:
            tokens = len(label_ids(processor.tokenizer, row["text"], row["language"]))
        except ValueError:
            return "unknown language", 0.0
        reason, seconds = check_scorable(row)
        if reason is None and seconds > window:
            reason = f"audio over {window} s"
        elif reason is None and tokens > max_tokens:
            reason = f"text over {max_tokens} tokens"
        return reason, seconds

    return _keep(rows, check)


def _keep(rows: Dataset, check: Callable[[dict], tuple[str | None, float]]) -> tuple[Dataset, Counter]:
    left_out: Counter[str] = Counter()
    kept, durations = [], []  # indices; seconds of every row
    for index, row in enumerate(tqdm(rows, desc="Checking rows", unit="row", disable=len(rows) < 1000)):
        reason, seconds = check(row)
        durations.append(seconds)
        if reason is None:
            kept.append(index)
        else:
            left_out[reason] += 1
    return rows.add_column("seconds", durations, feature=Value("float64")).select(kept), left_out


def check_scorable(row: dict) -> tuple[str | None, float]:
    """Why the row can be neither scored nor trained on, or `None`, and the seconds of its audio."""
    if not row["text"].strip():
        return "empty text", 0.0
    if row["audio"]["bytes"] is None and not os.path.isfile(row["audio"]["path"] or ""):
        return "missing audio file", 0.0
    try:
        seconds = len(read_audio(row["audio"])) / SAMPLING_RATE  # by the samples: headers of cut mp3 files lie
    except ValueError:
        return "unreadable audio", 0.0
    return (None, seconds) if seconds else ("empty audio", 0.0)
