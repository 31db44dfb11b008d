"""Audio is read to its end whatever the header says, or refused with what does not fit; never more than the bounds."""

import io
import os
import resource
import struct
import threading
import time

import numpy as np
import pytest
import soundfile
from helpers.encoded import encoded, ffmpeg_absent, written
from helpers.speech import RATE, tone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeling_distilwhisper.data import mono
from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.data.usable import check_scorable


def with_bytes(content: bytes, offset: int, new: bytes) -> bytes:
    return content[:offset] + new + content[offset + len(new) :]


def seconds_of(content: bytes) -> float:
    return len(read_audio(content)) / RATE


FORMS = ["WAV", "WAV:ALAW", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "OGG:OPUS", "MP3", "NIST", "VOC"]


@pytest.mark.parametrize("form", FORMS)
def test_every_sample_is_that_of_libsndfile(form):
    content = encoded(form)
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    assert np.array_equal(read_audio(content), samples) and rate == RATE


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_was_cut_is_not_taken_for_a_complete_one(form):
    content = encoded(form)
    for share in (0.3, 0.5, 0.9):
        with pytest.raises(ValueError, match="not readable audio"):
            read_audio(content[: int(share * len(content))])


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "OGG:OPUS", "MP3"])
def test_all_of_joined_recordings_is_read(form):
    """The first header names the length of the first; an mp3 has some silence at its joints."""
    assert seconds_of(encoded(form) + encoded(form, 2.0) + encoded(form)) == pytest.approx(8, abs=0.5)
    assert seconds_of(encoded(form) + encoded(form)) >= 6, "nothing is missing"


@pytest.mark.parametrize("form", ["AIFF", "AU", "CAF"])
def test_recordings_whose_joint_cannot_be_found_are_refused(form):
    with pytest.raises(ValueError, match=r"bytes follow the 3.00 s that its header promises|bad 'FORM' marker"):
        read_audio(encoded(form) * 2)


def test_joined_recordings_may_have_other_rates_and_channels():
    stereo = written(np.stack([tone(300, 2.0)] * 2, axis=1), 2 * RATE, "OGG")
    assert seconds_of(encoded("OGG") + stereo) == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("size", [0, 2**32 - 1, 2**31 - 1, 2**32 - 37])
@pytest.mark.parametrize("riff", [0, 2**32 - 1, None])
@pytest.mark.parametrize("lead", [0.0, 1.0])
def test_a_wav_whose_recorder_never_wrote_its_size_is_read(size, riff, lead):
    """Recorders that crash leave 0, those that cannot seek the largest number."""
    samples = np.concatenate([np.zeros(int(lead * RATE), np.float32), tone(440, 2.0)])
    content = with_bytes(written(samples), 40, struct.pack("<I", size))
    if riff is not None:
        content = with_bytes(content, 4, struct.pack("<I", riff))
    assert len(read_audio(content)) == len(samples)


def test_an_empty_wav_with_other_chunks_is_empty():
    content = written(np.zeros(0)) + b"LIST" + struct.pack("<I", 12) + b"INFOISFT\0\0\0\0"
    assert not len(read_audio(content))


def test_chunks_and_tags_after_the_audio_are_no_audio():
    chunk = b"LIST" + struct.pack("<I", 50_000) + bytes(50_000)
    assert seconds_of(encoded("WAV") + chunk) == 3
    id3v1 = b"TAG" + bytes(125)
    ape = b"APETAGEX" + struct.pack("<4I", 2000, 1000, 3, 0) + bytes(1000)
    for form in ("MP3", "FLAC"):
        for tag in (id3v1, ape + id3v1):
            assert seconds_of(encoded(form) + tag) == 3
    id3v2 = b"ID3\x04\0\0" + bytes([0, 0, 8, 0]) + bytes(1024)
    assert seconds_of(id3v2 + encoded("MP3")) == 3


