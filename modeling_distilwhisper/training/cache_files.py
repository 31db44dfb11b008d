"""The files of a teacher's cache: `manifest.json`, and Arrow files `part-00000.arrow` with a line for each utterance.

A line holds the utterance's key, its label tokens, a digest of its samples, and the teacher's predictions at each
position, in one of two forms: the k most likely tokens and the total probability of all others; or the teacher's last
hidden state, from which its output matrix computes all logits; the folder then holds this matrix too. The files are
mapped into memory, not read, so a cache may be larger than memory.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import WhisperProcessor

from ..runs.forms import check_form, read_json_file
from .row_names import KEY

FORMAT = 1
MANIFEST, OUTPUT = "manifest.json", "output.safetensors"
MANIFEST_FORM = {"k": int | None, "temperatures": list | None, "tokenizer": str, "vocabulary": int}
HOW_TO_COMPLETE = "Run `distilwhisper cache-teacher` on this data: it adds missing and changed rows."
HOW_TO_MAKE_ANEW = "Delete that folder and make a new cache with `distilwhisper cache-teacher`."

_ROW = [*((name, pa.string()) for name in KEY), ("labels", pa.list_(pa.int32())), ("audio", pa.binary(16))]
# Flat lists. Per position k ids, k logits, and one number per temperature; or the hidden states.
TOP_COLUMNS = [("ids", pa.list_(pa.int32())), ("logits", pa.list_(pa.float32())), ("rest", pa.list_(pa.float32()))]
HIDDEN_COLUMNS = [("hidden", pa.list_(pa.float16()))]
TIMESTAMP = re.compile(r"<\|\d+\.\d\d\|>")


def tokenizer_digest(processor: WhisperProcessor) -> str:
    """A digest of the token ids: equal for tokenizers that give every token the same id."""
    return _digest(processor.tokenizer.get_vocab())


def tokenizer_digests(processor: WhisperProcessor, vocab_size: int) -> set[str]:
    """The digest of a tokenizer, and those that it had before it got tokens for languages that Whisper has none for.

    Behind Whisper's vocabulary, they are placed after timestamps, which not all tokenizers list.
    """
    whisper = {token: index for token, index in processor.tokenizer.get_vocab().items() if index < vocab_size}
    without_timestamps = {token: index for token, index in whisper.items() if not TIMESTAMP.fullmatch(token)}
    return {tokenizer_digest(processor), _digest(whisper), _digest(without_timestamps)}


def _digest(vocabulary: dict[str, int]) -> str:
    return hashlib.sha256(json.dumps(sorted(vocabulary.items()), ensure_ascii=True).encode()).hexdigest()


def audio_digest(samples: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(samples).tobytes(), digest_size=16).digest()


def columns_of(k: int | None) -> list[tuple[str, pa.DataType]]:
    """The columns of the teacher's predictions; `None`: hidden states."""
    return TOP_COLUMNS if k else HIDDEN_COLUMNS


def schema_of(k: int | None) -> pa.Schema:
    return pa.schema([*_ROW, *columns_of(k)])


def key_of(row: Mapping) -> tuple[str, ...]:
    """The columns that identify the utterance of a reader's row or of a line."""
    return tuple(row[name] for name in KEY)


def read_manifest(path: Path) -> dict:
    """What a cache was made with.

    Raises:
        ValueError: the file is damaged, or of another format.
    """
    manifest = read_json_file(path, advice=HOW_TO_MAKE_ANEW)
    if manifest.get("format") != FORMAT:
        raise ValueError(f"{path.parent} has format {manifest.get('format')}, expected {FORMAT}. {HOW_TO_MAKE_ANEW}")
    try:
        check_form(manifest, MANIFEST_FORM)
        if manifest["k"] is not None and (manifest["k"] < 1 or manifest["temperatures"] is None):
            raise ValueError(f"expected k, a number of tokens from 1 or null, and temperatures, got k {manifest['k']}.")
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error} {HOW_TO_MAKE_ANEW}") from None
    return manifest


def part_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.arrow"))


def read_table(folder: Path, k: int | None) -> pa.Table:
    """All lines of a cache.

    Raises:
        ValueError: a file is damaged.
    """
    parts = [schema_of(k).empty_table()]
    for path in part_paths(folder):
        try:
            parts.append(pa.ipc.open_file(pa.memory_map(str(path))).read_all())
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path} is damaged ({error}). Delete that file. {HOW_TO_COMPLETE}") from None
    return pa.concat_tables(parts)


def damaged_lines(table: pa.Table, widths: Mapping[str, int], vocabulary: int) -> list[int]:
    """The lines whose predictions are not complete, or cannot be a teacher's: NaN, infinite, or no token of it.

    Args:
        table: all lines.
        widths: by column of the predictions, the numbers for each position.
        vocabulary: the number of tokens.
    """
    tokens = pc.list_value_length(table["labels"]).to_numpy()
    damaged: set[int] = set()
    for name, width in widths.items():
        first = 0
        for chunk in table[name].chunks:
            lengths = pc.list_value_length(chunk).to_numpy(zero_copy_only=False)
            values = chunk.flatten().to_numpy(zero_copy_only=False)
            if name == "ids":
                wrong = (values < 0) | (values >= vocabulary)
            elif name == "hidden":
                wrong = ~np.isfinite(values)
            else:  # -inf is the logarithm of the probability 0, of tokens that the teacher lacks
                wrong = np.isnan(values) | (values == np.inf)
            lines = np.searchsorted(np.cumsum(lengths), np.flatnonzero(wrong), side="right")
            incomplete = np.flatnonzero(lengths != tokens[first : first + len(chunk)] * width)
            damaged.update((first + np.concatenate([lines, incomplete])).tolist())
            first += len(chunk)
    return sorted(damaged)


def index_of(table: pa.Table) -> dict[tuple[str, ...], int]:
    """The line's number, by key."""
    columns = (table[name].to_pylist() for name in KEY)
    return {key: number for number, key in enumerate(zip(*columns, strict=True))}
