"""Finds recordings in files and folders, and decides the paths of their transcripts."""

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from ..data.ffmpeg import has_ffmpeg
from ..data.mono import SAMPLING_RATE
from ..runs.language_codes import as_own
from ..runs.records import RecordFile
from ..runs.run_folder import SETTINGS
from .subtitles import FORMATS

# Without .raw: a file of raw samples has no sampling rate.
SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"} | {".oga", ".opus", ".aif"}
# Of recordings that libsndfile cannot read, and ffmpeg can.
FOR_FFMPEG = {
    *(".3g2", ".3ga", ".3gp", ".aac", ".ac3", ".aifc", ".amr", ".ape", ".asf", ".avi", ".awb", ".dsf", ".dss", ".dts"),
    *(".eac3", ".f4a", ".f4v", ".flv", ".gsm", ".m2ts", ".m4a", ".m4b", ".m4r", ".m4v", ".mka", ".mkv", ".mov", ".mp2"),
    *(".mp4", ".mpa", ".mpc", ".mpeg", ".mpg", ".mts", ".ogm", ".ogv", ".oma", ".qcp", ".qt", ".ra", ".rm", ".rmvb"),
    *(".spx", ".tak", ".ts", ".tta", ".vob", ".weba", ".webm", ".wma", ".wmv", ".wv"),
}
CLAIM = {"transcripts": str, "recording": str}  # a record of `OutputClaims`
# Seconds of audio in a batch, with padding. Their features need a gigabyte, and an interruption loses one batch.
MAX_BATCH_SECONDS = 1800


@dataclass
class Recording:
    """A recording to transcribe.

    Attributes:
        path: file of the recording.
        target: path of its transcripts without the suffix.
        language: a code, or `None` to detect it.
        missing: suffixes of the transcripts to write. Those that exist may have been corrected by hand.
        size: of the file, in bytes.
    """

    path: Path
    target: Path
    language: str | None
    missing: list[str] = field(default_factory=list)
    size: int = 0


def find_recordings(given: list[Path], output_dir: Path, language: str, known: set[str]) -> list[Recording]:
    """Finds every recording once, and the path of its transcripts.

    Transcripts have the same paths in `output_dir` as recordings in the given folder. The folder's name is put before
    them if several folders are given, or if two files have the same name.

    Args:
        given: files, and folders, which are searched with all folders in them.
        output_dir: folder of the transcripts.
        language: a code, "folder" (the name of the folder that a recording is in), "detect" or "detect-windows".
        known: codes that the model knows, also new names such as de-CH.

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
        code = {"detect": None, "detect-windows": None, "folder": path.absolute().parent.name}.get(language, language)
        if code is not None and code not in known:
            code = str(as_own(code, known))  # de_ch is de-CH
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
    suffixes = SUFFIXES | (FOR_FFMPEG if has_ffmpeg() else set())
    relative: dict[Path, Path] = {}
    for path in given:
        if path.is_dir():
            front = path.resolve().name if several else ""
            files = [file for file in _files_in(path) if file.suffix.lower() in suffixes and file.is_file()]
            converted = {file.with_suffix("") for file in files if file.suffix.lower() in SUFFIXES}
            for file in files:
                if file.suffix.lower() in SUFFIXES or file.with_suffix("") not in converted:
                    relative[file] = Path(front, file.relative_to(path))
        elif not path.is_file():
            state = "is a pipe or a device" if path.exists() else "does not exist"
            raise ValueError(f"{path} {state}. Expected a recording, or a folder of recordings.")
        elif path.suffix.lower() not in FOR_FFMPEG - suffixes:
            relative[path] = Path(path.name)
    counts = Counter(relative.values())
    return {
        path: name if counts[name] == 1 else Path(path.resolve().parent.name, name) for path, name in relative.items()
    }


def _files_in(folder: Path) -> list[Path]:
    """All that is in a folder and its subfolders and is no folder. Links to folders count as files.

    Raises:
        OSError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    files = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        files += [Path(parent, name) for name in (*names, *links)]
    return sorted(files)


