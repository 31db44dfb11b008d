"""Timed transcripts of a batch equal those of single recordings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.real import required
from helpers.speech import RATE, clip
from transformers import AutoProcessor, WhisperForConditionalGeneration

from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.data.features import speech_features
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.transcription.segments import Transcript
from modeling_distilwhisper.transcription.sequential import transcribe_clips
from modeling_distilwhisper.transcription.side_by_side import transcribe_side_by_side

SHORT, LONG = {"max_new_tokens": 24}, {"max_new_tokens": 24, "condition_on_prev_tokens": False}
OF_THE_RUN = {"settings.json", "recordings.jsonl"}


def test_a_mixed_batch_gives_each_recording_its_transcript_alone(model, processor):
    clips, languages = [clip(2), clip(1.5, 300), clip(2, 800), clip(1, 1200)], ["gl", "fr", "ca", "gl"]
    together = transcribe_clips(model, processor, clips, languages, **SHORT)
    alone = [
        transcribe_clips(model, processor, [one], [language], **SHORT)[0]
        for one, language in zip(clips, languages, strict=True)
    ]
    assert together == alone
    assert [transcript.language for transcript in together] == languages
    assert sum(len(transcript.text) for transcript in together) > 20
    assert len({transcript.text for transcript in together}) > 1


def test_recordings_longer_than_a_window_are_transcribed_to_their_end_with_short_ones(model, processor):
    clips, languages = [clip(5), clip(1.5, 300), clip(4, 800)], ["gl", "fr", "ca"]
    together = transcribe_clips(model, processor, clips, languages, **LONG)
    for one, language, transcript in zip(clips, languages, together, strict=True):
        times = [time for segment in transcript.segments for time in (segment.start, segment.end)]
        assert times == sorted(times) and times[-1] <= transcript.seconds == len(one) / RATE
        assert transcript.segments[-1].end > len(one) / RATE - 2.01, f"{language}: the last window is missing"


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("given", [["gl", "fr", "ca", "gl", "fr", "ru"], [None] * 6])
def test_no_transcript_depends_on_a_longer_recording_beside_it(model, processor, timestamps, given):
    """A long recording sent its whole batch down the path of windows and timestamps: 4 of 6 texts were others."""
    clips = [clip(1), clip(5, 300), clip(1.5, 700), clip(4.3, 800), clip(0.7, 900), clip(2, 1200)]
    settings = {**LONG, "return_timestamps": timestamps}
    together = transcribe_clips(model, processor, clips, given, **settings)
    alone = [
        transcribe_clips(model, processor, [one], [language], **settings)[0]
        for one, language in zip(clips, given, strict=True)
    ]
    assert together == alone
    assert len({transcript.text for transcript in together}) == 6


def test_arrays_of_every_kind_are_understood(model, processor):
    samples = clip(1)
    (expected,) = transcribe_clips(model, processor, [samples], ["gl"], **SHORT)
    assert expected.text
    steps = np.round(samples * 32768).astype(np.int16)
    (of_steps,) = transcribe_clips(model, processor, [steps / np.float32(32768)], ["gl"], **SHORT)
    others = [samples.astype(np.float64), samples.tolist(), torch.from_numpy(samples), samples[None], samples[:, None]]
    assert transcribe_clips(model, processor, others, ["gl"] * 5, **SHORT) == [expected] * 5
    assert transcribe_clips(model, processor, [steps, torch.from_numpy(steps)], ["gl"] * 2, **SHORT) == [of_steps] * 2
    for half in (samples.astype(np.float16), torch.from_numpy(samples).bfloat16(), samples[::-1]):
        assert transcribe_clips(model, processor, [half], ["gl"], **SHORT)[0].seconds == 1
    assert transcribe_clips(model, processor, np.stack([samples] * 2), ["gl"] * 2, **SHORT) == [expected] * 2


SAMPLES = np.linspace(-0.5, 0.5, 1600, dtype=np.float32)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (np.stack([SAMPLES] * 2), r"shape \(2, 1600\).*mean of the channels"),
        (np.stack([SAMPLES] * 2, axis=1), r"shape \(1600, 2\)"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (SAMPLES * np.nan, "NaN or infinite"),
        (np.append(SAMPLES, np.inf), "NaN or infinite"),
        (SAMPLES * 32768, "divide by 32768"),
        (np.append(SAMPLES.astype(np.float64), 1e300), "times full scale"),
        ((SAMPLES * 2**31).astype(np.int32), "samples of int32"),
        ((SAMPLES * 32768).astype(int).tolist(), "samples of int64"),
        ((128 + 127 * SAMPLES).astype(np.uint8), "samples of uint8"),
        (SAMPLES > 0, "samples of bool"),
        (SAMPLES.astype(complex), "samples of complex128"),
        ("talk.wav", "shape|samples of"),
        (None, "shape|samples of"),
        ([[0.1], [0.1, 0.2]], "no array of numbers"),
    ],
)
def test_arrays_that_are_no_mono_samples_are_refused_with_what_to_give(model, processor, given, match):
    for refused in (
        lambda: transcribe_clips(model, processor, [SAMPLES, given], ["gl", "gl"], **SHORT),
        lambda: transcribe_side_by_side(model, processor, given, "gl", **SHORT),
        lambda: speech_features(processor, [given]),
    ):
        with pytest.raises(ValueError, match=match) as error:
            refused()
        assert "float32 from -1 to 1" in str(error.value)


def test_clips_without_a_list_or_with_too_few_languages_are_refused(model, processor):
    for clips in (SAMPLES, SAMPLES.tolist(), torch.from_numpy(SAMPLES), "talk.wav"):
        with pytest.raises(ValueError, match=r"Expected a list of clips: \[clip\]"):
            transcribe_clips(model, processor, clips, ["gl"])
    for languages in (["gl"], [], "gl"):
        with pytest.raises(ValueError, match="for each of 2 clips"):
            transcribe_clips(model, processor, [SAMPLES] * 2, languages)
    assert transcribe_clips(model, processor, [], []) == []


def test_a_language_that_is_not_given_is_detected(model, whisper, processor):
    clips = [clip(2), clip(1.5, 300), clip(5, 800)]
    given = transcribe_clips(model, processor, clips[:1], ["gl"], **SHORT)[0]
    transcripts = transcribe_clips(model, processor, clips, [None, "gl", None], **LONG)
    assert transcripts[1].language == "gl" and given.language == "gl"
    names = {token: name.strip("<|>") for name, token in whisper.generation_config.lang_to_id.items()}
    for index in (0, 2):
        features = processor(clips[index][: 2 * RATE], sampling_rate=RATE, return_tensors="pt").input_features
        assert transcripts[index].language == names[whisper.detect_language(features).item()]


def test_segments_that_begin_in_the_padding_are_left_out(model, processor):
    """Clamped to the recording's end, they were cues of no length, which WebVTT forbids."""
    lengths, languages = [0.1, 0.3, 0.5, 2.3], ["gl", "fr", "ca", "gl"]
    transcripts = transcribe_clips(model, processor, [clip(length, 300) for length in lengths], languages, **SHORT)
    for transcript in transcripts:
        assert all(segment.start < segment.end <= transcript.seconds for segment in transcript.segments)
    assert transcripts[3].segments, "what begins within the recording stays"


