"""Recordings with damaged, false or absurd headers, cut or joined. All of the audio must come out, or an error."""

import io
import os
import random
import struct
from functools import partial

import numpy as np
import soundfile

from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.data.usable import check_scorable

from ..trial import Wrong

RATE, SECONDS = 16_000, 3.0
LONGEST = 3600.0  # seconds that a few kilobytes cannot hold
KINDS = {
    "wav": ("WAV", "PCM_16"), "float wav": ("WAV", "FLOAT"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III"), "aiff": ("AIFF", "PCM_16"), "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"), "w64": ("W64", "PCM_16"), "rf64": ("RF64", "PCM_16"),
}  # fmt: skip


def tone(seconds=SECONDS, rate=RATE):
    time = np.arange(int(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * 440 * time * (1 + 0.05 * time))).astype(np.float32)


def encode(kind, samples=None, rate=RATE):
    file = io.BytesIO()
    container, subtype = KINDS[kind]
    soundfile.write(file, tone() if samples is None else samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def check_length(samples, seconds, tolerance=0.15):
    if samples.dtype != np.float32 or samples.ndim != 1 or not np.isfinite(samples).all():
        raise Wrong(f"{samples.dtype} of {samples.ndim} dimensions, or not finite")
    if abs(len(samples) / RATE - seconds) > tolerance:
        raise Wrong(f"{len(samples) / RATE:.2f} s of {seconds:.2f} s, and nothing was said")


def exact(make, seconds=SECONDS, tolerance=0.15):
    """Refused, or read as long as it is."""

    def act(folder):
        path = folder / "a.bin"
        path.write_bytes(make())
        check_length(read_audio(path), seconds, tolerance)

    return act


def cut(kind, share):
    def act(folder):
        content = encode(kind)
        path = folder / "a.bin"
        path.write_bytes(content[: int(len(content) * share)])
        samples = read_audio(path)
        # Frames of MPEG carry no count of their own: what is there is read, as every player does.
        if kind == "mp3" and share >= 0.5:
            return check_length(samples, SECONDS * share, 0.6)
        raise Wrong(f"cut at {share:.0%} and taken for a complete file of {len(samples) / RATE:.2f} s")

    return act


def flipped(kind, seed):
    """Some bytes of the header are others: anything finite of a sane length, or an error."""

    def act(folder):
        generator = random.Random(f"{kind}{seed}")
        content = bytearray(encode(kind))
        for _ in range(generator.choice([1, 2, 8])):
            content[generator.randrange(min(100, len(content)))] = generator.randrange(256)
        reason, seconds = check_scorable({"text": "ola", "audio": {"bytes": bytes(content), "path": None}})
        if reason is None and not 0 < seconds < LONGEST:
            raise Wrong(f"{seconds} s of {len(content)} bytes")

    return act


def patched(kind, offset, value):
    def make():
        content = bytearray(encode(kind))
        content[offset : offset + len(value)] = value
        return bytes(content)

    return make


def flac_claiming(samples):
    """A FLAC whose header says another number of samples (36 bits from the middle of byte 21)."""

    def make():
        content = bytearray(encode("flac"))
        content[21] = (content[21] & 0xF0) | (samples >> 32)
        content[22:26] = struct.pack(">I", samples & 0xFFFFFFFF)
        return bytes(content)

    return make


def with_frames(frames):
    """An mp3 with a Xing header of another number of frames."""

    def make():
        content = bytearray(encode("mp3"))
        at = max(content.find(b"Xing"), content.find(b"Info"))
        if at < 0:
            return bytes(content)
        content[at + 8 : at + 12] = struct.pack(">I", frames)
        return bytes(content)

    return make


def joined(kind):
    return lambda: encode(kind) * 4


def raw_wav(samples, rate=RATE, channels=1, bits=16, code=1, size=None, claimed=None):
    data = samples if isinstance(samples, bytes) else samples.tobytes()
    block = channels * bits // 8
    whole = struct.pack("<4sI4s", b"RIFF", 36 + len(data) if size is None else size, b"WAVE")
    form = struct.pack("<HHIIHH", code, channels % 65536, rate, rate * block % 2**32, block % 65536, bits)
    claim = struct.pack("<4sI", b"data", len(data) if claimed is None else claimed)
    return whole + struct.pack("<4sI", b"fmt ", 16) + form + claim + data


def pcm(seconds=SECONDS):
    return (tone(seconds) * 32767).astype(np.int16)


def absurd(make):
    """Must be refused: nobody's speech."""

    def act(folder):
        path = folder / "a.wav"
        path.write_bytes(make())
        samples = read_audio(path)
        raise Wrong(f"taken for {len(samples) / RATE:.2f} s of speech, up to {np.abs(samples).max(initial=0):.3g}")

    return act


def antiphase(folder):
    soundfile.write(folder / "a.wav", np.stack([tone(), -tone()], axis=1), RATE)
    samples = read_audio(folder / "a.wav")
    if np.abs(samples).max() < 0.01:
        raise Wrong("two channels in antiphase became silence, and nothing was said")


def loud(folder):
    samples = np.full((RATE, 2), 3e38, dtype=np.float32)
    soundfile.write(folder / "a.wav", samples, RATE, subtype="FLOAT")
    read_audio(folder / "a.wav")
    raise Wrong("samples near the largest float were taken for speech")


def bomb(folder):
    """Minutes of silence in a few kilobytes: the limit on length comes before memory."""
    path = folder / "a.flac"
    with soundfile.SoundFile(path, "w", 8000, 1, format="FLAC") as file:
        block = np.zeros(8000 * 600, dtype=np.int16)
        for _ in range(6 * 40):  # 40 hours
            file.write(block)
    samples = read_audio(path)
    raise Wrong(f"{path.stat().st_size / 1e6:.1f} MB became {samples.nbytes / 1e9:.1f} GB")


def fifo(folder):
    os.mkfifo(folder / "a.wav")
    read_audio(folder / "a.wav")
    raise Wrong("a pipe was read")


def device(folder):
    read_audio("/dev/zero")
    raise Wrong("a device was read")


def directory(folder):
    (folder / "a.wav").mkdir()
    read_audio(folder / "a.wav")


CLAIMED = {"0": 0, "all ones": 0xFFFFFFFF, "twice": 2 * len(pcm()) * 2, "half": len(pcm()), "odd": len(pcm()) * 2 - 1}
GARBAGE = {
    "empty": b"", "one byte": b"R", "RIFF alone": b"RIFF", "text": b"hello world " * 100, "zeros": bytes(5000),
    "HTML": b"<!DOCTYPE html><html><body>404</body></html>", "PNG": b"\x89PNG\r\n\x1a\n" + bytes(500),
    "ID3 without audio": b"ID3\x03\x00\x00\x00\x00\x0f\x76" + bytes(3000), "zip": b"PK\x03\x04" + bytes(500),
    "OggS alone": b"OggS" + bytes(500), "fLaC alone": b"fLaC",
    "git lfs": b"version https://git-lfs.github.com/spec/v1\noid",
}  # fmt: skip


def trials():
    for kind in KINDS:
        yield f"{kind}, whole", exact(lambda kind=kind: encode(kind))
        for share in (0.02, 0.3, 0.5, 0.9, 0.99):
            yield f"{kind}, cut at {share:.0%}", cut(kind, share)
        for seed in range(6):
            yield f"{kind}, header bytes {seed}", flipped(kind, seed)
    for kind in ("mp3", "ogg", "opus"):
        yield f"{kind}, four joined", exact(joined(kind), 4 * SECONDS, 0.6 if kind == "mp3" else 0.15)  # its padding
    for name, claimed in CLAIMED.items():
        for size in (None, 0, 0xFFFFFFFF):
            make = partial(raw_wav, pcm(), claimed=claimed, size=size)
            yield f"wav, data size {name}, RIFF size {size}", exact(make)
    for count in (0, 1, 47_999, 10**6, 2**36 - 1):
        yield f"flac, {count} samples claimed", exact(flac_claiming(count))
    for frames in (0, 1, 50, 10**6, 2**32 - 1):
        yield f"mp3, {frames} frames claimed", exact(with_frames(frames))
    for rate in (0, 1, 10, 100, 10**7, 2**31 - 1):
        yield f"wav, {rate} Hz", absurd(lambda rate=rate: raw_wav(pcm(), rate=rate))
    for channels in (0, 300, 65_535):
        yield f"wav, {channels} channels", absurd(lambda channels=channels: raw_wav(pcm(), channels=channels))
    for value in (1e30, 1e6, float("nan"), float("inf"), 3e38):
        samples = np.full(RATE, value, dtype=np.float32)
        yield f"wav, samples of {value}", absurd(partial(raw_wav, samples, bits=32, code=3))
    for name, content in GARBAGE.items():
        yield f"no audio, {name}", absurd(lambda content=content: content)
    yield "stereo in antiphase", antiphase
    yield "stereo near the largest float", loud
    yield "forty hours in a small file", bomb
    yield "a pipe", fifo
    yield "a device", device
    yield "a folder", directory
