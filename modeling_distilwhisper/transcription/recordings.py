"""Finds recordings in files and folders, and decides the paths of their transcripts."""

import os
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from ..runs.records import RecordFile
from ..runs.run_folder import SETTINGS

# Without .raw: a file of raw samples has no sampling rate.
SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"} | {".oga", ".opus", ".aif"}
# Suffixes of recordings that libsndfile cannot read.
UNSUPPORTED = {".m4a", ".mp4", ".aac", ".wma", ".webm", ".mov", ".mkv"}
CLAIM = {"transcripts": str, "recording": str}  # a record of `OutputClaims`
# Seconds of audio in a batch, with padding. Their features need a gigabyte, and an interruption loses one batch.
MAX_BATCH_SECONDS = 1800.0


@dataclass
class Recording:
    """A recording to transcribe.

    Attributes:
        path: file of the recording.
        target: path of its transcripts without the suffix.
        language: a code, or `None` to detect it.
        seconds: duration.
        missing: suffixes of the transcripts to write. Those that exist may have been corrected by hand.
    """

    path: Path
    target: Path
    language: str | None
    seconds: float = 0.0
    missing: list[str] = field(default_factory=list)


def find_recordings(given: list[Path], output_dir: Path, language: str, known: set[str]) -> list[Recording]:
    """Finds every recording once, and the path of its transcripts.

    Transcripts have the same paths in `output_dir` as recordings in the given folder. The folder's name is put before
    them if several folders are given, or if two files have the same name.

    Args:
        given: files, and folders, which are searched with all folders in them.
        output_dir: folder of the transcripts.
        language: a code, "folder" (the name of the folder that a recording is in), or "detect".
        known: codes that the model knows.

    Raises:
        ValueError: a path does not exist, the model does not know a language, or two recordings have the same path
            of transcripts.
    """
    relative = _relative_paths(given)
    stems = Counter(path.with_suffix("") for path in relative.values())
    stems[Path(SETTINGS).with_suffix("")] += 1  # the output folder has a file of this name
    recordings = []
    for path, relative_path in relative.items():
        # talk.srt; or, if there are a talk.wav and a talk.mp3, talk.wav.srt and talk.mp3.srt.
        stem = relative_path.with_suffix("")
        target = output_dir / (stem if stems[stem] == 1 else relative_path)
        code = {"detect": None, "folder": path.absolute().parent.name}.get(language, language)
        if code is not None and code not in known:
            raise ValueError(
                f"{path}: {code!r} is no language of this Whisper. Expected one of: {', '.join(sorted(known))}."
            )
        recordings.append(Recording(path, target, code))
    by_target: dict[Path, Path] = {}
    for recording in recordings:
        other = by_target.setdefault(recording.target, recording.path)
        if other != recording.path:
            raise ValueError(
                f"{other} and {recording.path} would both have their transcripts at {recording.target}. Give the "
                "folder above both, or transcribe them separately, each with another --output_dir."
            )
    return recordings


def _relative_paths(given: list[Path]) -> dict[Path, Path]:
    """The relative path of each recording in the output folder, with the recording's suffix."""
    several = sum(path.is_dir() for path in given) > 1
    relative: dict[Path, Path] = {}
    for path in given:
        if path.is_dir():
            front = path.resolve().name if several else ""
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            relative |= {file: Path(front, file.relative_to(path)) for file in files}
        elif not path.is_file():
            raise ValueError(f"{path} does not exist. Expected a recording, or a folder of recordings.")
        elif path.suffix.lower() not in UNSUPPORTED:
            relative[path] = Path(path.name)
    counts = Counter(relative.values())
    return {
        path: name if counts[name] == 1 else Path(path.resolve().parent.name, name) for path, name in relative.items()
    }


class OutputClaims:
    """The recording of each transcript in an output folder, over all runs.

    Two runs may get two/a/talk.wav and two/b/talk.wav, whose transcripts have the same path. Without claims the second
    run would take the first recording's transcripts for those of the second.
    """

    def __init__(self, output_dir: Path):
        self.output_dir = output_dir
        self.file = RecordFile(output_dir / "recordings.jsonl")
        self.owners = {record["transcripts"]: record["recording"] for record in self.file.read(CLAIM)}

    def check(self, recording: Recording) -> None:
        """Refuses a recording if another recording has claimed the path of its transcripts.

        Raises:
            ValueError: the transcripts at this path belong to another recording.
        """
        transcripts, name = self._names(recording)
        owner = self.owners.get(transcripts, name)
        if owner != name:
            raise ValueError(
                f"{recording.target} are the transcripts of {owner}. Use another --output_dir, or give the folder "
                f"above both; if the recording was only moved, delete {self.file.path}."
            )

    def claim(self, recording: Recording) -> None:
        """Records that these transcripts belong to this recording. Call it before the transcripts are written."""
        transcripts, name = self._names(recording)
        if self.owners.get(transcripts) != name:
            self.owners[transcripts] = name
            self.file.add([{"transcripts": transcripts, "recording": name}])

    def _names(self, recording: Recording) -> tuple[str, str]:
        """The path of the transcripts and the path of the recording, in a form that JSON can hold."""
        transcripts, path = (
            os.fsencode(path).decode("utf-8", "backslashreplace")
            for path in (recording.target.relative_to(self.output_dir), recording.path.resolve())
        )
        return transcripts, path


def find_unsupported(given: list[Path], recordings: list[Recording]) -> dict[Path, str]:
    """Recordings that cannot be read, and what to do. A file is left out if a converted one is next to it."""
    converted = {recording.path.with_suffix("") for recording in recordings}
    files = (file for path in given for file in (sorted(path.rglob("*")) if path.is_dir() else [path]))
    return {
        path: f"{path.suffix} cannot be read here. Convert it: ffmpeg -i {shlex.quote(path.name)} "
        f"{shlex.quote(path.stem + '.flac')}"
        for path in files
        if path.suffix.lower() in UNSUPPORTED and path.with_suffix("") not in converted and path.is_file()
    }


def batches(recordings: list[Recording], size: int) -> Iterator[list[Recording]]:
    """Divides recordings into batches, the longest first.

    A batch has `size` recordings, or fewer, so that padded to its longest it holds at most `MAX_BATCH_SECONDS`.
    """
    order = sorted(recordings, key=lambda recording: -recording.seconds)
    start = 0
    while start < len(order):
        fitting = int(MAX_BATCH_SECONDS // max(order[start].seconds, 1.0))
        batch = order[start : start + max(1, min(size, fitting))]
        yield batch
        start += len(batch)
