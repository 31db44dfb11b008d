"""Which rows can be trained on or scored, and why the others cannot. No row stops a run."""

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
    """Leaves out rows without text or without readable audio.

    Returns:
        The other rows, with a column `seconds` (duration of the audio), and the number of rows left out by reason.

    Example:
        >>> from modeling_distilwhisper import keep_scorable, read_folder
        >>> rows = read_folder("examples/quickstart/in_domain/ca", "test", "ca").select(range(3))
        >>> kept, left_out = keep_scorable(rows)
        >>> len(kept), dict(left_out), kept["seconds"][:]
        (3, {}, [1.204, 2.304375, 1.854875])
    """
    return _keep(rows, check_scorable)


def keep_usable(rows: Dataset, processor: WhisperProcessor, max_tokens: int = MAX_TOKENS) -> tuple[Dataset, Counter]:
    """Leaves out rows that cannot be trained on: those that `keep_scorable` leaves out, and those that do not fit.

    Audio must fit the processor's window (30 s), and the text must fit the decoder and hold no control token.

    Args:
        rows: from a reader.
        processor: the model's processor.
        max_tokens: the model's longest target, with prompt and end token (`config.max_target_positions`).

    Returns:
        The same as `keep_scorable`.

    Example:
        >>> from modeling_distilwhisper import keep_usable, load_processor, read_folder
        >>> rows = read_folder("examples/quickstart/in_domain/ca", "test", "ca").select(range(3))
        >>> kept, left_out = keep_usable(rows, load_processor("examples/quickstart/student"), max_tokens=12)
        >>> kept["text"][:], dict(left_out)
        (['disset quilograms', 'cinquanta nou dissabte'], {'text over 12 tokens': 1})
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
    kept: list[int] = []  # indices
    durations: list[float] = []  # seconds of every row
    for index, row in enumerate(tqdm(rows, desc="Checking rows", unit="row", disable=len(rows) < 1000)):
        reason, seconds = check(row)
        durations.append(seconds)
        if reason is None:
            kept.append(index)
        else:
            left_out[reason] += 1
    return rows.add_column("seconds", durations, feature=Value("float64")).select(kept), left_out


def check_scorable(row: dict) -> tuple[str | None, float]:
    """The reason why a row cannot be scored (`None` if it can), and the duration of its audio in seconds."""
    if not row["text"].strip():
        return "empty text", 0.0
    if row["audio"]["bytes"] is None and not os.path.isfile(row["audio"]["path"] or ""):
        return "missing audio file", 0.0
    try:
        seconds = len(read_audio(row["audio"])) / SAMPLING_RATE  # by samples: a header may be wrong
    except (ValueError, MemoryError):
        return "unreadable audio", 0.0
    return (None, seconds) if seconds else ("empty audio", 0.0)