@pytest.mark.parametrize("level", [0.0, 0.2])
def test_a_silent_recording_has_an_empty_transcript(model, processor, level):
    generator = np.random.default_rng(0)
    dither = (level + generator.integers(-2, 3, size=5 * RATE) / 2**15).astype(np.float32)
    still = np.full(RATE, level, dtype=np.float32)
    faint = (level + 0.001 * clip(1)).astype(np.float32)  # a peak of about -66 dB
    transcripts = transcribe_clips(model, processor, [dither, faint, still], ["gl", "gl", None], **LONG)
    assert transcripts[0] == Transcript("gl", 5.0, []) and transcripts[2] == Transcript("und", 1.0, [])
    assert transcripts[1] == transcribe_clips(model, processor, [faint], ["gl"], **SHORT)[0] and transcripts[1].segments
    assert transcribe_clips(model, processor, [still], ["ca"], **SHORT) == [Transcript("ca", 1.0, [])]


@pytest.mark.real
def test_on_a_real_whisper_no_transcript_depends_on_a_longer_recording_beside_it():
    """DISTILWHISPER_TEST_CHECKPOINT and DISTILWHISPER_TEST_PROMPTS as in tests/model/test_real_whisper.py."""
    model = WhisperForConditionalGeneration.from_pretrained(required("DISTILWHISPER_TEST_CHECKPOINT")).eval()
    processor = AutoProcessor.from_pretrained(required("DISTILWHISPER_TEST_CHECKPOINT"))
    prompts = read_folder(Path(required("DISTILWHISPER_TEST_PROMPTS")) / "ru", "test")
    clips = [read_audio(audio) for audio in prompts[:14]["audio"]]
    clips = [*clips[:3], np.concatenate(clips), clips[3]]
    assert len(clips[3]) > 31 * RATE
    for timestamps in (False, True):
        together = transcribe_clips(model, processor, clips, ["ru"] * 5, return_timestamps=timestamps)
        alone = [transcribe_clips(model, processor, [one], ["ru"], return_timestamps=timestamps)[0] for one in clips]
        assert together == alone and all(transcript.text for transcript in alone)
