"""Contents of transcript files: SubRip, WebVTT, JSON, and plain text."""

import json
from dataclasses import asdict

from .segments import Transcript


def to_srt(transcript: Transcript) -> str:
    """The content of a SubRip file: one numbered cue for each segment.

    Example:
        >>> from modeling_distilwhisper import Segment, Transcript, to_srt
        >>> print(to_srt(Transcript("gl", 1.5, [Segment(0.0, 1.5, "Boas noites.")])), end="")
        1
        00:00:00,000 --> 00:00:01,500
        Boas noites.
    """
    cues = (
        f"{number}\n{_clock(segment.start, ',')} --> {_clock(segment.end, ',')}\n{_without_arrows(segment.text)}\n"
        for number, segment in enumerate(transcript.segments, start=1)
    )
    return "\n".join(cues)


def to_vtt(transcript: Transcript) -> str:
    """The content of a WebVTT file: one cue for each segment.

    Example:
        >>> from modeling_distilwhisper import Segment, Transcript, to_vtt
        >>> to_vtt(Transcript("gl", 1.5, [Segment(0.0, 1.5, "Boas noites.")])).splitlines()
        ['WEBVTT', '', '00:00:00.000 --> 00:00:01.500', 'Boas noites.']
    """
    cues = (
        f"{_clock(segment.start, '.')} --> {_clock(segment.end, '.')}\n{_escaped(segment.text)}\n"
        for segment in transcript.segments
    )
    return "\n".join(["WEBVTT\n", *cues])


def to_json(transcript: Transcript) -> str:
    """The content of a JSON file: `text` and the attributes of the transcript."""
    return json.dumps({"text": transcript.text, **asdict(transcript)}, indent=2, ensure_ascii=False) + "\n"


def to_text(transcript: Transcript) -> str:
    """The content of a text file: one line for each segment."""
    return "".join(f"{_line(segment.text)}\n" for segment in transcript.segments)


FORMATS = {"srt": to_srt, "vtt": to_vtt, "json": to_json, "txt": to_text}


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(1000 * seconds)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _line(text: str) -> str:
    """The text on one line: in SubRip and WebVTT an empty line ends a cue, and a line with `-->` begins one."""
    return " ".join(text.split())


def _without_arrows(text: str) -> str:
    return _line(text).replace("-->", "→")


def _escaped(text: str) -> str:
    return _line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
