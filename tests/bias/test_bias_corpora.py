"""Balanced-FLEURS has exactly the rows of section 3.1.1, and gives a reason for each other row."""

import csv
import importlib
import sys
import tarfile

import numpy as np
import pytest
import torch
from helpers import corpora, speech
from helpers.scripts import EXAMPLES

from modeling_distilwhisper.bias.corpora import Corpus, count_reasons, select_rows
from modeling_distilwhisper.data import voice
from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.data.common_voice import read_common_voice
from modeling_distilwhisper.data.sources import Source
from modeling_distilwhisper.data.voice import Silero, find_detector
from modeling_distilwhisper.runs.records import RecordFile

# Split, sentence, reader, file, and whether it is loud, silent or missing.
READINGS = [
    ("train", 1, "MALE", "a", "loud"),
    ("dev", 1, "FEMALE", "b", "loud"),
    ("train", 2, "MALE", "b", "loud"),  # FLEURS has names of files in two splits
    ("train", 2, "MALE", "d", "loud"),
    ("test", 3, "MALE", "e", "loud"),
    ("test", 3, "FEMALE", "f", "silent"),
    ("test", 4, "MALE", "g", "loud"),
    ("test", 4, "FEMALE", "h", "loud"),
    ("test", 4, "FEMALE", "i", "loud"),
    ("dev", 5, "OTHER", "j", "loud"),
    ("dev", 5, "FEMALE", "k", "loud"),
    ("dev", 6, "MALE", "l", "loud"),
    ("dev", 6, "FEMALE", "m", "missing"),
]
KEPT = {"train/a.wav", "validation/b.wav", "test/g.wav", "test/h.wav", "test/i.wav"}
REASONS = {
    "sentence not read by both": {"train/b.wav", "train/d.wav", "test/e.wav", "validation/k.wav", "validation/l.wav"},
    "no speech": {"test/f.wav"},
    "neither male nor female": {"validation/j.wav"},
    "missing audio file": {"validation/m.wav"},
}


def loud(samples):
    return speech.is_loud(samples)


@pytest.fixture
def fleurs(tmp_path):
    folder = tmp_path / "fleurs/data/gl_es"
    (folder / "audio").mkdir(parents=True)
    for split in ("train", "dev", "test"):
        readings = [reading for reading in READINGS if reading[0] == split]
        with tarfile.open(folder / "audio" / f"{split}.tar.gz", "w:gz") as archive:
            for _, sentence, _, file, how in readings:
                if how != "missing":
                    clip = speech.tone(400 + 100 * sentence) * (how == "loud")
                    corpora.add(archive, f"{split}/{file}.wav", corpora.wav(clip))
        lines = [
            [str(sentence), f"{file}.wav", "la ri.", "la ri", "l|a", "8000", reader]
            for _, sentence, reader, file, _ in readings
        ]
        with open(folder / f"{split}.tsv", "w", newline="", encoding="utf-8") as listing:
            csv.writer(listing, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None).writerows(lines)
    return Corpus.balanced_from(Source.parse(f"fleurs:{tmp_path}/fleurs"))


def test_only_sentences_of_both_genders_stay_and_the_rest_say_why(fleurs, tmp_path):
    checked = RecordFile(tmp_path / "gl.jsonl")
    rows, notes = select_rows(fleurs.read("gl"), checked, loud, balanced=True, min_utterances=5)
    assert set(rows["id"]) == KEPT and set(rows["seconds"]) == {0.5}
    assert {note["id"] for note in notes if note["kept"]} == KEPT
    ids_by_reason = {
        reason: {note["id"] for note in notes if note["reason"] == reason} for reason in count_reasons(notes)
    }
    assert ids_by_reason == REASONS and len(notes) == 13
    assert {note["gender"] for note in notes} == {"male", "female", "other"} and notes[0]["sentence_id"] == "1"


def test_a_language_of_fewer_utterances_is_left_out(fleurs, tmp_path):
    checked = RecordFile(tmp_path / "gl.jsonl")
    rows, notes = select_rows(fleurs.read("gl"), checked, loud, balanced=True, min_utterances=6)
    assert not len(rows) and count_reasons(notes)["language with fewer than 6 utterances"] == 5


