"""Decodes all of a recording by libsndfile, whatever the header says of its length, or says what does not fit.

libsndfile reads as many frames as the header names, and no more. Where it can tell that this is wrong, it tells its log
only. So the lengths of mp3 and FLAC are hidden from it where they are not to be trusted, and its log is read.
"""

import io
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import soundfile

from ..workarounds import without_notes_of_mpg123
from .mono import SAMPLING_RATE, Mono, check_length
from .windows import File, Window, id3_length, links_of

BLOCK = 1 << 20  # samples of all channels together that are decoded at a time
SHORT_BLOCK = 1152  # frames, after the promised ones: of a block with an error all is lost
UNKNOWN_LENGTH = 1 << 60  # libsndfile's number of frames if the header has none is above it
TOLERANCE = 0.1  # seconds that may be missing: encoders count their frames differently
# What a program writes as the size of audio that it does not know yet: the largest numbers, or those less the header.
PLACEHOLDERS = tuple(range(2**bits - 4096, 2**bits) for bits in (31, 32, 63, 64))
# Of libsndfile's log. `data : 96000 (should be 47978)` is a promised size, and that which the file has.
WRONG_SIZE = re.compile(
    r"^ *(?:data|SSND|BODY|riff|Riff size|Data Size|Data length)\s*:?\s*(\d+) \(?should be (\d+)", re.M
)
FRAMES = re.compile(r"\bFrames\s*: (\d+)$|'COMM' chunk \((\d+)\) not equal|'ds64' chunk of (\d+)\.", re.M)
CUT = ("truncated", "lacks an end-of-stream bit", "Junk after the last page")
CHUNK_HEAD = 8  # bytes
BEGINNINGS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"caff", b".snd")  # of another recording, not of a chunk
ID3V1_LENGTH = 128
UNKNOWN_CHUNK = re.compile(r"Unknown chunk marker|Exiting parser|allocation of \d+ denied")
CHUNKED = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF")  # formats in which other data may follow the audio
NIST_COUNT = re.compile(rb"^sample_count -i (\d{1,18})$", re.M)
INFO_TAG = re.compile(rb"Xing|Info|VBRI", re.DOTALL)  # of an mp3: it has the number of frames


class Sequential(soundfile.SoundFile):
    """A sound file that is read from its start to its end.

    `soundfile` would seek after each block, which fails at the end of a FLAC of unknown length.
    """

    def seekable(self) -> bool:
        """No, for the functions of `SoundFile`."""
        return False


def decode(file: File) -> np.ndarray:
    """Decodes a file, all recordings in it if several were joined.

    Args:
        file: opened for reading.

    Returns:
        Samples `(samples,)` at 16 kHz.

    Raises:
        soundfile.LibsndfileError: libsndfile cannot read it.
        ValueError: what it holds is not what its header says; or a bound of `mono.py`.
        OSError: the file system cannot read it.
    """
    links = links_of(file)
    if len(links) == 1:
        return _decode_link(links[0])
    decoded = []
    for link in links:
        decoded.append(_decode_link(link))
        check_length(sum(map(len, decoded)) / SAMPLING_RATE)
    return np.concatenate(decoded)