@pytest.mark.parametrize(
    ("size", "match"), [(1000, "95000 bytes follow the 0.03 s"), (10**6, "promises 1000000 bytes")]
)
def test_a_wav_with_a_wrong_size_is_named(size, match):
    with pytest.raises(ValueError, match=match):
        read_audio(with_bytes(encoded("WAV"), 40, struct.pack("<I", size)))


def flac_that_says(frames: int) -> bytes:
    content = encoded("FLAC")
    fixed = int.from_bytes(content[18:26], "big") >> 36 << 36
    return with_bytes(content, 18, (fixed | frames).to_bytes(8, "big"))


@pytest.mark.parametrize("frames", [0, 10, 47_999])
def test_a_flac_that_says_less_than_it_holds_is_read_to_its_end(frames):
    assert seconds_of(flac_that_says(frames)) == 3


@pytest.mark.parametrize(("frames", "match"), [(96_000, "promises 6.00 s, but it holds 3.00"), (2**36 - 1, "hours")])
def test_a_flac_that_says_more_than_it_holds_is_named(frames, match):
    with pytest.raises(ValueError, match=match):
        read_audio(flac_that_says(frames))


@pytest.mark.parametrize("frames", [0, 1, 10])
def test_an_mp3_that_says_less_than_it_holds_is_read_to_its_end(frames):
    content = encoded("MP3")
    assert seconds_of(with_bytes(content, content.index(b"Xing") + 8, struct.pack(">I", frames))) >= 3
    assert seconds_of(content.replace(b"Xing", b"none")) >= 3, "of variable bitrate, without a count"


def test_a_joined_mp3_whose_end_was_cut_is_not_taken_for_complete():
    """Damaged audio after the count of the header is audio."""
    content = encoded("MP3")
    for cut in (50, 200, 1000):
        with pytest.raises(ValueError, match="promises 3.00 s, and damaged audio follows"):
            read_audio((content * 2)[:-cut])


@pytest.mark.parametrize("frames", [200, 10**6, 2**31, 2**32 - 1])
def test_an_mp3_that_says_more_than_it_holds_is_named(frames, capfd):
    content = encoded("MP3")
    with pytest.raises(ValueError, match="its header promises"):
        read_audio(with_bytes(content, content.index(b"Xing") + 8, struct.pack(">I", frames)))
    assert "Xing" not in capfd.readouterr().err, "mpg123 prints nothing"


def test_a_file_that_unfolds_without_end_is_refused_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(mono, "MAX_HOURS", 0.01)
    silence = written(np.zeros(20 * 60 * RATE, np.int16), RATE, "FLAC")
    fixed = int.from_bytes(silence[18:26], "big") >> 36 << 36
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content in (silence, with_bytes(silence, 18, fixed.to_bytes(8, "big"))):
        with pytest.raises(ValueError, match="hours, expected at most"):
            read_audio(content)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kB; all of it has 77 MB"
    assert check_scorable({"text": "a", "audio": {"bytes": silence, "path": None}}) == ("unreadable audio", 0.0)


@pytest.mark.parametrize("rate", [0, 1, 1999, 10**6, 10**9, 2**32 - 1])
def test_a_rate_that_no_recording_has_is_refused(rate):
    with pytest.raises(ValueError, match="Hz|SF_INFO"):
        read_audio(with_bytes(encoded("WAV"), 24, struct.pack("<I", rate)))


