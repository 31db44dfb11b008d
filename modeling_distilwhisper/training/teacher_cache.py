"""What a teacher expects in a whole data set, written once, so that training needs no teacher in memory.

A cache is a folder with `manifest.json` and Arrow files `part-00000.arrow`, a line an utterance: which one it is, its
label tokens, a digest of its samples, and what the teacher expects at each position, in one of two forms. With a number
k: the k likeliest tokens and the mass of all others. Without: the teacher's last hidden state, from which its output
matrix, which the folder then holds as well, makes all of its logits. The files are mapped, not read, so a cache may be
larger than memory.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig, WhisperProcessor, WhisperTokenizer

from ..data.labels import IGNORED, label_ids
from ..runs.files import write_whole, written_whole
from .teacher import Teacher
from .top_logits import TopLogits, shorten

FORMAT = 1
KEY = ("data_set", "split", "language", "id")
MANIFEST, OUTPUT = "manifest.json", "output.safetensors"
PREFIX, DIGEST = "teacher_", "audio_digest"
AGAIN = "Run run_cache_teacher.py on this data: it adds what is missing or changed."
ROW = [*((name, pa.string()) for name in KEY), ("labels", pa.list_(pa.int32())), ("audio", pa.binary(16))]
# At each position, flat: k numbers, k numbers, one a temperature; or the hidden state.
TOP = [("ids", pa.list_(pa.int32())), ("logits", pa.list_(pa.float32())), ("rest", pa.list_(pa.float32()))]
WHOLE = [("hidden", pa.list_(pa.float16()))]


def tokenizer_digest(processor: WhisperProcessor) -> str:
    """The same for two tokenizers that give every token the same number."""
    vocabulary = json.dumps(sorted(processor.tokenizer.get_vocab().items()), ensure_ascii=True)
    return hashlib.sha256(vocabulary.encode()).hexdigest()


class CacheWriter:
    """Writes a cache, or goes on with one that was not finished.

    Args:
        folder: made if it is not there.
        teacher: that was made to fit the student.
        k: how many tokens of each position are kept; `None`: hidden states.
        temperatures: that it may be learned from at; hidden states serve any.
        about: what else makes another cache, such as the teacher's name and the tokenizer.
        data: the corpora, by name; those that were there before stay noted.

    Raises:
        ValueError: the folder holds a cache of another kind, which the message tells apart, or a damaged file.
        RuntimeError: another process is writing into it.
    """

    def __init__(
        self,
        folder: str | Path,
        teacher: Teacher,
        *,
        k: int | None,
        temperatures: list[float],
        about: dict,
        data: list[str],
    ):
        self.folder, self.teacher, self.k, self.temperatures = Path(folder), teacher, k, temperatures
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            self.lock.acquire()  # for as long as the process lives
        except Timeout:
            raise RuntimeError(
                f"Another process is writing into {folder}. Wait for it, or use another folder."
            ) from None
        kind = {"format": FORMAT, **about, "k": k, "temperatures": temperatures if k else None}
        path = self.folder / MANIFEST
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if before is not None:
            data = list(dict.fromkeys([*before.pop("data", []), *data]))
            names = [name for name in {**before, **kind} if before.get(name) != kind.get(name)]
            differ = "; ".join(f"{name} {before.get(name)!r}, now {kind.get(name)!r}" for name in names)
            if differ:
                raise ValueError(f"{folder} holds a cache of another kind: {differ}. Use another folder.")
        elif k is None:
            with written_whole(self.folder / OUTPUT) as temporary:
                save_file(teacher.output(), temporary)
        write_whole(path, json.dumps(kind | {"data": data}, indent=2) + "\n")
        table = _table(self.folder, k)
        labels = table["labels"].to_pylist()
        self.done = {key: labels[number] for key, number in _index(table).items()}

    def lacks(self, row: dict, tokenizer: WhisperTokenizer) -> bool:
        """Whether the row is not there, or with another text."""
        return self.done.get(_key(row)) != label_ids(tokenizer, row["text"], row["language"])

    def megabytes(self) -> float:
        return sum(path.stat().st_size for path in self.folder.iterdir()) / 1e6

    def lines(self, rows: list[dict], batch: dict[str, torch.Tensor], decoder_input_ids: torch.Tensor) -> list[dict]:
        """What the teacher expects in a batch, as lines of the cache.

        Args:
            rows: of a reader.
            batch: of these rows, by a `SpeechCollator` whose `extra` is `WithDigests(teacher.in_batches)`.
            decoder_input_ids: `(batch, tokens)`.
        """
        expected = (self.teacher.hidden if self.k is None else self.teacher.targets)(batch, decoder_input_ids)
        digests = [bytes(digest.tolist()) for digest in batch[DIGEST]]
        lines = []
        for row, digest, labels, own in zip(rows, digests, batch["labels"], expected, strict=True):
            real = labels != IGNORED
            if self.k is None:
                values = {"hidden": own[real].to(torch.float16)}
            else:
                ids, top, rest = shorten(own[real], self.k, self.temperatures)
                values = {"ids": ids.int(), "logits": top, "rest": rest}
            line = {name: row[name] for name in KEY} | {"labels": labels[real].tolist(), "audio": digest}
            lines.append(line | {name: value.flatten().cpu().numpy() for name, value in values.items()})
        return lines

    def write(self, lines: list[dict]) -> None:
        """Adds a part, aside first and then renamed: an interruption leaves whole parts only."""
        schema = _schema(self.k)
        numbers = [int(path.stem.removeprefix("part-")) for path in _parts(self.folder)]
        path = self.folder / f"part-{max(numbers, default=-1) + 1:05d}.arrow"
        with (
            written_whole(path) as temporary,
            pa.OSFile(str(temporary), "wb") as file,
            pa.ipc.new_file(file, schema) as writer,
        ):
            writer.write_table(pa.Table.from_pylist(lines, schema=schema))
        self.done |= {_key(line): line["labels"] for line in lines}


@dataclass
class WithDigests:
    """Adds a digest of each row's samples to batches, `(batch, 16)`, besides what else is added."""

    extra: Callable[[list[dict], list[np.ndarray], torch.Tensor], dict[str, torch.Tensor]] | None

    def __call__(self, rows: list[dict], samples: list[np.ndarray], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        added = {} if self.extra is None else self.extra(rows, samples, labels)
        digests = [list(audio_digest(heard)) for heard in samples]
        return added | {DIGEST: torch.tensor(digests, dtype=torch.uint8)}


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
        self.k: int | None = self.manifest["k"]
        self.table = _table(self.folder, self.k)
        self.index = _index(self.table)
        self.temperature: float | None = None
        self.output: dict[str, torch.Tensor] = {}

    def __reduce__(self):
        # A data loader's worker maps the files itself.
        return _reopened, (self.folder, self.temperature)

    def prepare(
        self, rows, ours: WhisperConfig, processor: WhisperProcessor, temperature: float, device: torch.device | str
    ) -> "TeacherCache":
        """Prepares to teach at a temperature, having made sure that the cache is of these rows and this vocabulary.

        Args:
            rows: the data set to be trained on, of readers' rows.
            ours: the student's configuration.

        Raises:
            ValueError: it is not; the message says what is missing or other.
        """
        columns = set(getattr(rows, "column_names", None) or ())
        if not columns.issuperset(KEY):
            raise ValueError(
                f"A teacher's cache finds rows by {', '.join(KEY)}. Expected a data set with these columns."
            )
        if self.manifest["tokenizer"] != tokenizer_digest(processor):
            raise ValueError(f"{self.folder} was made for another tokenizer than the student's. Make it anew.")
        if self.manifest["vocabulary"] != ours.vocab_size:
            raise ValueError(
                f"{self.folder} was made for a vocabulary of {self.manifest['vocabulary']} tokens, and the student's "
                f"has {ours.vocab_size}. Make it anew."
            )
        if self.k and temperature not in self.manifest["temperatures"]:
            raise ValueError(
                f"{self.folder} was made for the temperatures {self.manifest['temperatures']}, not {temperature}. "
                f"Choose one of these, or make it anew with --temperatures {temperature} or, for any, with --k 0."
            )
        missing = [key for key in zip(*(rows[name] for name in KEY), strict=True) if key not in self.index]
        if missing:
            raise ValueError(
                f"{self.folder} lacks {len(missing)} of the {len(rows)} rows to train on, such as "
                f"{dict(zip(KEY, missing[0], strict=True))}. {AGAIN}"
            )
        labels = self.table["labels"].to_pylist()
        for key, text in zip(zip(*(rows[name] for name in KEY), strict=True), rows["text"], strict=True):
            if labels[self.index[key]] != label_ids(processor.tokenizer, text, key[2]):
                raise ValueError(f"The text of {key} changed since {self.folder} was made. {AGAIN}")
        self.temperature = temperature
        if self.k is None:
            self.output = load_file(self.folder / OUTPUT, device=str(device))
        return self

    def __call__(self, rows: list[dict], samples: list[np.ndarray], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """For a batch: ids and logits `(batch, tokens, k)` and rests `(batch, tokens)`; or states `(batch, tokens, d)`.

        Raises:
            ValueError: a row's audio or labels are not those that the teacher was given.
        """
        found: dict[str, list[torch.Tensor]] = {name: [] for name, _ in (TOP if self.k else WHOLE)}
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
            for name, values in found.items():
                flat = line[name].combine_chunks().flatten().to_numpy()
                values.append(torch.from_numpy(flat.copy()).view(len(own), -1))
        padded = {name: torch.nn.utils.rnn.pad_sequence(own, batch_first=True) for name, own in found.items()}
        if self.k:
            padded["ids"] = padded["ids"].long()
            padded["rest"] = padded["rest"][..., self.manifest["temperatures"].index(self.temperature)]
        return {PREFIX + name: values for name, values in padded.items()}

    @property
    def in_batches(self) -> "TeacherCache":
        """What adds to each batch what `targets` needs."""
        return self

    def targets(self, inputs: dict[str, torch.Tensor], decoder_input_ids: torch.Tensor) -> torch.Tensor | TopLogits:
        """Logits `(batch, tokens, vocabulary)`, or the likeliest tokens of each position, out of the batch."""
        if self.k:
            return TopLogits(*(inputs[PREFIX + name] for name, _ in TOP))
        weight, unknown = self.output["weight"], self.output["unknown"]
        logits = inputs[f"{PREFIX}hidden"].to(weight.dtype) @ weight.T
        return logits.masked_fill(unknown, -torch.inf) if unknown.any() else logits


def _reopened(folder: Path, temperature: float | None) -> TeacherCache:
    cache = TeacherCache(folder)
    cache.temperature = temperature
    return cache


def _key(row: dict) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.arrow"))


def _schema(k: int | None) -> pa.Schema:
    return pa.schema([*ROW, *(TOP if k else WHOLE)])


def _table(folder: Path, k: int | None) -> pa.Table:
    parts = [_schema(k).empty_table()]
    for path in _parts(folder):
        try:
            parts.append(pa.ipc.open_file(pa.memory_map(str(path))).read_all())
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path} is damaged ({error}). Delete that file. {AGAIN}") from None
    return pa.concat_tables(parts)


def _index(table: pa.Table) -> dict[tuple[str, ...], int]:
    columns = (table[name].to_pylist() for name in KEY)
    return {key: number for number, key in enumerate(zip(*columns, strict=True))}
