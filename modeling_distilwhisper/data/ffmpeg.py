"""Audio that libsndfile cannot decode, by the ffmpeg program where it is installed."""

import os
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import numpy as np
import soundfile

from .decoding import Sequential, collect
from .mono import MAX_HOURS
from .windows import File

TIMEOUT = 900  # seconds; a recording of `MAX_HOURS` takes some two minutes
# Containers of audio and video alone: a playlist names other files, which nobody has given.
FORMATS = (
    "aa,aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dss,dts,dtshd,eac3,flac,flv,gsm,iff,loas,matroska,mov,mp3,"
    "mpc,mpc8,mpeg,mpegts,nut,ogg,oma,qcp,rm,tak,tta,voc,w64,wav,wv,xwma"
)
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+\]")  # in ffmpeg's memory


def has_ffmpeg() -> bool:
    """Whether the ffmpeg program is installed."""
    return shutil.which("ffmpeg") is not None


def is_for_ffmpeg(error: soundfile.LibsndfileError, file: File) -> bool:
    """Whether libsndfile refused a file because it does not know the format. A damaged file of its own is not tried:
    ffmpeg would give a part of it.
    """
    file.seek(0)
    words = ("not recognised", "fmt", "ncoding", "not implemented")
    return any(word in error.error_string for word in words) or file.read(64)[28:36] == b"Speex   "


def decode_with_ffmpeg(source: str | os.PathLike | bytes) -> np.ndarray:
    """Decodes the first audio stream of a file.

    Args:
        source: a path, or the bytes of a file.

    Returns:
        Samples `(samples,)` at 16 kHz.

    Raises:
        ValueError: ffmpeg is not installed, or cannot decode all of it.
    """
    if not has_ffmpeg():
        raise ValueError("libsndfile does not know its format, and the ffmpeg program, which may, is not installed")
    if isinstance(source, str | os.PathLike):
        samples, loudest = _decode(source, None)
        return samples if loudest is None else _decode(source, loudest)[0]
    with tempfile.TemporaryDirectory() as folder:  # ffmpeg must be able to seek
        path = Path(folder, "recording")
        path.write_bytes(source)
        return decode_with_ffmpeg(path)


def _decode(path: str | os.PathLike, channel: int | None) -> tuple[np.ndarray, int | None]:
    limits = ["-protocol_whitelist", "file,pipe", "-format_whitelist", FORMATS]
    # With "file:" before it, no name is an option or another protocol.
    source = ["-i", f"file:{os.path.abspath(path)}", "-map", "0:a:0", "-t", str(MAX_HOURS * 3600 + 60)]
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", *limits, *source, "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    with tempfile.TemporaryFile() as complaints:
        mono = None
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints) as process:
            assert process.stdout is not None
            timer = threading.Timer(TIMEOUT, process.kill)
            timer.start()
            try:
                with Sequential(process.stdout.fileno(), closefd=False) as decoded:
                    mono = collect(decoded, channel=channel)
            except soundfile.LibsndfileError:
                pass  # nothing came
            except BaseException:
                process.kill()
                raise
            finally:
                process.stdout.close()  # ffmpeg ends, if it has not
                process.wait()
                timer.cancel()
        complaints.seek(0)
        lines = complaints.read(10_000).decode("utf-8", "replace").strip().splitlines()
    if mono is None or lines or process.returncode:
        reason = lines[-1] if lines else "it found no audio" if mono is None else f"stopped after {TIMEOUT} s"
        # The path may be that of a temporary file, which nobody who reads the message has given.
        reason = reason.replace(f"file:{os.path.abspath(path)}", "the recording")
        raise ValueError(f"ffmpeg: {_ADDRESS.sub(']', reason)}")
    return mono.finish(), mono.loudest_of_cancelled()
