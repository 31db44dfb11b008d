"""Fetch a small set of real recordings to try things on: about 300 telephone prompts a language, read by one speaker.

    python examples/get_prompts.py prompts ru fr
    python examples/get_prompts.py recordings es

They are the prompts of the Asterisk telephone system (Digium and others, CC-BY-SA), as Debian and Ubuntu package them,
so this needs `apt-get` and `dpkg-deb`. prompts/<language>/ gets train/, validation/ and test/, each with 16 kHz FLAC
files and a metadata.csv, the layout that `run_distil.py` reads. Prompts of equal text go to the same split.
"""

import argparse
import csv
import gzip
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import soundfile

from modeling_distilwhisper.data.audio import SAMPLING_RATE, read_audio

SPEAKERS = {"ru": "female", "fr": "female", "es": "female", "en": "female", "it": "male"}
SHARES = {"train": 20, "validation": 2, "test": 3}  # of 25 parts
SECONDS = (0.5, 29)
# Stage directions, tones, and lines with question marks in place of accented letters.
UNUSABLE = re.compile(r"[\[(\ufffd]|\w\?\s?\w|\b\?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the recordings; each language gets a folder in it")
    parser.add_argument("languages", nargs="+", choices=SPEAKERS, help="codes")
    arguments = parser.parse_args()
    for language in arguments.languages:
        target = arguments.folder / language
        if target.exists():
            print(f"{target} exists already")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            sounds = unpack(f"asterisk-core-sounds-{language}-wav", Path(scratch))
            listing = next(unpack(f"asterisk-core-sounds-{language}", Path(scratch)).rglob(f"*-{language}.txt.gz"))
            recordings = next((sounds / "usr/share/asterisk/sounds").iterdir())
            aside = target.with_name(target.name + ".partial")
            shutil.rmtree(aside, ignore_errors=True)
            counts = write(recordings, read_listing(listing), language, aside)
            aside.rename(target)
        print(f"{target}: " + ", ".join(f"{count} {split}" for split, count in counts.items()))


def unpack(package: str, scratch: Path) -> Path:
    """The contents of a Debian package."""
    download = ["apt-get", "download", "-qq", package]
    if subprocess.run(download, cwd=scratch, stderr=subprocess.DEVNULL).returncode:
        subprocess.run(["apt-get", "update", "-qq"], check=True)  # a new machine has no package lists yet
        subprocess.run(download, cwd=scratch, check=True)
    contents = scratch / package
    subprocess.run(["dpkg-deb", "-x", next(scratch.glob(f"{package}_*.deb")), contents], check=True)
    return contents


def read_listing(listing: Path) -> dict[str, str]:
    """Text by name of the recording, from the usable lines `name: text` with at least two words."""
    texts = {}
    with gzip.open(listing, "rt", encoding="utf-8-sig", errors="replace") as lines:
        for line in lines:
            name, colon, text = line.strip().partition(":")
            text = text.strip(' "“”')
            if colon and re.fullmatch(r"[\w/-]+", name) and len(text.split()) > 1 and not UNUSABLE.search(text):
                texts[name] = text
    return texts


def split_of(text: str) -> str:
    """The split of a text, by a hash of its words: it never changes, and equal texts are in one split."""
    words = " ".join(re.findall(r"\w+", text.lower()))
    part = int(hashlib.sha256(words.encode()).hexdigest(), 16) % sum(SHARES.values())
    for split, share in SHARES.items():
        if part < share:
            return split
        part -= share
    raise AssertionError("the shares cover every part")


def write(recordings: Path, texts: dict[str, str], language: str, target: Path) -> dict[str, int]:
    """Writes audio files and metadata.csv of each split; returns the number of recordings in each."""
    rows = {split: [] for split in SHARES}
    for name, text in sorted(texts.items()):
        source = recordings / f"{name}.wav"
        if not source.is_file():
            continue
        samples = read_audio(source)
        if not SECONDS[0] <= len(samples) / SAMPLING_RATE <= SECONDS[1]:
            continue
        split, file_name = split_of(text), name.replace("/", "_") + ".flac"
        (target / split).mkdir(parents=True, exist_ok=True)
        soundfile.write(target / split / file_name, samples, SAMPLING_RATE)
        rows[split].append([file_name, text, language, SPEAKERS[language]])
    for split, lines in rows.items():
        with open(target / split / "metadata.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["file_name", "transcription", "language", "gender"], *lines])
    return {split: len(lines) for split, lines in rows.items()}


if __name__ == "__main__":
    main()
