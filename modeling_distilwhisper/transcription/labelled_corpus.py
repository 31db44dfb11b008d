"""The folder that labels are written to: a corpus that a training reads, and all labels with their scores beside it.

    labels.jsonl             every label so far, a line for each recording
    train/audio/             every utterance, as FLAC
    train/metadata.jsonl     the utterances that the filters keep, with their labels: what `read_folder` reads

Names of recordings come from outside, and no file is named by them.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ..data.mono import SAMPLING_RATE
from ..runs.files import atomic_path, write_atomically
from ..runs.numbers import AT_LEAST_0, LOSS_WEIGHT
from ..runs.records import RecordFile
from .pseudo_labels import Label
from .windows import Window

SPLIT, LISTING = "train", "metadata.jsonl"
ABOUT = ("gender", "age", "accent", "speaker")  # columns of a corpus that its labelled rows keep
# A record of `labels.jsonl`: what `LabelledCorpus.add` writes.
RECORD = {
    "id": str,
    "seconds": AT_LEAST_0,
    "size": int | None,
    "about": {str: str},
    "utterances": [
        {
            "start": AT_LEAST_0,
            "end": AT_LEAST_0,
            "seconds": AT_LEAST_0,
            "text": str,
            "language": str,
            "doubt": str | None,
            "scores": {str: float | None},
        }
    ],
}
Row = dict[str, Any]


class LabelledCorpus:
    """The files of a folder of labels.

    Args:
        folder: made when something is written.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from modeling_distilwhisper.data.folder import read_folder
        >>> from modeling_distilwhisper.transcription.pseudo_labels import Label
        >>> from modeling_distilwhisper.transcription.windows import Window
        >>> label = Label("bos días", "gl", {"mean_logprob": -0.2})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     corpus = LabelledCorpus(folder)
        ...     corpus.add("talk", np.zeros(32000, np.float32), [Window(((0, 16000),))], [label])
        ...     corpus.write_listing(corpus.rows(["talk"]), weight=0.5)
        ...     rows = read_folder(folder, "train", "gl")
        >>> rows["text"][:], rows["loss_weight"][:]
        (['bos días'], [0.5])
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.file = RecordFile(self.folder / "labels.jsonl")
        self._own = self.file.of_this_process()

    def audio_of(self, recording: str, number: int) -> str:
        """The file of an utterance, relative to the folder of the split."""
        digest = hashlib.sha256(f"{number} {recording}".encode("utf-8", "backslashreplace")).hexdigest()
        return f"audio/{digest[:2]}/{digest[:32]}.flac"

    def add(
        self,
        recording: str,
        samples: np.ndarray,
        windows: Sequence[Window],
        labels: Sequence[Label],
        *,
        size: int | None = None,
        about: dict[str, str] | None = None,
    ) -> None:
        """Writes the utterances of a recording, and then its labels: none is there without its audio.

        Args:
            recording: its name.
            samples: `(samples,)` at 16 kHz.
            windows: its utterances; none if it holds no speech.
            labels: one for each.
            size: of its file, in bytes, by which a changed file is noticed.
            about: the speaker, as far as it is known (`ABOUT`).
        """
        utterances = []
        for number, (window, label) in enumerate(zip(windows, labels, strict=True)):
            path = self.folder / SPLIT / self.audio_of(recording, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                soundfile.write(temporary, window.cut(samples), SAMPLING_RATE, format="FLAC", subtype="PCM_16")
            start, end = window.bounds
            place = {"start": round(start, 3), "end": round(end, 3), "seconds": window.length / SAMPLING_RATE}
            utterances.append(place | asdict(label))
        record = {"id": recording, "seconds": len(samples) / SAMPLING_RATE, "size": size, "about": about or {}}
        self._own.add([record | {"utterances": utterances}])

    def done(self, sizes: dict[str, int | None]) -> set[str]:
        """Which recordings have labels and audio already. Records of files that have changed since are deleted.

        Args:
            sizes: of the file of each recording, by its name.
        """
        self.file.hold()
        records = self.file.read(RECORD)
        outdated = {record["id"] for record in records if sizes.get(record["id"], record["size"]) != record["size"]}
        outdated |= {record["id"] for record in records if not all(map(Path.is_file, self._audio(record)))}
        if outdated or self.file.is_in_parts():
            self.file.keep([record for record in records if record["id"] not in outdated])
        return {record["id"] for record in records} - outdated

    def rows(self, recordings: Sequence[str]) -> list[Row]:
        """A row for each utterance of some recordings, in their order, from the labels that are there.

        Returns:
            `id`, `recording`, `file_name`, `text`, `language`, `seconds`, `start`, `end`, `doubt`, `scores`, `about`.
        """
        records = {record["id"]: record for record in self.file.read(RECORD)}
        return [
            {name: utterance[name] for name in RECORD["utterances"][0]}  # type: ignore[index]
            | {"recording": name, "file_name": self.audio_of(name, number), "about": records[name]["about"]}
            | {"id": f"{name}#{number}" if len(records[name]["utterances"]) > 1 else name}
            for name in recordings
            if name in records
            for number, utterance in enumerate(records[name]["utterances"])
        ]

    def silent(self, recordings: Iterable[str]) -> list[str]:
        """The recordings without speech."""
        records = {record["id"]: record for record in self.file.read(RECORD)}
        return [name for name in recordings if name in records and not records[name]["utterances"]]

    def put_in_order(self, recordings: Sequence[str]) -> None:
        """Puts the labels of all processes into one file, in the order in which one process writes them."""
        places = {name: place for place, name in enumerate(recordings)}
        records = self.file.read(RECORD)
        in_order = sorted(records, key=lambda record: places.get(record["id"], len(places)))
        if in_order != records or self.file.is_in_parts():
            self.file.keep(in_order)

    def write_listing(self, rows: Iterable[Row], weight: float) -> None:
        """Writes the table that a training reads. It replaces the one before.

        Args:
            rows: of `rows`, those that are kept.
            weight: of each in the loss (`loss_weight`).
        """
        lines = [
            {
                "file_name": row["file_name"],
                "transcription": row["text"],
                "language": row["language"],
                "id": row["id"],
                "loss_weight": LOSS_WEIGHT.check("weight", weight),
                **{name: text for name, text in row["about"].items() if name in ABOUT},
                **{name: row[name] for name in ("seconds", "recording", "start", "end")},
                **row["scores"],
            }
            for row in rows
        ]
        path = self.folder / SPLIT / LISTING
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))

    def _audio(self, record: Row) -> list[Path]:
        return [
            self.folder / SPLIT / self.audio_of(record["id"], number) for number in range(len(record["utterances"]))
        ]
