"""Recordings that lack a little of their end, or have damage within: refused, or read without a library's own notes."""

import io
from contextlib import suppress

import pytest
import soundfile
from helpers.speech import RATE, tone

from modeling_distilwhisper.data.audio import read_audio


def encoded(kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(440, 3.0), RATE, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"])
@pytest.mark.parametrize("lacking", [0.01, 0.001])
def test_a_hundredth_of_the_end_that_is_missing_is_missed(kind, lacking):
    content = encoded(kind, "PCM_16")
    assert len(read_audio(content)) == 3 * RATE
    with pytest.raises(ValueError, match="cut off|promises"):
        read_audio(content[: round(len(content) * (1 - lacking))])


def test_a_damaged_mp3_prints_no_notes_of_its_decoder(capfd):
    content = bytearray(encoded("MP3"))
    for place in range(len(content) // 4, len(content) // 2):
        content[place] = place % 251
    with suppress(soundfile.LibsndfileError), soundfile.SoundFile(io.BytesIO(content)) as file:
        file.read()
    assert "mpg123" in capfd.readouterr().err, "libsndfile alone prints them"
    with pytest.raises(ValueError, match="not readable audio"):
        read_audio(bytes(content))
    assert capfd.readouterr().err == ""
