"""The language of a recording, chosen among those that a user names: no other answer, and new names are taken."""

import json
import logging

import pytest
import soundfile
from helpers import tiny
from helpers.speech import RATE, clip, loud_spans
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import (
    BatchTranscriber,
    DistilWhisperForConditionalGeneration,
    load_processor,
    transcribe_clips,
)
from modeling_distilwhisper.commands import transcribe
from modeling_distilwhisper.data.features import speech_features
from modeling_distilwhisper.runs.language_codes import OwnName
from modeling_distilwhisper.transcription.detection import DetectionChoice, detection_choice
from modeling_distilwhisper.transcription.recordings import find_recordings
from modeling_distilwhisper.transcription.side_by_side import transcribe_side_by_side

CLIPS = [clip(seconds, pitch) for seconds, pitch in ((0.3, 300), (2.0, 1200), (1.0, 100), (1.9, 50), (0.2, 5000))]


@pytest.fixture
def trained(whisper_dir, processor, seed):
    """Experts of gl and of two new names. Its trained rows hear gl in the first clip, and ga in the second."""
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["gl", "ga", "gl-AO"]).eval()
    tiny.unsettle(model)
    tiny.train_detection(model, ["gl", "ga"], speech_features(processor, CLIPS).input_features)
    model.generation_config.max_length = 12
    return model


@pytest.fixture
def plain(whisper_dir):
    model = WhisperForConditionalGeneration.from_pretrained(whisper_dir).eval()
    model.generation_config.max_length = 12
    return model


def detected(model, processor, clips=CLIPS, **choice):
    """By `BatchTranscriber`; `transcribe_clips` must say the same."""
    transcriber = BatchTranscriber(model, processor, None, batch_size=2, max_new_tokens=2, **choice)
    found = dict(transcriber((number, one, None) for number, one in enumerate(clips)))
    languages = [found[number].language for number in range(len(clips))]
    sequential = transcribe_clips(model, processor, clips, [None] * len(clips), max_new_tokens=2, **choice)
    assert [transcript.language for transcript in sequential] == languages
    return languages


def test_candidates_never_give_another_language_and_all_of_them_give_whispers_own(plain, trained, processor):
    own = detected(plain, processor)
    assert detected(trained, processor) == own
    for model in (plain, trained):
        assert detected(model, processor, candidate_languages=list(tiny.LANGUAGES)) == own
        assert {*detected(model, processor, candidate_languages=["en", "fr"])} == {"en", "fr"}
        assert {*detected(model, processor, candidate_languages=["ru"])} == {"ru"}


def test_a_mixed_batch_of_given_and_detected_languages_equals_row_by_row(trained, processor):
    choice = {"candidate_languages": ["ga", "gl", "fr"], "detection": "trained"}
    together = detected(trained, processor, **choice)
    assert together == [name for one in CLIPS for name in detected(trained, processor, [one], **choice)]
    assert {*together} <= {"ga", "gl", "fr"} and together[:2] == ["gl", "ga"]
    given = [None, "ru", None, "gl-AO", None]
    transcripts = transcribe_clips(trained, processor, CLIPS, given, max_new_tokens=4, **choice)
    assert [one.language for one in transcripts] == [given[i] or together[i] for i in range(len(CLIPS))]


def test_a_detected_new_name_takes_its_own_experts(trained, folder):
    processor, number = load_processor(str(folder / "model")), 1
    assert detected(trained, processor, detection="trained")[:2] == ["gl", "ga"]
    result = transcribe_side_by_side(trained, processor, CLIPS[number], None, detection="trained", max_new_tokens=9)
    told = transcribe_side_by_side(trained, processor, CLIPS[number], "ga", max_new_tokens=9)
    other = transcribe_side_by_side(trained, processor, CLIPS[number], "gl-AO", max_new_tokens=9)
    assert result.experts == told.experts and result.gates is not None
    assert result.experts.text not in (result.plain.text, other.experts.text)


@pytest.mark.parametrize(
    ("written", "detection", "candidates"),
    [
        (None, "whisper", None),
        (["Galician", "ca-ES", "gl"], "whisper", ("gl", "ca")),
        (["experts"], "whisper", ("gl",)),
        (["experts"], "trained", ("gl", "ga")),
        (["experts", "en"], "trained", ("gl", "ga", "en")),
        (["GA", "ru"], "trained", ("ga", "ru")),
    ],
)
def test_languages_are_named_as_everywhere_and_experts_stand_for_all_of_them(trained, written, detection, candidates):
    choice = detection_choice(trained, written, detection, "ours")
    assert choice == DetectionChoice(candidates, detection)
    assert all(type(name) is str for name in candidates or ()), "they are written to settings.json"


def test_experts_that_cannot_be_detected_are_named(trained, caplog):
    logging.getLogger("transformers").propagate = True
    detection_choice(trained, ["experts"], "whisper", "ours")
    assert "ours: ga, gl-AO cannot be detected" in caplog.text


