"""Which recordings there are in files and folders, and where their transcripts go."""

import os
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from ..runs.records import RecordFile
from ..runs.run_folder import SETTINGS

# Raw samples do not say what they are.
ENDINGS = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"} | {".oga", ".opus", ".aif"}
# Of recordings that libsndfile does not read.
FOREIGN = {".m4a", ".mp4", ".aac", ".wma", ".webm", ".mov", ".mkv"}
PADDED = 1800.0  # seconds of a batch, padding and all: a gigabyte while features are made; what an interruption loses


@dataclass
class Recording:
    """
    Attributes:
        path: of the recording.
        target: of its transcripts, but for the ending.
        language: a code, or `None` to detect it.
        seconds: its length.
        missing: endings of the transcripts that are to be written; those that are there may have been corrected.
    """

    path: Path
    target: Path
    language: str | None
    seconds: float = 0.0
    missing: list[str] = field(default_factory=list)


def find_recordings(given: list[Path], output_dir: Path, language: str, known: set[str]) -> list[Recording]:
    """Every recording once, with its transcripts' place: under the output folder as it lies under its own.

    The folder's name stands in front where several folders are given, and where two files have one name.

    Args:
        given: files, and folders, which are searched to their depth.
        output_dir: of the transcripts.
        language: a code, 'folder' (each recording's is the name of the folder that it is in), or 'detect'.
        known: codes that the model knows.

    Raises:
        ValueError: a path that is not there, a language that is not known, or two recordings for one place.
    """
    several = sum(one.is_dir() for one in given) > 1
    found: dict[Path, Path] = {}
    for one in given:
        if one.is_dir():
            above = one.resolve().name if several else ""
            inside = sorted(path for path in one.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
            found |= {path: Path(above, path.relative_to(one)) for path in inside}
        elif one.is_file():
            found |= {one: Path(one.name)} if one.suffix.lower() not in FOREIGN else {}
        else:
            raise ValueError(f"{one} is not there.")
    times = Counter(found.values())
    found = {
        path: place if times[place] == 1 else Path(path.resolve().parent.name, place) for path, place in found.items()
    }
    stems = Counter(place.with_suffix("") for place in found.values())
    stems[Path(SETTINGS).with_suffix("")] += 1  # in the output folder there is a file of that name already
    recordings = []
    for path, place in found.items():
        # talk.srt, or where there is a talk.wav and a talk.mp3, talk.wav.srt and talk.mp3.srt
        stem = place.with_suffix("")
        target = output_dir / (stem if stems[stem] == 1 else place)
        spoken = {"detect": None, "folder": path.absolute().parent.name}.get(language, language)
        if spoken is not None and spoken not in known:
            raise ValueError(
                f"{path}: {spoken!r} is no language of this Whisper. Expected one of: {', '.join(sorted(known))}."
            )
        recordings.append(Recording(path, target, spoken))
    by_target: dict[Path, Path] = {}
    for recording in recordings:
        other = by_target.setdefault(recording.target, recording.path)
        if other != recording.path:
            raise ValueError(
                f"{other} and {recording.path} would both have their transcripts at {recording.target}. Give the "
                "folder above both, or one at a time with an --output_dir of its own."
            )
    return recordings


class Places:
    """Whose transcripts stand where in an output folder, from run to run: two/a/talk.wav and two/b/talk.wav, given one
    after the other, would have theirs in one place, and the second would be taken for done."""

    def __init__(self, output_dir: Path):
        self.output_dir = output_dir
        self.file = RecordFile(output_dir / "recordings.jsonl")
        self.owners = {record["transcripts"]: record["recording"] for record in self.file.read()}

    def check(self, recording: Recording) -> None:
        """Raises ValueError where transcripts of another recording stand in this one's place."""
        place, name = self._written(recording)
        owner = self.owners.get(place, name)
        if owner != name:
            raise ValueError(
                f"{recording.target} are the transcripts of {owner}. Use another --output_dir, or give the folder "
                f"above both; if the recording has only been moved, delete {self.file.path}."
            )

    def take(self, recording: Recording) -> None:
        """Notes that the place is this recording's: before its transcripts are written."""
        place, name = self._written(recording)
        if self.owners.get(place) != name:
            self.owners[place] = name
            self.file.add([{"transcripts": place, "recording": name}])

    def _written(self, recording: Recording) -> tuple[str, str]:
        both = recording.target.relative_to(self.output_dir), recording.path.resolve()
        return tuple(os.fsencode(path).decode("utf-8", "backslashreplace") for path in both)


def find_foreign(given: list[Path], recordings: list[Recording]) -> dict[Path, str]:
    """Recordings that cannot be read, and what to do; not those beside which a converted one lies."""
    converted = {recording.path.with_suffix("") for recording in recordings}
    inside = (path for one in given for path in (sorted(one.rglob("*")) if one.is_dir() else [one]))
    return {
        path: f"{path.suffix} cannot be read here. Convert it: ffmpeg -i {shlex.quote(path.name)} "
        f"{shlex.quote(path.stem + '.flac')}"
        for path in inside
        if path.suffix.lower() in FOREIGN and path.with_suffix("") not in converted and path.is_file()
    }


def batches(recordings: list[Recording], size: int) -> Iterator[list[Recording]]:
    """The longest first: `size` at a time, or as many as come to half an hour when all are as long as the longest."""
    order = sorted(recordings, key=lambda recording: -recording.seconds)
    start = 0
    while start < len(order):
        fitting = int(PADDED // max(order[start].seconds, 1.0))
        batch = order[start : start + max(1, min(size, fitting))]
        yield batch
        start += len(batch)
