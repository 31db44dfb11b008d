"""Domain shifts of recordings, to score models on speech that they were not trained on.

    python benchmarks/shift_recordings.py prompts shifted ru fr es

Reads `prompts/<language>/{test,validation}` (the layout of `get_prompts.py`) and writes `shifted/<language>/<split>/`:
a folder of FLAC files for each shift, and one metadata.csv of all of them. The file name in it starts with the name of
the shift, `sentence_id` is the file that was shifted, and the transcripts are the same. Training recordings are never
read. Validation recordings get other kinds or levels of shifts than test recordings, so that what is chosen on the
former is not fitted to the latter. Needs the program sox with its GSM format (Debian: sox, libsox-fmt-all).
The same input gives the same output: noise is drawn from a seed of the file's name.
"""

import argparse
import csv
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from modeling_distilwhisper.data.audio import SAMPLING_RATE, read_audio

SEED = 2026
PEAK = 0.95  # louder results are turned down, not clipped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=Path, help="folder with a folder for each language")
    parser.add_argument("shifted", type=Path, help="folder to write")
    parser.add_argument("languages", nargs="+")
    arguments = parser.parse_args()
    for language in arguments.languages:
        for split, shifts in SHIFTS.items():
            target = arguments.shifted / language / split
            if target.exists():
                print(f"{target} exists already")
                continue
            partial = target.with_name(f"{split}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            count = write(arguments.prompts / language / split, shifts, partial)
            partial.rename(target)
            print(f"{target}: {count} recordings of {', '.join(shifts)}")


def write(source: Path, shifts: dict[str, Callable], target: Path) -> int:
    with open(source / "metadata.csv", newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    shifted = []
    for shift, change in shifts.items():
        for row in rows:
            name = f"{shift}/{row['file_name']}"
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            samples = change(read_audio(source / row["file_name"]), row["file_name"])
            samples = samples * min(1.0, PEAK / max(np.abs(samples).max(), 1e-9))
            soundfile.write(target / name, samples, SAMPLING_RATE, subtype="PCM_16", format="FLAC")
            shifted.append({**row, "file_name": name, "sentence_id": row["file_name"]})
    with open(target / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(shifted[0]))
        writer.writeheader()
        writer.writerows(shifted)
    return len(shifted)


def noise(decibels: float, slope: float) -> Callable:
    """Adds noise at a signal-to-noise ratio in decibels, over the whole recording.

    Args:
        slope: of the amplitude over frequency: 0 is white noise, 0.5 pink, 1 brown.
    """

    def change(samples: np.ndarray, name: str) -> np.ndarray:
        random = np.random.default_rng([SEED, zlib.crc32(name.encode()), round(10 * slope)])
        spectrum = np.fft.rfft(random.standard_normal(len(samples)))
        frequencies = np.fft.rfftfreq(len(samples), 1 / SAMPLING_RATE)
        added = np.fft.irfft(spectrum / np.maximum(frequencies, 20) ** slope, len(samples))
        added *= rms(samples) / rms(added) * 10 ** (-decibels / 20)
        return (samples + added).astype(np.float32)

    return change


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) or 1e-9


def effect(*words: str) -> Callable:
    """An effect of sox, such as `tempo -s 1.25`."""
    return lambda samples, name: through_sox(samples, [[".wav", [], list(words)]])


def codec(ending: str, *words: str, effects: tuple[str, ...] = ()) -> Callable:
    """There and back through a file format of 8 kHz, and effects of sox before it."""

    def change(samples: np.ndarray, name: str) -> np.ndarray:
        steps = [[ending, ["-r", "8000", "-c", "1", *words], list(effects)], [".wav", ["-r", str(SAMPLING_RATE)], []]]
        return through_sox(samples, steps)

    return change


def through_sox(samples: np.ndarray, steps: list) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "0.wav")
        soundfile.write(path, samples * 0.7, SAMPLING_RATE, subtype="PCM_16")  # room for what effects add
        for number, (ending, form, effects) in enumerate(steps, 1):
            output = Path(folder, f"{number}{ending}")
            # -R: what sox draws at random (dither) is the same each time
            subprocess.run(["sox", "-R", "-V1", path, *form, output, *effects], check=True)
            path = output
        changed, rate = soundfile.read(path, dtype="float32")
    assert rate == SAMPLING_RATE, rate
    return changed


SHIFTS: dict[str, dict[str, Callable]] = {
    "test": {
        "gsm": codec(".gsm"),
        "noise-10": noise(10, 0.5),
        "noise-5": noise(5, 0.5),
        "room": effect("reverb", "60", "50", "80"),
        "fast": effect("tempo", "-s", "1.25"),
    },
    "validation": {
        "telephone": codec(".wav", "-e", "mu-law", effects=("lowpass", "3400")),
        "noise-15": noise(15, 0.0),
        "slow": effect("tempo", "-s", "0.85"),
    },
}


if __name__ == "__main__":
    main()
