"""Recordings that go through the model together have the transcripts that they have alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.real import required
from helpers.speech import RATE, clip, loud_spans
from silero_vad import load_silero_vad
from transformers import AutoProcessor, WhisperForConditionalGeneration

from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.data.voice import Silero
from modeling_distilwhisper.transcription.batched import BATCHES_AHEAD, BatchTranscriber
from modeling_distilwhisper.transcription.cues import CueLimits, cues_of
from modeling_distilwhisper.transcription.doubts import compression_ratio, doubt
from modeling_distilwhisper.transcription.segments import Transcript, Word
from modeling_distilwhisper.transcription.window_batch import WindowText, transcribe_windows, window_features
from modeling_distilwhisper.transcription.word_times import Reading

SHORT = {"max_new_tokens": 12}


def with_pauses(*lengths, pitch=500):
    """Tones with a second of silence before each."""
    parts = [part for length in lengths for part in (np.zeros(RATE, np.float32), clip(length, pitch))]
    return np.concatenate(parts)


RECORDINGS = {
    "long": (with_pauses(1.5, 2, 1, 0.5, 2.5), "gl"),
    "short": (clip(1, 300), "ca"),
    "silent": (np.zeros(2 * RATE, np.float32), "gl"),
    "plain": (with_pauses(2, 1.2, pitch=800), "fr"),
    "detected": (with_pauses(1, 1, 2, pitch=1200), None),
    "longer than a window": (clip(7, 700), "gl"),
}


def run(model, processor, recordings, **settings):
    transcriber = BatchTranscriber(model, processor, loud_spans, **{**SHORT, **settings})
    return dict(transcriber((name, *recording) for name, recording in recordings.items()))


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_no_transcript_depends_on_the_recordings_beside_it(model, processor, batch_size, aligned):
    if aligned:
        model.generation_config.alignment_heads = [[0, 0], [1, 1]]
    together = run(model, processor, RECORDINGS, batch_size=batch_size)
    alone = {name: run(model, processor, {name: one})[name] for name, one in RECORDINGS.items()}
    assert together == alone
    assert together["silent"] == Transcript("gl", 2.0, []) and together["long"].language == "gl"
    assert len({transcript.text for transcript in together.values()}) == len(RECORDINGS)


def test_the_text_of_a_window_is_that_of_generate(model, processor):
    samples = clip(1.5)
    features = processor(samples, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)
    few = {"max_new_tokens": 5}  # of more, a random model makes a loop
    tokens = model.generate(**features, language="gl", **few)
    expected = processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()
    assert run(model, processor, {"one": (samples, "gl")}, **few)["one"].text == expected != ""


def test_times_are_those_of_the_recording_and_lie_in_its_speech(model, processor):
    model.generation_config.alignment_heads = [[0, 0], [1, 1]]
    samples, language = RECORDINGS["long"]
    transcript = run(model, processor, {"long": (samples, language)})["long"]
    spans = [(start / RATE, end / RATE) for start, end in loud_spans(samples)]
    words = [word for segment in transcript.segments for word in segment.words]
    assert len(words) > 3
    for word in words:
        assert any(start - 0.01 <= word.start <= word.end <= end + 0.01 for start, end in spans), word
    for segment in transcript.segments:
        assert "".join("".join(word.word for word in segment.words).split()) == "".join(segment.text.split())
        assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)
    assert model.config._attn_implementation == "sdpa", "others that use the model are as fast as before"


def test_a_language_is_detected_once_or_for_each_window(model, processor):
    one = {"detected": RECORDINGS["detected"]}
    transcript = run(model, processor, one)["detected"]
    assert transcript.language not in ("und", None)
    assert all(segment.language is None for segment in transcript.segments)
    each = run(model, processor, one, detect_each=True)["detected"]
    assert all(segment.language for segment in each.segments)
    assert each.language in {segment.language for segment in each.segments}
    assert "language" in each.as_dict()["segments"][0] and "language" not in transcript.as_dict()["segments"][0]


def test_a_recording_that_fails_stops_no_other(model, processor):
    bad = {"not finite": (np.full(RATE, np.nan, np.float32), "gl"), "unknown": (clip(1, 900), "xx")}
    results = run(model, processor, {**bad, **RECORDINGS})
    assert all(isinstance(results.pop(name), ValueError) for name in bad)
    assert results == run(model, processor, RECORDINGS)


def test_a_language_that_cannot_be_detected_fails_its_recording_alone(model, processor, monkeypatch):
    """A failure before the first batch would end the run for all."""

    def fail(*arguments):
        raise RuntimeError("no memory")

    monkeypatch.setattr("modeling_distilwhisper.transcription.batched.detect_languages", fail)
    results = run(model, processor, RECORDINGS)
    assert str(results.pop("detected")) == "no memory"
    monkeypatch.undo()
    assert results == {name: one for name, one in run(model, processor, RECORDINGS).items() if name != "detected"}


def test_words_that_are_not_those_of_the_text_are_not_used(model, processor, monkeypatch):
    """A letter of several tokens may be cut: the recording would fail at a word that is not found."""
    model.generation_config.alignment_heads = [[0, 0], [1, 1]]
    one = {"short": RECORDINGS["short"]}
    expected = run(model, processor, one)["short"]

    def cut(*arguments, logprobs):
        return [Reading([Word(0.0, 0.5, "\ufffd")], -1.0)]

    monkeypatch.setattr("modeling_distilwhisper.transcription.window_batch.read_back", cut)
    (segment,) = run(model, processor, one)["short"].segments
    assert expected.text and segment.words is None and segment.text == expected.text
    segment.words = [Word(0.0, 0.5, "\ufffd")]
    assert cues_of([segment], CueLimits(width=200))[0].lines == (segment.text,)


@pytest.mark.parametrize("heads", [None, [[0, 0], [1, 1]]])
def test_whether_a_sound_is_speech_is_asked_of_whisper_and_not_of_experts(model, processor, heads):
    """Experts learn from speech alone: with them the decoder hardly ever said that there is none."""
    model.generation_config.alignment_heads = heads
    features = window_features(processor, [clip(1, 300)])
    (before,) = transcribe_windows(model, processor, features, ["gl"], **SHORT)
    for layer in model.get_decoder().layers:
        for weight in layer.expert_of("gl").parameters():
            weight.data.mul_(-3)
    (after,) = transcribe_windows(model, processor, features, ["gl"], **SHORT)
    assert after.text != before.text and 0 < after.no_speech == pytest.approx(before.no_speech, rel=1e-4)


def test_recordings_are_read_as_they_are_needed(model, processor):
    """A folder of a thousand hours does not fit into memory."""
    taken = []

    def source():
        for number in range(100):
            taken.append(number)
            yield number, clip(0.3, 300 + number), "gl"

    results = BatchTranscriber(model, processor, loud_spans, batch_size=2, max_new_tokens=2)(source())
    first, _ = next(results)
    assert first in range(2 * BATCHES_AHEAD) and len(taken) <= 2 * BATCHES_AHEAD + 3
    assert len([*results]) == 99


def test_what_was_dropped_is_told_with_its_reason(model, processor, monkeypatch):
    def invented(model, processor, features, languages, **settings):
        return [WindowText("suscríbete " * 20, 1.0)] * len(languages)

    monkeypatch.setattr("modeling_distilwhisper.transcription.batched.transcribe_windows", invented)
    transcript = run(model, processor, {"short": RECORDINGS["short"]})["short"]
    assert transcript.text == "" and transcript.segments == []
    (dropped,) = transcript.as_dict()["dropped"]
    assert dropped["text"].startswith("suscríbete") and "repeats itself" in dropped["reason"]


MENU = (
    "Нажмите один, чтобы включить или выключить свой микрофон. Два, чтобы заблокировать или разблокировать "
    "конференцию. Три, чтобы удалить из конференции последнего вошедшего. Четыре или шесть для уменьшения "
    "или увеличения громкости."
)


@pytest.mark.parametrize(
    ("text", "seconds", "no_speech", "reason"),
    [
        (MENU, 16, None, None),  # it repeats itself as menus do, at the pace of speech
        ("Спасибо за просмотр! " * 12, 20, None, "repeats itself"),
        ("謝謝觀看" * 12, 20, None, "repeats itself"),
        ("na na na na", 2, None, None),
        ("Редактор субтитров А.Семкин Корректор А.Егорова", 0.7, 0.87, "letters in a second"),
        ("Три набор.", 0.6, 0.70, None),  # a real prompt
        ("Thanks for watching", 0.8, 0.7, "no speech"),
        ("Bo", 0.4, 0.97, "no speech"),
        ("Bo", 0.4, None, None),
        ("Bo día a todos", 9, 0.99, None),  # long speech is beyond doubt
        ("", 0.4, 0.5, None),
    ],
)
def test_invented_text_is_told_from_speech_in_every_script(text, seconds, no_speech, reason):
    """Whisper's compression ratio counts bytes: Cyrillic menus were taken for loops, 55 of 147 sentences."""
    found = doubt(text, seconds, no_speech)
    assert found is None if reason is None else reason in found