@pytest.mark.parametrize("channels", [0, 65, 1000, 65_535])
def test_channels_that_no_recording_has_are_refused(channels):
    with pytest.raises(ValueError, match=r"[Cc]hannel"):
        read_audio(with_bytes(encoded("WAV"), 22, struct.pack("<H", channels)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 3e38, 32_768.0, 1e300])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_not_finite_or_absurd_are_refused(value, channels):
    samples = np.zeros((RATE, channels))
    samples[RATE // 2] = value
    content = written(samples, subtype="DOUBLE")
    with pytest.raises(ValueError, match="NaN or infinite|times full scale"):
        read_audio(content)
    assert check_scorable({"text": "a", "audio": {"bytes": content, "path": None}}) == ("unreadable audio", 0.0)


def test_samples_of_a_few_times_full_scale_are_read():
    assert read_audio(written(8 * tone(440), subtype="FLOAT")).max() == pytest.approx(2.4, abs=0.01)


def test_channels_that_cancel_each_other_give_the_loudest_one():
    """An inverted channel would make silence of a recording; so would a part of the mean be lost in noise."""
    voice = tone(440, 1.0)
    inverted = read_audio(written(np.stack([0.9 * voice, -voice], axis=1), subtype="FLOAT"))
    assert np.array_equal(inverted, -voice)
    for form in ("FLAC", "OGG", "MP3"):
        assert np.abs(read_audio(written(np.stack([voice, -voice], axis=1), form=form))).max() > 0.25
    other = read_audio(written(np.stack([voice, tone(700, 1.0)], axis=1), subtype="FLOAT"))
    assert np.allclose(other, (voice + tone(700, 1.0)) / 2, atol=1e-7), "otherwise the mean"
    single = read_audio(written(np.stack([voice, 0 * voice], axis=1), subtype="FLOAT"))
    assert np.array_equal(single, voice / 2)


def test_pipes_devices_and_what_is_no_audio_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    begun = time.monotonic()
    for path in (tmp_path / "pipe.wav", "/dev/zero", tmp_path, tmp_path / "none.wav", "a\0b", "x" * 300, ""):
        with pytest.raises(ValueError, match="is not readable audio"):
            read_audio(path)
    assert time.monotonic() - begun < 2
    row = {"text": "a", "audio": {"bytes": None, "path": str(tmp_path / "pipe.wav")}}
    assert check_scorable(row) == ("missing audio file", 0.0)
    for source in (np.zeros(3), None, 7, {"array": [0.0], "sampling_rate": 16_000}, {"bytes": None, "path": None}):
        with pytest.raises(ValueError, match="no audio|not readable"):
            read_audio(source)


def test_recordings_are_read_in_threads_as_one_after_the_other(tmp_path):
    for number, form in enumerate(("WAV", "FLAC", "OGG", "MP3")):
        (tmp_path / str(number)).write_bytes(encoded(form))
    expected = [read_audio(tmp_path / str(number)) for number in range(4)]
    equal = []

    def read():
        equal.append(all(np.array_equal(read_audio(tmp_path / str(n)), one) for n, one in enumerate(expected)))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert equal == [True] * 4


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_header_of_any_bytes_gives_all_of_the_audio_or_a_sentence(form):
    content = encoded(form, 0.5)
    limit = 60 * RATE  # samples: far more than any change of these can make of half a second

    @settings(max_examples=60, deadline=5000, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(
        changes=st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=4),
        length=st.one_of(st.just(len(content)), st.integers(0, len(content))),
        copies=st.integers(1, 2),
    )
    def check(changes, length, copies):
        changed = bytearray(content)
        for offset, value in changes:
            changed[offset] = value
        try:
            samples = read_audio((bytes(changed) * copies)[: length + (copies - 1) * len(changed)])
        except ValueError:
            return
        assert samples.dtype == np.float32 and samples.ndim == 1 and len(samples) <= limit
        assert np.isfinite(samples).all()

    with ffmpeg_absent():  # each of its refusals takes a tenth of a second
        check()


def test_a_call_may_have_a_shorter_bound_than_all_and_it_ends_with_the_call(tmp_path):
    path = tmp_path / "talk.flac"
    soundfile.write(path, np.zeros(16_000 * 90), 16_000)
    with mono.at_most(1 / 60), pytest.raises(ValueError, match="1.5 minutes, expected at most 1: divide it"):
        read_audio(path)
    with mono.at_most(100):
        assert len(read_audio(path)) == 16_000 * 90
    assert len(read_audio(path.read_bytes())) == 16_000 * 90