def collect(file: soundfile.SoundFile, promised: int = 0, channel: int | None = None) -> Mono:
    """Reads a sound file to its end, in blocks.

    Args:
        file: at its start.
        promised: number of frames in its header. If there are as many, an error after them is no error of the audio:
            tags follow it in some files (`Mono.rest`). 0: not known.
        channel: the one to take; `None`: the mean of all.

    Raises:
        soundfile.LibsndfileError: the audio is damaged.
        ValueError: a bound of `mono.py`.
    """
    mono = Mono(file.samplerate, file.channels, channel)
    check_length(promised / file.samplerate, "its header promises")
    while True:
        missing = promised - mono.frames
        size = BLOCK // file.channels
        if promised:
            size = min(size, missing if missing > 0 else SHORT_BLOCK)
        try:
            block = file.read(size, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            if not 0 < promised <= mono.frames:
                raise
            mono.rest = error
            return mono
        mono.add(block)
        if len(block) < size:
            return mono


def _decode_link(link: Window) -> np.ndarray:
    mono = _read_link(link, None)
    loudest = mono.loudest_of_cancelled()
    return (mono if loudest is None else _read_link(link, loudest)).finish()


def _read_link(link: Window, channel: int | None) -> Mono:
    tag = id3_length(link.head(10))
    start = link.head(4096, tag)
    if start[:4] == b"fLaC":
        return _read_flac(link, tag, start, channel)
    if len(start) > 1 and start[0] == 0xFF and start[1] >= 0xE0:
        info = INFO_TAG.search(start)
        return _read_mp3(link, None if info is None else tag + info.start(), channel)
    return _read_other(link, channel)


def _read_flac(link: Window, tag: int, start: bytes, channel: int | None) -> Mono:
    """Reads FLAC with its number of frames hidden: libsndfile then reads to the end."""
    if len(start) < 26:
        raise ValueError("it ends in its header")
    promised = int.from_bytes(start[21:26], "big") & 0xF_FFFF_FFFF
    with _opened(link.patched({tag + 21: bytes([start[21] & 0xF0, 0, 0, 0, 0])})) as file:
        mono = collect(file, promised, channel)
    _check_count(mono, promised)
    return mono


@without_notes_of_mpg123()
def _read_mp3(link: Window, info: int | None, channel: int | None) -> Mono:
    """Reads MPEG audio; to its end, if there is more than its first header says.

    Args:
        link: the file.
        info: where the tag begins that has the number of frames; `None` if there is none.
        channel: the one to take; `None`: the mean of all.
    """
    mono = None
    try:
        link = _with_size(link, info)
        with _opened(link) as file:
            file.seek(0)  # as `soundfile.read` does: the decoder then gives the very same samples
            promised = 0 if info is None else file.frames
            mono = collect(file, file.frames if info is None else promised, channel)
    except soundfile.LibsndfileError:
        if info is None:
            raise
    if mono is not None and link.remaining <= ID3V1_LENGTH:
        _check_count(mono, promised)
        return mono
    frames = 0 if mono is None else mono.frames
    with _opened(link.patched({} if info is None else {info: bytes(4)}, endless=True)) as file:
        every = collect(file, frames, channel)
    # The tag's own frame, and what the encoder added at both ends, are among these.
    added = 0 if info is None else 5 * (1152 if every.rate >= 32_000 else 576)
    if mono is not None and every.frames <= frames + added:
        _check_count(mono, promised)
        return mono
    if every.rest is not None:
        raise ValueError(f"its header promises {frames / every.rate:.2f} s, and damaged audio follows them")
    return every


def _with_size(link: Window, info: int | None) -> Window:
    """Puts the size of the file into the tag with the number of frames: mpg123 would print that it is another one."""
    if info is None:
        return link
    content = link.head(16, info)
    if len(content) < 16 or not content[7] & 2:
        return link
    size = 8 + 4 * (content[7] & 1)  # after the flags and, if there is one, the number of frames
    if abs(int.from_bytes(content[size : size + 4], "big") - (link.size - info)) < 0.005 * link.size:
        return link
    return link.patched({info + size: struct.pack(">I", min(link.size, 2**32 - 1))})


def _read_other(link: Window, channel: int | None) -> Mono:
    with _opened(link) as file:
        promised = file.frames if file.frames < UNKNOWN_LENGTH else 0
        mono = collect(file, promised, channel)
        kind, log = file.format, file.extra_info
    rest = link.head(CHUNK_HEAD, link.position)
    if kind in ("WAV", "WAVEX") and not mono.frames and not _is_chunk(rest, link.remaining):
        # A recorder that crashed, or that could not seek, has left a size of 0.
        size = re.search(rb"data\0\0\0\0", link.head())
        if size is not None and not link.patches:
            return _read_other(link.patched({size.end() - 4: b"\xff" * 4}), channel)
    counts = [int(next(filter(None, match))) for match in FRAMES.findall(log)]
    if kind == "NIST":
        counts += map(int, NIST_COUNT.findall(link.head(1024)))
    _check_count(mono, max([promised, *counts]))
    for written, present in WRONG_SIZE.findall(log):
        if int(written) > int(present) and not any(int(written) in numbers for numbers in PLACEHOLDERS):
            raise ValueError(f"its header promises {written} bytes, but {present} are there: it was cut off")
    if any(words in log for words in CUT):
        reason = next(line for line in log.splitlines() if any(words in line for words in CUT))
        raise ValueError(f"it was cut off, or is still being written ({reason.strip(' *')})")
    _check_rest(link, mono, kind in CHUNKED and (_is_chunk(rest, link.remaining) or not UNKNOWN_CHUNK.search(log)))
    return mono


@contextmanager
def _opened(link: Window) -> Iterator[Sequential]:
    """Opens a window. A whole file is given to libsndfile itself, which then reads without Python."""
    source: Window | File | int = link
    if link.is_whole_file:
        source = link.file.fileno() if isinstance(link.file, io.FileIO) else link.file
        link.file.seek(0)
    with Sequential(source, closefd=False) as file:
        try:
            yield file
        finally:
            if source is not link:
                link.position = link.file.tell()
    if link.failure is not None:
        raise link.failure


def _check_count(mono: Mono, promised: int) -> None:
    """Refuses a recording with less audio than its header says."""
    if promised - mono.frames > TOLERANCE * mono.rate:
        raise ValueError(
            f"its header promises {promised / mono.rate:.2f} s, but it holds {mono.seconds:.2f} s: it was cut off, or "
            "the header is wrong"
        )


def _check_rest(link: Window, mono: Mono, is_known: bool) -> None:
    """Refuses a recording with bytes after its audio that may be audio, if they are as many as 0.1 s of it has."""
    if not is_known and link.remaining * mono.seconds > TOLERANCE * link.position:
        raise ValueError(
            f"{link.remaining} bytes follow the {mono.seconds:.2f} s that its header promises: joined recordings, or a "
            "wrong header"
        )


def _is_chunk(head: bytes, remaining: int) -> bool:
    """Whether a chunk of other data begins here: a name of four letters, and a size that fits."""
    if len(head) < CHUNK_HEAD or not re.fullmatch(rb"[ -~]{4}", head[:4]) or head[:4] in BEGINNINGS:
        return False
    return min(struct.unpack("<I", head[4:])[0], struct.unpack(">I", head[4:])[0]) <= remaining
