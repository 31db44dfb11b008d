"""Which recordings there are in files and folders, and where their transcripts go."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

# Raw samples do not say what they are.
ENDINGS = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"} | {".oga", ".opus", ".aif"}
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

    Args:
        given: files, and folders, which are searched to their depth.
        output_dir: of the transcripts.
        language: a code, 'folder' (each recording's is the name of the folder that it is in), or 'detect'.
        known: codes that the model knows.

    Raises:
        ValueError: a path that is not there, a language that is not known, or two recordings for one place.
    """
    found: dict[Path, Path] = {}
    for one in given:
        if one.is_dir():
            inside = sorted(path for path in one.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
            found |= {path: path.relative_to(one) for path in inside}
        elif one.is_file():
            found[one] = Path(one.name)
        else:
            raise ValueError(f"{one} is not there.")
    stems = [place.with_suffix("") for place in found.values()]
    recordings = []
    for path, place in found.items():
        # talk.srt, or where there is a talk.wav and a talk.mp3, talk.wav.srt and talk.mp3.srt
        stem = place.with_suffix("")
        target = output_dir / (stem if stems.count(stem) == 1 else place)
        spoken = {"detect": None, "folder": path.absolute().parent.name}.get(language, language)
        if spoken is not None and spoken not in known:
            raise ValueError(
                f"{path}: {spoken!r} is no language of this Whisper. Expected one of: {', '.join(sorted(known))}."
            )
        recordings.append(Recording(path, target, spoken))
    if len({recording.target for recording in recordings}) < len(recordings):
        raise ValueError("Two recordings of one name would share a transcript. Give their folders one by one.")
    return recordings


def batches(recordings: list[Recording], size: int) -> Iterator[list[Recording]]:
    """The longest first: `size` at a time, or as many as come to half an hour when all are as long as the longest."""
    order = sorted(recordings, key=lambda recording: -recording.seconds)
    start = 0
    while start < len(order):
        fitting = int(PADDED // max(order[start].seconds, 1.0))
        batch = order[start : start + max(1, min(size, fitting))]
        yield batch
        start += len(batch)