def test_an_unbalanced_corpus_keeps_all_that_can_be_scored(fleurs, tmp_path):
    rows, notes = select_rows(fleurs.read("gl"), RecordFile(tmp_path / "gl.jsonl"))
    assert len(rows) == 12 and count_reasons(notes) == {"missing audio file": 1}


def test_an_interrupted_selection_continues_and_checks_wrong_rows_again(fleurs, tmp_path):
    rows, asked = fleurs.read("gl"), []

    def counted(samples):
        asked.append(len(samples))
        return loud(samples)

    checked = RecordFile(tmp_path / "gl.jsonl")
    select_rows(rows.select(range(4)), checked, counted, balanced=True, min_utterances=5)
    assert len(asked) == 4
    selected, _ = select_rows(rows, checked, counted, balanced=True, min_utterances=5)
    assert set(selected["id"]) == KEPT and len(asked) == 12, "no clip is checked twice"
    missing = next(row for row in rows if row["id"] == "validation/m.wav")["audio"]["path"]
    mended = next(row for row in rows if row["id"] == "test/h.wav")["audio"]["path"]
    with open(mended, "rb") as source, open(missing, "wb") as target:
        target.write(source.read())
    selected, _ = select_rows(rows, checked, counted, balanced=True, min_utterances=5)
    assert set(selected["id"]) == KEPT | {"validation/l.wav", "validation/m.wav"} and len(asked) == 13


@pytest.mark.parametrize(("version", "man"), [(7, "male"), (13, "male"), (17, "male_masculine")])
def test_common_voice_gives_speakers_ages_and_accents_in_every_release(tmp_path, version, man):
    release = corpora.write_common_voice(tmp_path, "gl", version)
    listing = release / "gl/dev.tsv"
    text = listing.read_text(encoding="utf-8")
    assert (f"fourties\t{man}\t\t" in text) or version == 7
    text = text.replace(f"fourties\t{man}\t\t", f"fourties\t{man}\tof the north\t")
    if version < 8:
        text = text.replace("\taccents\t", "\taccent\t")
    listing.write_text(text, encoding="utf-8")
    rows = read_common_voice(release, "validation", "gl")
    about = [(row["speaker"], row["gender"], row["age"], row["accent"]) for row in rows]
    assert about[:2] == [("person0", "", "", ""), ("person1", "male", "forties", "of the north")]


def test_silero_distinguishes_speech_from_silence_and_noise_and_leaves_torch_its_threads():
    threads = torch.get_num_threads()
    for name in [name for name in sys.modules if name.startswith("silero_vad")]:
        del sys.modules[name]  # as it is imported for the first time
    torch.set_num_threads(2)
    try:
        detector = find_detector("silero")
        assert isinstance(detector, Silero) and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    second = np.zeros(16_000, dtype=np.float32)
    noise = 0.01 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert not detector(second) and not detector(second[:0]) and not detector(noise)
    clips = [EXAMPLES / f"quickstart/out_of_domain/en/test/00{number}.ogg" for number in range(3)]
    assert all(detector(0.01 * read_audio(clip)) for clip in clips), "quiet speech too"


def test_the_memory_of_the_detector_has_a_bound_whatever_the_length(monkeypatch):
    """Stripes of eight hours side by side would be gigabytes."""
    speech = read_audio(EXAMPLES / "quickstart/out_of_domain/en/test/000.ogg")
    samples = np.concatenate([np.zeros(50_000, np.float32), speech] * 20)
    detector = find_detector("silero")
    expected = detector(samples)
    assert len(samples) > 3 * voice.STRIPE * voice.STEP and len(expected) >= 20
    monkeypatch.setattr(voice, "SIDE_BY_SIDE", 2)
    assert detector(samples) == expected


def test_any_callable_is_a_detector_and_others_are_refused():
    assert find_detector("none") is None
    assert find_detector("helpers.speech:is_loud") is importlib.import_module("helpers.speech").is_loud
    for wrong in ("nothing", "speech:is_silent", "speech:RATE"):
        with pytest.raises(ValueError, match="module:function"):
            find_detector(wrong)
