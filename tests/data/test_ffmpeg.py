"""What libsndfile cannot read, ffmpeg decodes, within the same bounds; no name of a file becomes one of its options."""

import re
import subprocess

import numpy as np
import pytest
from helpers.encoded import encoded, ffmpeg_absent, needs_ffmpeg
from helpers.speech import RATE

from modeling_distilwhisper.data import ffmpeg, mono
from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.data.usable import check_scorable


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.delenv("FFREPORT", raising=False)


KINDS = {".m4a": [], ".amr": ["-ar", "8000"], ".3gp": ["-c:a", "aac"], ".mka": [], ".webm": [], ".wma": [], ".aac": []}


def encode(folder, name, options=(), seconds=2.0):
    source = folder / "source.wav"
    source.write_bytes(encoded("WAV", seconds))
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-i", str(source), *options, f"file:{folder / name}"]
    result = subprocess.run(command, capture_output=True, text=True)
    source.unlink()
    if result.returncode:
        pytest.skip(f"this ffmpeg cannot write {name}: {result.stderr.splitlines()[0]}")
    return folder / name


@needs_ffmpeg
@pytest.mark.parametrize("suffix", KINDS)
def test_what_libsndfile_cannot_read_ffmpeg_decodes(tmp_path, suffix):
    path = encode(tmp_path, f"talk{suffix}", KINDS[suffix])
    samples = read_audio(path)
    assert samples.dtype == np.float32 and len(samples) / RATE == pytest.approx(2, abs=0.15)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * RATE / len(samples) == pytest.approx(440, abs=5)
    assert np.array_equal(read_audio(path.read_bytes()), samples)
    assert check_scorable({"text": "a", "audio": {"bytes": None, "path": str(path)}})[0] is None
    with ffmpeg_absent(), pytest.raises(ValueError, match="ffmpeg program, which may, is not installed"):
        read_audio(path)


@needs_ffmpeg
@pytest.mark.parametrize(
    "name", ["-i.m4a", "-version", "http:talk.m4a", "concat:a|b.m4a", "pipe:0", "%03d.m4a", "a b'c.m4a"]
)
def test_no_name_is_an_option_or_a_protocol(tmp_path, name, monkeypatch):
    path = encode(tmp_path, "talk.m4a").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read_audio(name)) / RATE == pytest.approx(2, abs=0.1)
    assert len(read_audio(path)) / RATE == pytest.approx(2, abs=0.1)


@needs_ffmpeg
def test_a_playlist_opens_no_other_file(tmp_path):
    secret = encode(tmp_path, "secret.m4a")
    lists = {
        "a.m4a": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "b.m4a": f"ffconcat version 1.0\nfile '{secret}'\n",
        "c.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
    }
    for name, content in lists.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match="ffmpeg: "):
            read_audio(tmp_path / name)


@needs_ffmpeg
def test_what_ffmpeg_decodes_has_the_bounds_too(tmp_path, monkeypatch):
    path = encode(tmp_path, "talk.m4a", seconds=20.0)
    cut = tmp_path / "cut.mka"
    whole = encode(tmp_path, "whole.mka", seconds=20.0).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="ffmpeg: .*prematurely"):
        read_audio(cut)
    monkeypatch.setattr(mono, "MAX_HOURS", 5 / 3600)
    with pytest.raises(ValueError, match="hours, expected at most"):
        read_audio(path)
    monkeypatch.setattr(mono, "MAX_HOURS", 8)
    monkeypatch.setattr(ffmpeg, "TIMEOUT", 0.01)
    with pytest.raises(ValueError, match="ffmpeg"):
        read_audio(path)


def test_the_message_without_ffmpeg_says_so():
    with ffmpeg_absent(), pytest.raises(ValueError, match=re.escape("the ffmpeg program, which may, is not installed")):
        read_audio(b"\0\0\0\x20ftypM4A " + bytes(100))


@needs_ffmpeg
def test_what_ffmpeg_says_of_bytes_names_no_file_of_this_machine():
    for content in (b"no audio" * 100, b"\x00\x00\x00\x20ftypM4A " + bytes(500)):
        with pytest.raises(ValueError, match="not readable audio") as error:
            read_audio(content)
        assert "/tmp" not in str(error.value) and "0x" not in str(error.value)
