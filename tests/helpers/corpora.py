"""Miniatures of released corpora, in the layout of their makers, with synthetic tones and some odd rows."""

import csv
import io
import tarfile
from pathlib import Path

import soundfile
from helpers.speech import RATE, tone

HEADER = [
    "client_id",
    "path",
    "sentence",
    "up_votes",
    "down_votes",
    "age",
    "gender",
    "accents",
    "variant",
    "locale",
    "segment",
]
SENTENCES = ['"La ri", mo', "NA", "null", "la 'ri' mo", "l’aigua\u0301 tu", "mo tu"]


def write_common_voice(parent: Path, language: str, version: int = 13) -> Path:
    """cv-corpus-*/<language>/ with train, dev and test: six good rows each, a missing clip, a cut one, no sentence."""
    release = parent / f"cv-corpus-{version}.0-2023-03-09"
    folder = release / language
    (folder / "clips").mkdir(parents=True)
    newer = ["sentence_id", "sentence_domain"] if version >= 17 else []
    for name in ("train", "dev", "test"):
        rows = []
        for number, sentence in enumerate([*SENTENCES, "no clip", "cut clip", ""]):
            clip = f"common_voice_{language}_{name}{number}.mp3"
            path = folder / "clips" / clip
            soundfile.write(path, tone(300 + 100 * number), RATE, format="MP3")
            if sentence == "no clip":
                path.unlink()
            if sentence == "cut clip":
                path.write_bytes(path.read_bytes()[:20])
            male = "male_masculine" if version >= 17 else "male"
            person = ["fourties", male] if number % 2 else ["", ""]
            votes = [str(min(number, 4)), str(number % 2)]  # the more the later, some alike
            row = [f"person{number}", clip, sentence, *votes, *person, "", "", language, ""]
            rows.append(row + [f"s{number}", ""][: len(newer)])
        with open(folder / f"{name}.tsv", "w", encoding="utf-8") as file:
            file.writelines("\t".join(row) + "\n" for row in [HEADER + newer, *rows])
    return release


def write_fleurs(parent: Path, code: str, texts: list[str]) -> Path:
    """data/<code>/ with train, dev and test.tsv and their tar.gz: each sentence read by two, one without file."""
    root = parent / "fleurs"
    folder = root / "data" / code
    (folder / "audio").mkdir(parents=True)
    for name in ("train", "dev", "test"):
        lines = []
        with tarfile.open(folder / "audio" / f"{name}.tar.gz", "w:gz") as archive:
            for number, text in enumerate(texts):
                for reader, gender in enumerate(("MALE", "FEMALE")):
                    file_name = f"{number}{reader}.wav"
                    lines.append([str(100 + number), file_name, f"{text}.", text, "|".join(text), "8000", gender])
                    if (number, reader) != (len(texts) - 1, 1):
                        add(archive, f"{name}/{file_name}", wav(tone(400 + 100 * number)))
        with open(folder / f"{name}.tsv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None).writerows(lines)
    return root


def pack(folder: Path) -> Path:
    """Packs the folder as a tar.gz next to it, the form of released corpora."""
    archive = folder.with_name(folder.name + ".tar.gz")
    with tarfile.open(archive, "w:gz") as members:
        members.add(folder, arcname=folder.name)
    return archive


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def wav(samples) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV")
    return file.getvalue()
