"""Makes all data and models of the quickstart from nothing: the speech, the teacher and the student.

pip install -c constraints.txt -e ".[examples,remake-quickstart]"  # and the program espeak-ng, 1.51
python examples/quickstart/make/make.py <new folder>
"""

import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from pretraining import make_corpus, pretrain
from texts import LANGUAGES, SERVED, UNDER_SERVED, UNKNOWN, make_texts
from tqdm.auto import tqdm
from transformers import WhisperProcessor
from voices import FORMANT, KLATT, TEST_FORMANT, as_stored, in_noise, speak
from whispers import WINDOW_SECONDS, make_processor, make_whisper

from modeling_distilwhisper.data.audio import SAMPLING_RATE

SPLITS = {"train": 420, "validation": 20, "test": 40}
SPLITS_OF_UNKNOWN = SPLITS | {"train": 240}
PRETRAINING_TEXTS = 3500  # per language
FEW_TEXTS = 250  # of those, used to pretrain the student, per under-served language
NOISE_DECIBELS = 15.0  # below the speech, out of domain
TEACHER = {"width": 128, "encoder_layers": 4, "decoder_layers": 2}
STUDENT = {"width": 96, "encoder_layers": 4, "decoder_layers": 3}
STEPS = {"teacher": 7000, "student": 3500}


def main() -> None:
    if len(sys.argv) != 2 or Path(sys.argv[1]).exists():
        sys.exit(f"Usage: {sys.argv[0]} <new folder>")
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    make(temporary)
    temporary.chmod(0o755)
    temporary.rename(target)


def make(folder: Path) -> None:
    texts = {language: make_texts(language, sum(SPLITS.values()), seed=1) for language in LANGUAGES}
    for language in LANGUAGES:
        write_speech(folder, language, texts[language], SPLITS)
    for language in UNKNOWN:  # it is kept in examples/new_language
        unknown = make_texts(language, sum(SPLITS_OF_UNKNOWN.values()), seed=1)
        write_speech(folder, language, unknown, SPLITS_OF_UNKNOWN)

    pools = {
        language: make_texts(language, PRETRAINING_TEXTS, seed=2, without=frozenset(texts[language]))
        for language in LANGUAGES
    }
    processor = make_processor(text for pool in pools.values() for text in pool)
    corpora = {
        language: make_corpus(language, pool, processor.feature_extractor, seed=0) for language, pool in pools.items()
    }
    all_languages = list(corpora.values())
    mostly_served = [corpora[language] for language in SERVED]
    mostly_served += [corpora[language].first(FEW_TEXTS) for language in UNDER_SERVED]
    for name, size, training_corpora in (("teacher", TEACHER, all_languages), ("student", STUDENT, mostly_served)):
        save_whisper(folder / name, processor, size, training_corpora, STEPS[name])


def save_whisper(folder: Path, processor: WhisperProcessor, size: dict[str, int], corpora, steps: int) -> None:
    torch.manual_seed(0)
    model = make_whisper(processor, **size)
    pretrain(model, processor, corpora, steps=steps)
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)


def write_speech(folder: Path, language: str, texts: list[str], splits: dict[str, int]) -> None:
    """Writes the splits of a language: all in domain, but of a served one the test split alone; and a noisy test split.

    A language that the models have not heard has none in noise.
    """
    generator = np.random.default_rng((*LANGUAGES, *UNKNOWN).index(language))
    remaining = iter(texts)
    for split, count in splits.items():
        split_texts = [next(remaining) for _ in range(count)]
        if split == "test" and language not in UNKNOWN:
            noisy = speak_all(split_texts, language, KLATT, generator)
            noisy = [(text, voice, in_noise(samples, NOISE_DECIBELS, generator)) for text, voice, samples in noisy]
            write_split(folder / "out_of_domain" / language / split, language, noisy)
        if split == "test" or language not in SERVED:
            voices = FORMANT if split == "train" else TEST_FORMANT
            write_split(
                folder / "in_domain" / language / split, language, speak_all(split_texts, language, voices, generator)
            )


def speak_all(texts: list[str], language: str, voices: tuple[str, ...], generator: np.random.Generator):
    """Text, voice and samples of each text. Voices take turns. A text that does not fit the window is spoken faster."""
    spoken = []
    for number, text in enumerate(tqdm(texts, desc=f"Speaking {language}", leave=False)):
        voice, rate, pitch = voices[number % len(voices)], int(generator.integers(155, 211)), generator.integers(35, 66)
        while len(samples := speak(text, language, voice, rate, int(pitch))) > WINDOW_SECONDS * SAMPLING_RATE:
            rate += 10
        spoken.append((text, voice, samples))
    return spoken


def write_split(folder: Path, language: str, spoken) -> None:
    folder.mkdir(parents=True)
    lines = []
    for number, (text, voice, samples) in enumerate(spoken):
        name = f"{number:03}.ogg"
        (folder / name).write_bytes(as_stored(samples))
        lines.append([name, text, language, voice])
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file_name", "transcription", "language", "voice"], *lines])


if __name__ == "__main__":
    main()
