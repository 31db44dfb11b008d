"""Writes a teacher's predictions for a data set to a cache, once, so that training needs no teacher in memory."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save_file
from transformers import WhisperTokenizer

from ..data.labels import IGNORED, label_ids
from ..runs.files import atomic_path, write_atomically
from ..runs.lock import hold
from ..runs.numbers import ABOVE_0, COUNT
from ..runs.processes import number_of_processes, on_main, process_index
from .cache_files import (
    FORMAT,
    KEY,
    MANIFEST,
    OUTPUT,
    audio_digest,
    index_of,
    key_of,
    part_paths,
    read_manifest,
    read_table,
    schema_of,
)
from .teacher import Teacher
from .top_logits import top_logits

DIGEST = "audio_digest"


class CacheWriter:
    """Writes a cache, or continues one that is not finished.

    Under `torchrun` all processes make one, of the same folder. Each writes its own files into it.

    Args:
        folder: made if it does not exist.
        teacher: prepared for the student.
        k: number of tokens kept per position; `None`: hidden states.
        temperatures: at which a training may distil from it; hidden states allow any.
        metadata: other properties that distinguish this cache, such as the teacher's name and the tokenizer.
        data: names of the corpora. They are added to those that the manifest already lists.

    Raises:
        ValueError: the folder holds another kind of cache (the message lists the differences), or a damaged file; or k
            or a temperature is out of its range.
        OSError: another process is writing into it.
    """

    def __init__(
        self,
        folder: str | Path,
        teacher: Teacher,
        *,
        k: int | None,
        temperatures: list[float],
        metadata: dict,
        data: list[str],
    ):
        if (k is not None and k not in COUNT) or any(temperature not in ABOVE_0 for temperature in temperatures):
            raise ValueError(
                f"A cache needs k of 1 or more, or none, and finite temperatures above 0; got k {k!r} and "
                f"{temperatures!r}."
            )
        if k is not None and not temperatures:
            raise ValueError("A cache with k needs at least one temperature, got none.")
        self.folder, self.teacher, self.k, self.temperatures = Path(folder), teacher, k, temperatures
        manifest = {"format": FORMAT, **metadata, "k": k, "temperatures": temperatures if k else None}
        # Numbers of files: after those that are there, every n-th for each of n processes.
        self._next = on_main(self._open, manifest, data) + process_index()
        table = read_table(self.folder, k)
        labels = table["labels"].to_pylist()
        self.done = {key: labels[number] for key, number in index_of(table).items()}

    def _open(self, manifest: dict, data: list[str]) -> int:
        """Makes the folder, or checks that it holds a cache of this kind; returns the number of the next file."""
        hold(self.folder)
        path = self.folder / MANIFEST
        before = read_manifest(path) if path.is_file() else None
        if before is not None:
            data = list(dict.fromkeys([*before.pop("data", []), *data]))
            names = [name for name in {**before, **manifest} if before.get(name) != manifest.get(name)]
            differ = "; ".join(f"{name} {before.get(name)!r}, now {manifest.get(name)!r}" for name in names)
            if differ:
                raise ValueError(f"{self.folder} holds a cache of another kind: {differ}. Use another folder.")
        elif self.k is None:
            with atomic_path(self.folder / OUTPUT) as temporary:
                save_file(self.teacher.output(), temporary)
        write_atomically(path, json.dumps(manifest | {"data": data}, indent=2) + "\n")
        return max((int(path.stem.removeprefix("part-")) for path in part_paths(self.folder)), default=-1) + 1

    def lacks(self, row: dict, tokenizer: WhisperTokenizer) -> bool:
        """Whether a row is missing, or is there with another text."""
        return self.done.get(key_of(row)) != label_ids(tokenizer, row["text"], row["language"])

    def megabytes(self) -> float:
        """The size of the folder."""
        return sum(path.stat().st_size for path in self.folder.iterdir()) / 1e6

    def lines(self, rows: list[dict], batch: dict[str, torch.Tensor], decoder_input_ids: torch.Tensor) -> list[dict]:
        """The teacher's predictions for a batch, as lines of the cache.

        Args:
            rows: of a reader.
            batch: of these rows, by a `SpeechCollator` whose `extra` is `WithDigests(teacher.batch_extra)`.
            decoder_input_ids: `(batch, tokens)`.

        Raises:
            ValueError: the predictions of a row are not finite. A training would need them, so none is left out.
        """
        expect = self.teacher.hidden if self.k is None else self.teacher.targets
        digests = [bytes(digest.tolist()) for digest in batch[DIGEST]]
        lines = []
        for row, digest, labels, expected in zip(
            rows, digests, batch["labels"], expect(batch, decoder_input_ids), strict=True
        ):
            real = labels != IGNORED
            if self.k is None:
                values = {"hidden": expected[real].to(torch.float16)}
            else:
                ids, top, rest = top_logits(expected[real], self.k, self.temperatures)
                values = {"ids": ids.int(), "logits": top, "rest": rest}
            # A logit may be -inf: that of a token which the teacher lacks.
            limit = torch.inf if self.k is None else -torch.inf
            if any((value.isnan() | (value == torch.inf) | (value == -limit)).any() for value in values.values()):
                raise ValueError(
                    f"The teacher's predictions for {key_of(row)} are not finite. Leave that row out if its audio is "
                    "damaged. If it is not, choose --teacher_precision float32 or, without hidden states, --k 64."
                )
            line = {name: row[name] for name in KEY} | {"labels": labels[real].tolist(), "audio": digest}
            lines.append(line | {name: value.flatten().cpu().numpy() for name, value in values.items()})
        return lines

    def write(self, lines: list[dict]) -> None:
        """Adds lines as a new file, which is complete or absent: an interruption loses only this file."""
        schema = schema_of(self.k)
        path = self.folder / f"part-{self._next:05d}.arrow"
        self._next += number_of_processes()
        with (
            atomic_path(path) as temporary,
            pa.OSFile(str(temporary), "wb") as file,
            pa.ipc.new_file(file, schema) as writer,
        ):
            writer.write_table(pa.Table.from_pylist(lines, schema=schema))
        self.done |= {key_of(line): line["labels"] for line in lines}


@dataclass
class WithDigests:
    """Adds to batches a digest of each row's samples, `(batch, 16)`, and the tensors of `extra`."""

    extra: Callable[[list[dict], list[np.ndarray], torch.Tensor], dict[str, torch.Tensor]] | None

    def __call__(self, rows: list[dict], samples: list[np.ndarray], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        added = {} if self.extra is None else self.extra(rows, samples, labels)
        digests = [list(audio_digest(clip)) for clip in samples]
        return added | {DIGEST: torch.tensor(digests, dtype=torch.uint8)}