class OutputClaims:
    """The recording of each transcript in an output folder, over all runs.

    Two runs may get two/a/talk.wav and two/b/talk.wav, whose transcripts have the same path. Without claims the second
    run would take the first recording's transcripts for those of the second. A claim without transcripts does not
    count: its recording could not be read.
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
        if owner != name and any(Path(f"{recording.target}.{suffix}").exists() for suffix in FORMATS):
            raise ValueError(
                f"{recording.target} are the transcripts of {owner}. Use another --output_dir, or give the folder "
                f"above both; if the recording was only moved, delete {self.file.path}."
            )

    def claim(self, recordings: list[Recording]) -> None:
        """Records which transcripts will belong to these recordings. Call it before any of them is written."""
        claims = dict(map(self._names, recordings))
        new = {transcripts: name for transcripts, name in claims.items() if self.owners.get(transcripts) != name}
        self.owners |= new
        if new:
            self.file.add([{"transcripts": transcripts, "recording": name} for transcripts, name in new.items()])

    def _names(self, recording: Recording) -> tuple[str, str]:
        """The path of the transcripts and the path of the recording, in a form that JSON can hold."""
        transcripts, path = (
            os.fsencode(path).decode("utf-8", "backslashreplace")
            for path in (recording.target.relative_to(self.output_dir), recording.path.resolve())
        )
        return transcripts, path


def find_unsupported(given: list[Path], recordings: list[Recording]) -> dict[Path, str]:
    """Recordings that need ffmpeg where it is not installed, and what to do. A file is left out if a converted one is
    next to it.
    """
    if has_ffmpeg():
        return {}
    converted = {recording.path.with_suffix("") for recording in recordings}
    files = (file for path in given for file in (_files_in(path) if path.is_dir() else [path]))
    return {
        path: f"{path.suffix} cannot be read without the ffmpeg program, which is not installed. Install it, or "
        f"convert the file elsewhere: ffmpeg -i {_quoted(path.name)} {_quoted(path.stem + '.flac')}"
        for path in files
        if path.suffix.lower() in FOR_FFMPEG and path.with_suffix("") not in converted and path.is_file()
    }


def _quoted(name: str) -> str:
    """A file name as a shell and ffmpeg read it: neither an option nor a protocol."""
    return shlex.quote(f"file:{name}" if name.startswith("-") or ":" in name else name)


def count_unused(given: list[Path], used: Iterable[Path], output_dir: Path) -> Counter[str]:
    """Number of files in the given folders that are not used, by suffix. Those in the output folder do not count.

    Args:
        given: files, and folders.
        used: recordings, and files that are named otherwise.
        output_dir: folder of the transcripts.
    """
    used, output_dir = set(used), output_dir.resolve()
    unused: Counter[str] = Counter()
    for file in {file for path in given if path.is_dir() for file in _files_in(path)}:
        if file not in used and not file.resolve().is_relative_to(output_dir):
            kind = file.suffix.lower() or "without suffix"
            if not file.is_file():
                kind = "linked folder" if file.is_dir() else "pipe, device or broken link"
            unused[kind] += 1
    return unused


def batches(
    decoded: Iterable[tuple[Recording, np.ndarray]], size: int, window: int
) -> Iterator[list[tuple[Recording, np.ndarray]]]:
    """Divides recordings into batches, as they come. One that is longer than Whisper's window is a batch alone.

    Args:
        decoded: recordings with their samples `(samples,)` at 16 kHz.
        size: at most as many in a batch, and at most `MAX_BATCH_SECONDS` of padded audio.
        window: of Whisper, in samples.
    """
    size = min(size, int(MAX_BATCH_SECONDS * SAMPLING_RATE // window))
    batch = []
    for recording, samples in decoded:
        if len(samples) > window:
            yield [(recording, samples)]
            continue
        batch.append((recording, samples))
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch
