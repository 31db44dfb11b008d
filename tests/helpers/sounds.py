"""Sounds that are no speech: fifteen kinds, each made from a fixed seed."""

import numpy as np

RATE = 16_000
LEVEL = 0.1  # the peak


def _noise(seconds: float, slope: float) -> np.ndarray:
    """Noise whose power falls with the frequency: 0 is white, 1 pink, 2 brown."""
    count = int(seconds * RATE)
    frequencies = np.fft.rfftfreq(count, 1 / RATE)
    frequencies[0] = frequencies[1]
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(count)) / frequencies ** (slope / 2)
    return np.fft.irfft(spectrum, count)


def _time(seconds: float) -> np.ndarray:
    return np.arange(int(seconds * RATE)) / RATE


def _tones(seconds: float, *pitches: float) -> np.ndarray:
    return sum(np.sin(2 * np.pi * pitch * _time(seconds)) / number for number, pitch in enumerate(pitches, start=1))


def _notes(seconds: float, pitches: list[float], every: float, decay: float) -> np.ndarray:
    """Notes with overtones that are struck one after the other."""
    time, total = _time(seconds), np.zeros(int(seconds * RATE))
    for number in range(int(seconds / every)):
        passed = time - number * every
        envelope = np.where(passed > 0, np.exp(-decay * np.clip(passed, 0, None)), 0)
        pitch = pitches[number % len(pitches)]
        total += envelope * sum(np.sin(2 * np.pi * pitch * step * passed) / step for step in range(1, 7))
    return total


def _vibrato(seconds: float) -> np.ndarray:
    time = _time(seconds)
    sway = 3 * np.sin(2 * np.pi * 5.5 * time)
    return sum(np.sin(2 * np.pi * 330 * step * time + step * sway) / step for step in range(1, 9))


def _drums(seconds: float) -> np.ndarray:
    return _noise(seconds, 0) * np.exp(-25 * (_time(seconds) % 0.5))


def _clicks(seconds: float) -> np.ndarray:
    generator = np.random.default_rng(1)
    return (generator.random(int(seconds * RATE)) < 1e-4) * generator.standard_normal(int(seconds * RATE))


def _scaled(samples: np.ndarray, peak: float = LEVEL) -> np.ndarray:
    return (samples * peak / max(np.abs(samples).max(), 1e-9)).astype(np.float32)


SOUNDS = {
    "silence": lambda seconds: np.zeros(int(seconds * RATE), np.float32),
    "dither": lambda seconds: _scaled(_noise(seconds, 0), 2e-4),
    "hum of 50 Hz": lambda seconds: _scaled(_tones(seconds, 50, 150, 250)),
    "hum of 60 Hz": lambda seconds: _scaled(_tones(seconds, 60, 120, 180)),
    "white noise": lambda seconds: _scaled(_noise(seconds, 0)),
    "quiet noise": lambda seconds: _scaled(_noise(seconds, 0), 2e-3),
    "pink noise": lambda seconds: _scaled(_noise(seconds, 1)),
    "brown noise": lambda seconds: _scaled(_noise(seconds, 2)),
    "melody": lambda seconds: _scaled(_notes(seconds, [220, 262, 330, 440, 392, 349], 0.35, 3)),
    "chords": lambda seconds: _scaled(sum(_notes(seconds, [pitch], 2, 0.5) for pitch in (220, 277, 330))),
    "vibrato": lambda seconds: _scaled(_vibrato(seconds)),
    "drums": lambda seconds: _scaled(_drums(seconds)),
    "clicks": lambda seconds: _scaled(_clicks(seconds)),
    "dialling tone": lambda seconds: _scaled(_tones(seconds, 350, 440)),
    "rising tone": lambda seconds: _scaled(np.sin(2 * np.pi * (100 + 150 * _time(seconds)) * _time(seconds))),
}


def mixed(sound: np.ndarray, speech: np.ndarray, decibels: float) -> np.ndarray:
    """Speech in the middle of a sound that is so much quieter than it."""
    power = float(np.sqrt(np.mean(np.square(sound))))
    wanted = float(np.sqrt(np.mean(np.square(speech)))) * 10 ** (-decibels / 20)
    total = sound * min(1.0, wanted / power) if power else sound.copy()
    start = (len(total) - len(speech)) // 2
    total[start : start + len(speech)] += speech
    return total
