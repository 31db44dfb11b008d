"""Contents of transcript files: SubRip, WebVTT, JSON, and plain text."""

import json
from collections.abc import Callable, Iterable

from .cues import CueLimits, cues_of
from .segments import Transcript

FORMATS = ("srt", "vtt", "json", "txt")
BROADCASTERS = CueLimits()


def to_srt(transcript: Transcript, limits: CueLimits = BROADCASTERS) -> str:
    """The content of a SubRip file: numbered cues.

    Args:
        transcript: of a recording.
        limits: of a cue.

    Example:
        >>> from modeling_distilwhisper import Segment, Transcript, to_srt
        >>> print(to_srt(Transcript("gl", 1.5, [Segment(0.0, 1.5, "Boas noites.")])), end="")
        1
        00:00:00,000 --> 00:00:01,500
        Boas noites.
    """
    cues = (
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_text(cue.lines, _without_arrows)}\n"
        for number, cue in enumerate(cues_of(transcript.segments, limits), start=1)
    )
    return "\n".join(cues)


def to_vtt(transcript: Transcript, limits: CueLimits = BROADCASTERS) -> str:
    """The content of a WebVTT file.

    Args:
        transcript: of a recording.
        limits: of a cue.

    Example:
        >>> from modeling_distilwhisper import Segment, Transcript, to_vtt
        >>> to_vtt(Transcript("gl", 1.5, [Segment(0.0, 1.5, "Boas noites.")])).splitlines()
        ['WEBVTT', '', '00:00:00.000 --> 00:00:01.500', 'Boas noites.']
    """
    cues = (
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_text(cue.lines, _escaped)}\n"
        for cue in cues_of(transcript.segments, limits)
    )
    return "\n".join(["WEBVTT\n", *cues])


def to_json(transcript: Transcript, word_timestamps: bool = False) -> str:
    """The content of a JSON file: `text` and the attributes of the transcript.

    Args:
        transcript: of a recording.
        word_timestamps: whether segments have their words with times.
    """
    return json.dumps(transcript.as_dict(word_timestamps), indent=2, ensure_ascii=False) + "\n"


def to_text(transcript: Transcript) -> str:
    """The content of a text file: one line for each segment."""
    return "".join(f"{_line(segment.text)}\n" for segment in transcript.segments)


def content_of(
    transcript: Transcript, name: str, limits: CueLimits = BROADCASTERS, word_timestamps: bool = False
) -> str:
    """The content of a file in one of `FORMATS`.

    Args:
        transcript: of a recording.
        name: of the format.
        limits: of a cue in subtitles.
        word_timestamps: whether JSON has the times of words.
    """
    if name == "json":
        return to_json(transcript, word_timestamps)
    if name == "txt":
        return to_text(transcript)
    return {"srt": to_srt, "vtt": to_vtt}[name](transcript, limits)


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(1000 * seconds)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _line(text: str) -> str:
    """The text on one line: in SubRip and WebVTT an empty line ends a cue, and a line with `-->` begins one."""
    return " ".join(text.split())


def _text(lines: Iterable[str], clean: Callable[[str], str]) -> str:
    return "\n".join(map(clean, lines))


def _without_arrows(text: str) -> str:
    return _line(text).replace("-->", "→")


def _escaped(text: str) -> str:
    return _line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