@pytest.mark.parametrize(
    ("written", "detection", "message"),
    [
        (["cy"], "whisper", "cy cannot be detected. Expected some of ca, en, fr, gl, ru"),
        (
            ["gl", "ga"],
            "whisper",
            "ga cannot be detected. Expected some of ca, en, fr, gl, ru. A language that Whisper",
        ),
        (["gl-AO"], "trained", "gl-AO cannot be detected"),
        (["no language!"], "whisper", "Whisper has no language 'no language!'"),
    ],
)
def test_a_candidate_that_cannot_be_detected_is_refused(trained, written, detection, message):
    with pytest.raises(ValueError) as error:
        detection_choice(trained, written, detection, "ours")
    assert message in str(error.value)


def test_a_plain_whisper_has_no_experts_and_no_trained_rows(plain, processor):
    with pytest.raises(ValueError, match="tiny has no experts of a language that can be detected"):
        detection_choice(plain, ["experts"], "whisper", "tiny")
    with pytest.raises(ValueError, match="tiny has no trained detection rows. Expected a model with some"):
        detection_choice(plain, None, "trained", "tiny")
    with pytest.raises(ValueError, match="fit-detection"):
        BatchTranscriber(plain, processor, None, detection="trained")


def test_a_new_name_of_a_folder_or_flag_is_taken_as_the_model_has_it(tmp_path):
    known = {"de", "ga", "de-CH"}
    for name in ("ga", "de_ch", "de"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", clip(0.5), RATE)
    found = find_recordings([tmp_path], tmp_path / "out", "folder", known)
    assert [one.language for one in found] == ["de", "de-CH", "ga"]
    assert not any(isinstance(one.language, OwnName) for one in found)
    (one,) = find_recordings([tmp_path / "ga/a.wav"], tmp_path / "out", "de-ch", known)
    assert one.language == "de-CH"
    with pytest.raises(ValueError, match="'de-AT' is no language of this Whisper"):
        find_recordings([tmp_path / "ga/a.wav"], tmp_path / "out", "de-AT", known)


@pytest.fixture
def folder(trained, processor, tmp_path):
    trained.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    (tmp_path / "in").mkdir()
    for number, samples in enumerate(CLIPS[:3]):
        soundfile.write(tmp_path / f"in/{number}.wav", samples, RATE)
    return tmp_path


def run(folder, *flags):
    """Languages and texts by recording, and the exit status."""
    base = ["--model", folder / "model", "--output_dir", folder / "out", "--formats", "json", "--device", "cpu"]
    base += ["--vad", "helpers.speech:loud_spans"]
    status = transcribe.main([str(one) for one in (folder / "in", *base, *flags)])
    files = [json.loads(path.read_text()) for path in sorted((folder / "out").glob("*.json")) if path.stem.isdigit()]
    return status, [(content["language"], content["text"]) for content in files]


def texts_of(trained, processor, **choice):
    transcriber = BatchTranscriber(trained, processor, loud_spans, **choice)
    found = dict(transcriber((number, one, None) for number, one in enumerate(CLIPS[:3])))
    return [(found[number].language, found[number].text) for number in range(3)]


def test_transcribe_chooses_among_the_experts_by_trained_rows_and_keeps_such_transcripts_apart(
    folder, trained, processor, capsys
):
    status, found = run(folder, "--candidate_languages", "experts", "--detection", "trained")
    expected = texts_of(trained, processor, candidate_languages=["gl", "ga"], detection="trained")
    assert status == 0 and {language for language, _ in found} <= {"gl", "ga"} and found == expected
    settings = json.loads((folder / "out/settings.json").read_text())["run"]
    assert settings["candidate_languages"] == ["gl", "ga"] and settings["detection"] == "trained"
    assert run(folder)[0] == 1 and "candidate_languages ['gl', 'ga'], now None" in capsys.readouterr().err


def test_transcribe_without_candidates_is_as_before(folder, trained, processor):
    status, found = run(folder)
    assert status == 0 and found == texts_of(trained, processor)
    settings = json.loads((folder / "out/settings.json").read_text())["run"]
    assert settings.keys().isdisjoint({"candidate_languages", "detection"}), "folders of before go on"


@pytest.mark.parametrize("long_form", ["batched", "sequential"])
def test_transcribe_takes_a_new_name(folder, long_form):
    status, found = run(folder, "--language", "gl_ao", "--long_form", long_form)
    assert status == 0 and [language for language, _ in found] == ["gl-AO"] * 3


def test_candidates_where_the_language_is_given_are_refused_since_they_would_do_nothing(folder, capsys):
    with pytest.raises(SystemExit):
        run(folder, "--language", "gl", "--candidate_languages", "gl")
    assert "--candidate_languages and --detection need --language detect" in capsys.readouterr().err