def test_a_letter_counts_once_in_every_script():
    latin = "nun ca cho veu que non es cam pa ra"
    other = latin.translate({ord(letter): chr(0x4E00 + number) for number, letter in enumerate(sorted(set(latin)))})
    assert compression_ratio(latin) == pytest.approx(compression_ratio(other), rel=0.1)


@pytest.mark.real
def test_real_noise_has_no_words_and_keeps_the_speech_in_it():
    """DISTILWHISPER_TEST_CHECKPOINT and DISTILWHISPER_TEST_PROMPTS as in tests/model/test_real_whisper.py."""
    from helpers.sounds import SOUNDS, mixed

    model = WhisperForConditionalGeneration.from_pretrained(required("DISTILWHISPER_TEST_CHECKPOINT")).eval()
    processor = AutoProcessor.from_pretrained(required("DISTILWHISPER_TEST_CHECKPOINT"))
    prompts = read_folder(Path(required("DISTILWHISPER_TEST_PROMPTS")) / "ru", "train")
    speech = read_audio(next(row["audio"] for row in prompts if row["text"] == "Для справки нажмите ноль."))
    (alone,) = (text for _, text in BatchTranscriber(model, processor, Silero())([("alone", speech, "ru")]))
    sounds = {name: make(10) for name, make in SOUNDS.items()}
    recordings = [((name, False), sound, "ru") for name, sound in sounds.items()]
    recordings += [((name, True), mixed(sound, speech, decibels=10), "ru") for name, sound in sounds.items()]
    found = dict(BatchTranscriber(model, processor, Silero())(recordings))
    assert len(found) == 30
    for (name, has_speech), transcript in found.items():
        if has_speech:
            assert "нажмите" in transcript.text.lower() and len(transcript.text) < 2 * len(alone.text), name
        else:
            assert transcript.text == "", name


@pytest.mark.real
def test_stripes_find_the_speech_that_is_found_in_one_piece():
    """A long recording is read in stripes side by side: at their borders nothing may be lost or invented."""
    prompts = read_folder(Path(required("DISTILWHISPER_TEST_PROMPTS")) / "ru", "train")
    clips = [read_audio(audio) for audio in prompts[:30]["audio"]]
    gap = np.zeros(RATE, np.float32)
    samples = np.concatenate([part for one in clips for part in (one, gap)])
    detector = Silero()
    striped = np.zeros(len(samples), bool)
    for start, end in detector(samples):
        striped[start:end] = True
    complete = np.zeros(len(samples), bool)
    for found in detector._find(torch.from_numpy(samples / np.abs(samples).max()), load_silero_vad()):
        complete[found["start"] : found["end"]] = True
    assert complete.mean() > 0.3 and (striped != complete).mean() < 0.01
