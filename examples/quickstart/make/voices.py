"""Speech by espeak-ng: two families of voices, noise, and the codec that the clips are stored with."""

import io
import subprocess

import numpy as np
import soundfile
import soxr
from mutagen.oggopus import OggOpus

from modeling_distilwhisper.data.audio import SAMPLING_RATE

# Families are synthesisers: espeak's own formants, and Klatt's. Nobody of TEST_FORMANT is heard in the training split.
FORMANT = ("m1", "m2", "m3", "m4", "f1", "f2")
TEST_FORMANT = ("m7", "f4", "Andy", "linda")
OTHER_FORMANT = ("m5", "m6", "m8", "f3", "f5", "anika", "max", "steph", "Alex", "belinda", "david")
KLATT = ("klatt", "klatt2", "klatt3", "klatt4")
OPUS = {"format": "OGG", "subtype": "OPUS", "compression_level": 1.0}  # 6 kbit/s


def speak(text: str, language: str, voice: str, words_a_minute: int, pitch: int) -> np.ndarray:
    """Samples `(samples,)`, float32, 16 kHz."""
    command = ["espeak-ng", "-v", f"{language}+{voice}", "-s", str(words_a_minute), "-p", str(pitch), "--stdout"]
    wav = subprocess.run([*command, _readable(text)], check=True, capture_output=True).stdout
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    return soxr.resample(samples, rate, SAMPLING_RATE)


def phonemes(text: str, language: str) -> str:
    """What espeak-ng says for the text, in the phonetic alphabet, without stress and word boundaries."""
    command = ["espeak-ng", "-q", "--ipa", "-v", language, _readable(text)]
    said = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    return "".join(symbol for symbol in said if symbol not in "ˈˌ" and not symbol.isspace())


def _readable(text: str) -> str:
    return text.replace("ʼ", "'")  # espeak-ng would spell the letter out


def in_noise(samples: np.ndarray, decibels: float, generator: np.random.Generator) -> np.ndarray:
    """Adds pink noise, so much weaker than the speech."""
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
    OggOpus(file).save(file, padding=lambda info: 0)  # the encoder leaves half a kilobyte for tags, a clip's quarter
    return file.getvalue()
