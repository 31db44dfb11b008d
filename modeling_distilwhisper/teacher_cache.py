"""What a teacher expects in a whole data set, written once, so that training needs no teacher in memory.

A cache is a folder with `manifest.json` and Arrow files `part-00000.arrow`, a line an utterance: which one it is, its
label tokens, a digest of its samples, and the likeliest tokens at each position. The files are mapped, not read, so a
cache may be larger than memory.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from transformers import WhisperProcessor

from .losses import IGNORED
from .run_folder import write_whole
from .top_logits import TopLogits, shorten

FORMAT = 1
KEY = ("data_set", "split", "language", "id")
MANIFEST = "manifest.json"
PREFIX = "teacher_top_"
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in KEY),
        ("labels", pa.list_(pa.int32())),
        ("audio", pa.binary(16)),  # digest of the samples
        ("ids", pa.list_(pa.int32())),  # positions x k, flat
        ("logits", pa.list_(pa.float32())),  # likewise
        ("rest", pa.list_(pa.float32())),  # positions x temperatures, flat
    ]
)


def tokenizer_digest(processor: WhisperProcessor) -> str:
    """The same for two tokenizers that give every token the same number."""
    vocabulary = json.dumps(sorted(processor.tokenizer.get_vocab().items()), ensure_ascii=True)
    return hashlib.sha256(vocabulary.encode()).hexdigest()


class CacheWriter:
    """Writes a cache, or goes on with one that was not finished.

    Args:
        folder: made if it is not there.
        manifest: what makes another cache: teacher, tokenizer, k, temperatures, vocabulary size.

    Raises:
        ValueError: the folder holds a cache with another manifest; the message names what differs.
    """

    def __init__(self, folder: str | Path, manifest: dict):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        manifest = {"format": FORMAT, **manifest}
        path = self.folder / MANIFEST
        if path.is_file():
            begun = json.loads(path.read_text(encoding="utf-8"))
            differ = [
                f"{name} {begun.get(name)!r}, now {manifest.get(name)!r}"
                for name in {**begun, **manifest}
                if begun.get(name) != manifest.get(name)
            ]
            if differ:
                raise ValueError(f"{folder} holds a cache of another kind: {'; '.join(differ)}. Use another folder.")
        else:
            write_whole(path, json.dumps(manifest, indent=2) + "\n")
        self.parts = len(_parts(self.folder))
        self.done = set(_index(_table(self.folder)))

    def lacks(self, row: dict) -> bool:
        return _key(row) not in self.done

    def megabytes(self) -> float:
        return sum(path.stat().st_size for path in _parts(self.folder)) / 1e6

    def write(self, rows: list[dict]) -> None:
        """Adds a part, aside first and then renamed: an interruption leaves whole parts only."""
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        aside = self.folder / ".part.partial"
        with pa.OSFile(str(aside), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
            writer.write_table(table)
        aside.replace(self.folder / f"part-{self.parts:05d}.arrow")
        self.parts += 1
        self.done |= {_key(row) for row in rows}


def cache_lines(
    rows: list[dict], audio: list[bytes], labels: torch.Tensor, logits: torch.Tensor, k: int, temperatures: list[float]
) -> list[dict]:
    """Lines of the cache for a batch.

    Args:
        rows: of a reader.
        audio: digest of each row's samples.
        labels: `(batch, tokens)`, padded with -100.
        logits: `(batch, tokens, vocabulary)`, the teacher's.
        k: how many tokens of each position are kept.
        temperatures: that it may be learned from at.
    """
    lines = []
    for row, digest, own, expected in zip(rows, audio, labels, logits, strict=True):
        real = own != IGNORED
        ids, top, rest = shorten(expected[real], k, temperatures)
        lines.append(
            {name: row[name] for name in KEY}
            | {"labels": own[real].tolist(), "audio": digest}
            | {"ids": ids.flatten().int().cpu().numpy()}
            | {"logits": top.flatten().cpu().numpy(), "rest": rest.flatten().cpu().numpy()}
        )
    return lines


def audio_digest(samples: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(samples).tobytes(), digest_size=16).digest()


class TeacherCache:
    """Says what the teacher expected, in place of the teacher.

    Args:
        folder: that a `CacheWriter` wrote.

    Raises:
        ValueError: there is no cache, or one of another format.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise ValueError(f"{folder} holds no {MANIFEST}, so no teacher's cache. Make one: run_cache_teacher.py.")
        self.manifest = json.loads(path.read_text(encoding="utf-8"))
        if self.manifest.get("format") != FORMAT:
            raise ValueError(f"{folder} has format {self.manifest.get('format')}, expected {FORMAT}. Make it anew.")
        self.table = _table(self.folder)
        self.index = _index(self.table)
        self.temperature: float | None = None

    def __reduce__(self):
        # A data loader's worker maps the files itself.
        return _reopened, (self.folder, self.temperature)

    def check(self, rows, student, processor: WhisperProcessor, temperature: float) -> "TeacherCache":
        """Takes the temperature to teach at, having made sure that the cache is of these rows and this vocabulary.

        Args:
            rows: the data set to be trained on, of readers' rows.

        Raises:
            ValueError: it is not; the message says what is missing or other.
        """
        if self.manifest["tokenizer"] != tokenizer_digest(processor):
            raise ValueError(f"{self.folder} was made for another tokenizer than the student's. Make it anew.")
        if self.manifest["vocabulary"] != student.config.vocab_size:
            raise ValueError(
                f"{self.folder} was made for a vocabulary of {self.manifest['vocabulary']} tokens, and the student's "
                f"has {student.config.vocab_size}. Make it anew."
            )
        if temperature not in self.manifest["temperatures"]:
            raise ValueError(
                f"{self.folder} was made for the temperatures {self.manifest['temperatures']}, not {temperature}. "
                f"Choose one of these, or make it anew with --temperatures {temperature}."
            )
        missing = [key for key in zip(*(rows[name] for name in KEY), strict=True) if key not in self.index]
        if missing:
            raise ValueError(
                f"{self.folder} lacks {len(missing)} of the {len(rows)} rows to train on, such as "
                f"{dict(zip(KEY, missing[0], strict=True))}. Run run_cache_teacher.py on this data: it adds what lacks."
            )
        self.temperature = temperature
        return self

    def __call__(self, rows: list[dict], samples: list[np.ndarray], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """For a batch: the tokens `(batch, tokens, k)`, their log-probabilities, and the rest `(batch, tokens)`.

        Raises:
            ValueError: a row's audio or labels are not those that the teacher was given.
        """
        k, temperatures = self.manifest["k"], self.manifest["temperatures"]
        found: dict[str, list[torch.Tensor]] = {"ids": [], "logits": [], "rest": []}
        for row, heard, padded in zip(rows, samples, labels, strict=True):
            line = self.table.slice(self.index[_key(row)], 1)
            own = padded[padded != IGNORED].tolist()
            for name, value, now in (
                ("labels", line["labels"][0].as_py(), own),
                ("audio", line["audio"][0].as_py(), audio_digest(heard)),
            ):
                if value != now:
                    raise ValueError(
                        f"The {name} of {_key(row)} changed since {self.folder} was made. Delete that folder and run "
                        "run_cache_teacher.py again."
                    )
            for name, width in (("ids", k), ("logits", k), ("rest", len(temperatures))):
                flat = line[name].combine_chunks().flatten().to_numpy()
                found[name].append(torch.from_numpy(flat.copy()).view(len(own), width))
        padded = {name: torch.nn.utils.rnn.pad_sequence(own, batch_first=True) for name, own in found.items()}
        return {
            f"{PREFIX}ids": padded["ids"].long(),
            f"{PREFIX}logits": padded["logits"],
            f"{PREFIX}rest": padded["rest"][..., temperatures.index(self.temperature)],
        }

    @property
    def in_batches(self) -> "TeacherCache":
        """What adds to each batch what `targets` needs."""
        return self

    def targets(self, inputs: dict[str, torch.Tensor], decoder_input_ids: torch.Tensor) -> TopLogits:
        """The likeliest tokens at each position, out of the batch."""
        return TopLogits(*(inputs[PREFIX + name] for name in ("ids", "logits", "rest")))


def _reopened(folder: Path, temperature: float | None) -> TeacherCache:
    cache = TeacherCache(folder)
    cache.temperature = temperature
    return cache


def _key(row: dict) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.arrow"))


def _table(folder: Path) -> pa.Table:
    parts = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in _parts(folder)]
    return pa.concat_tables([SCHEMA.empty_table(), *parts])


def _index(table: pa.Table) -> dict[tuple[str, ...], int]:
    columns = (table[name].to_pylist() for name in KEY)
    return {key: number for number, key in enumerate(zip(*columns, strict=True))}
