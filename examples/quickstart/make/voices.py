"""Speech by espeak-ng: two families of voices, noise, and the codec of the stored clips."""

import io
import subprocess

import numpy as np
import soundfile
import soxr
from mutagen.oggopus import OggOpus

from modeling_distilwhisper.data.audio import SAMPLING_RATE

# A family is a synthesiser: espeak's formants, or Klatt's. The training split has no voice of TEST_FORMANT.
FORMANT = ("m1", "m2", "m3", "m4", "f1", "f2")
TEST_FORMANT = ("m7", "f4", "Andy", "linda")
OTHER_FORMANT = ("m5", "m6", "m8", "f3", "f5", "anika", "max", "steph", "Alex", "belinda", "david")
KLATT = ("klatt", "klatt2", "klatt3", "klatt4")
OPUS = {"format": "OGG", "subtype": "OPUS", "compression_level": 1.0}  # 6 kbit/s


def speak(text: str, language: str, voice: str, words_per_minute: int, pitch: int) -> np.ndarray:
    """Samples `(samples,)`, float32, 16 kHz."""
    command = ["espeak-ng", "-v", f"{language}+{voice}", "-s", str(words_per_minute), "-p", str(pitch), "--stdout"]
    wav = subprocess.run([*command, _readable(text)], check=True, capture_output=True).stdout
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    return soxr.resample(samples, rate, SAMPLING_RATE)


def phonemes(text: str, language: str) -> str:
    """The phonemes of the text by espeak-ng, in the phonetic alphabet, without stress and word boundaries."""
    command = ["espeak-ng", "-q", "--ipa", "-v", language, _readable(text)]
    ipa = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    return "".join(symbol for symbol in ipa if symbol not in "ˈˌ" and not symbol.isspace())


def _readable(text: str) -> str:
    return text.replace("ʼ", "'")  # espeak-ng would spell the letter out


def in_noise(samples: np.ndarray, decibels: float, generator: np.random.Generator) -> np.ndarray:
    """Adds pink noise that is `decibels` weaker than the speech."""
    spectrum = np.fft.rfft(generator.standard_normal(len(samples)))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise = np.fft.irfft(spectrum, len(samples))
    noise *= np.sqrt((samples**2).mean() / (noise**2).mean()) * 10 ** (-decibels / 20)
    mixed = samples + noise
    return (mixed * min(1.0, 0.95 / np.abs(mixed).max())).astype(np.float32)


def as_stored(samples: np.ndarray) -> bytes:
    """Ogg Opus."""
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLING_RATE, **OPUS)
    file.seek(0)
    OggOpus(file).save(
        file, padding=lambda info: 0
    )  # the encoder reserves half a kilobyte for tags, a quarter of a clip
    return file.getvalue()
