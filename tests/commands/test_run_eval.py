"""The scoring script, run as people run it: any Whisper, several corpora, taken up again where it was."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from helpers import corpora, speech, tiny
from helpers.scripts import run_command
from helpers.speech import make_pipeline
from peft import LoraConfig, get_peft_model
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.commands import evaluate
from modeling_distilwhisper.commands.evaluate import write_summary
from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.data.folder import read_folder


def run(*arguments, cache):
    return run_command("eval", *arguments, HF_DATASETS_CACHE=str(cache))


@pytest.fixture(scope="module")
def place(whisper_dir, processor, tmp_path_factory):
    """Three models and two corpora: a plain Whisper, one with LoRA, one with experts for gl."""
    folder = tmp_path_factory.mktemp("eval")
    speech.write_folder(folder / "own/gl", "gl")
    speech.write_folder(folder / "own/ca", "ca", seed=1)
    corpora.write_common_voice(folder, "gl")
    corpora.write_common_voice(folder, "ca")
    plain = WhisperForConditionalGeneration.from_pretrained(whisper_dir)
    torch.manual_seed(0)
    lora = get_peft_model(plain, LoraConfig(r=4, target_modules=["fc1", "fc2"], init_lora_weights=False))
    lora.save_pretrained(folder / "lora")
    routed = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl"])
    tiny.unsettle(routed)
    routed.save_pretrained(folder / "routed")
    processor.save_pretrained(folder / "routed")
    return folder


@pytest.fixture(scope="module")
def scored(place, whisper_dir):
    models = [f"plain={whisper_dir}", place / "lora", place / "routed"]
    data = [f"{place}/own/{{language}}", f"cv=common_voice:{place}/cv-corpus-13.0-2023-03-09.tar.gz"]
    corpora.pack(place / "cv-corpus-13.0-2023-03-09")
    command = ["--models", *models, "--data", *data, "--languages", "gl", "ca", "--device", "cpu"]
    command += ["--compare", "routed", "plain", "--gap", "plain", "lora", "--output_dir", place / "out"]
    command += ["--batch_size", "3"]
    code, printed, errors = run(*command, cache=place / "cache")
    assert code == 0, errors[-3000:]
    return command, place / "out", printed


def records(path):
    return {record["id"]: record for record in map(json.loads, path.read_text().splitlines())}


def test_every_kind_of_model_is_scored_on_every_corpus(scored, place, whisper_dir, processor):
    _, output, printed = scored
    summary = json.loads((output / "summary.json").read_text())
    rows = {(row["system"], row["data_set"], row["language"]): row for row in summary["scores"]}
    assert len(rows) == 3 * 2 * 2 and {row["normalizer"] for row in rows.values()} == {"marks-2"}
    for data_set in ("own", "cv"):
        for name in ("wer", "cer", "hits", "wer_low", "wer_high"):
            assert rows["plain", data_set, "ca"][name] == rows["routed", data_set, "ca"][name], "no expert for ca"
    left_out = {(row["language"], row["for"]): row["left out"] for row in summary["rows left out"]}
    reasons = ("missing audio file", "unreadable audio", "empty text")
    assert left_out == {(language, reason): 1 for language in ("gl", "ca") for reason in reasons}
    assert summary["precision"] == "float32", "or a card cannot tell scores of a quantised model from others"
    assert {row["group"] for row in summary["means"]} >= {"all", "high", "extremely low", "Romance"}
    assert {(row["of"], row["less that of"]) for row in summary["differences"]} == {("routed", "plain")}
    unchanged = [row for row in summary["differences"] if row["language"] == "ca"]
    assert len(unchanged) == 2 and all(row["difference"] == 0 and not row["real"] for row in unchanged)
    assert "cv test gl: 6 rows; left out: 1 missing audio file" in printed
    assert "| routed" in (output / "summary.md").read_text()

    transcripts = {}
    for name in ("plain", "lora", "routed"):
        transcripts[name] = records(output / name / "own/gl.test.jsonl")
    listed = read_folder(place / "own/gl", "test")
    speech_of = make_pipeline(WhisperForConditionalGeneration.from_pretrained(whisper_dir), processor)
    greedy = {"language": "gl", "task": "transcribe", "num_beams": 1}  # the pipeline's own beam is 5 wide
    for row in listed:
        expected = speech_of(read_audio(row["audio"]), generate_kwargs=greedy)
        assert transcripts["plain"][row["id"]]["hypothesis"] == expected["text"].strip()
        assert transcripts["plain"][row["id"]]["reference"] == row["text"]
    heard = [[record["hypothesis"] for record in own.values()] for own in transcripts.values()]
    assert heard[0] != heard[1] and heard[0] != heard[2], "LoRA and experts do something"


def test_taken_up_again_it_makes_only_what_is_missing(scored, place):
    command, output, _ = scored
    before = (output / "summary.json").read_text()
    file = output / "routed/cv/gl.test.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    whole = records(file)
    file.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    (output / "plain/own/gl.test.jsonl").touch()
    code, _, errors = run(*command, cache=place / "cache")
    assert code == 0, errors[-3000:]
    assert file.read_bytes().splitlines(keepends=True)[:2] == lines[:2], "what was there was not made again"
    for name, record in records(file).items():
        assert record["hypothesis"] == whole[name]["hypothesis"]
    scores = [json.loads(text)["scores"] for text in (before, (output / "summary.json").read_text())]
    for rows in scores:
        for row in rows:
            row.pop("real_time_factor")
    assert scores[0] == scores[1]


def test_a_model_whose_transcripts_are_all_there_is_not_loaded(scored, place, monkeypatch):
    """Of many models, one was added: the others would take memory and minutes."""
    monkeypatch.setattr(evaluate, "load_model", lambda *_: pytest.fail("it was loaded"))
    assert evaluate.main([*map(str, scored[0])]) == 0


def test_other_settings_do_not_mix_with_what_is_there(scored, place):
    command, _, _ = scored
    code, _, errors = run(*command, "--num_beams", "2", cache=place / "cache")
    assert code != 0 and "num_beams 1, now 2" in errors


def test_a_name_is_shown_in_the_summary_and_makes_no_markup_there(tmp_path):
    row = {"system": '<img src="x">|1e5', "data_set": "[a](https://b.c)", "wer": 0.25}
    text = write_summary({"scores": [row]}, tmp_path, "float32")
    assert (tmp_path / "summary.md").read_text() == f"{text}\n"
    assert r"\<img src=" in text and r"\|1e5" in text and "`[a](https://b.c)`" in text and "0.250" in text
    assert json.loads((tmp_path / "summary.json").read_text())["scores"] == [row], "data are data"


def test_clips_longer_than_the_window_are_transcribed_whole(place, whisper_dir, processor):
    folder = place / "long/test"
    folder.mkdir(parents=True)
    clip = np.concatenate([speech.tone(pitch, 1.0) for pitch in (300, 500, 800, 1200, 400)])
    soundfile.write(folder / "0.flac", clip, speech.RATE)
    soundfile.write(folder / "1.flac", speech.tone(300), speech.RATE)
    speech.write_metadata(folder, [["0.flac", "la", "gl", ""], ["1.flac", "la", "gl", ""]])
    data = ["--data", place / "long", "--languages", "gl", "--output_dir", place / "long-out", "--device", "cpu"]
    code, _, errors = run("--models", f"plain={whisper_dir}", *data, cache=place / "cache")
    assert code == 0, errors[-3000:]
    found = records(place / "long-out/plain/long/gl.test.jsonl")
    model = WhisperForConditionalGeneration.from_pretrained(whisper_dir)
    features = processor.feature_extractor(
        clip, sampling_rate=speech.RATE, truncation=False, return_attention_mask=True, return_tensors="pt"
    )
    told = {"language": "gl", "task": "transcribe", "return_timestamps": True}
    expected = processor.batch_decode(model.generate(**features, **told), skip_special_tokens=True)[0].strip()
    assert found["0.flac"]["hypothesis"] == expected and found["0.flac"]["seconds"] == 5.0
    alone = processor.feature_extractor(clip[: 2 * speech.RATE], sampling_rate=speech.RATE, return_tensors="pt")
    cut = model.generate(**alone, language="gl", task="transcribe")
    assert expected != processor.batch_decode(cut, skip_special_tokens=True)[0].strip(), "not its first window alone"


def test_a_row_that_says_something_else_now_is_made_again(place, whisper_dir):
    folder = speech.write_folder(place / "mended/gl", "gl").parent
    data = ["--data", f"{folder}/{{language}}", "--languages", "gl", "--output_dir", place / "mended-out"]
    command = ["--models", f"plain={whisper_dir}", *data, "--device", "cpu"]
    assert run(*command, cache=place / "cache")[0] == 0
    lines = [["0.flac", "tu tu", "gl", ""], ["1.flac", "la", "gl", ""]]
    speech.write_metadata(folder / "gl/test", lines)
    assert run(*command, cache=place / "cache")[0] == 0
    found = records(place / "mended-out/plain/mended/gl.test.jsonl")
    said = {name: record["reference"] for name, record in found.items()}
    assert len(said) == 4 and said["0.flac"] == "tu tu" and said["1.flac"] == "la", "what is gone from the list is kept"
    summary = json.loads((place / "mended-out/summary.json").read_text())
    assert summary["scores"][0]["utterances"] == 2 and summary["scores"][0]["words"] == 3


def test_a_try_on_few_rows_leaves_the_transcripts_of_the_others(scored, place):
    command, output, _ = scored
    file = output / "plain/own/gl.test.jsonl"
    before = records(file)
    few = [*command, "--max_rows", "1"]
    code, _, errors = run(*few, cache=place / "cache")
    assert code == 0, errors[-3000:]
    summary = json.loads((output / "summary.json").read_text())
    assert {row["utterances"] for row in summary["scores"]} == {1} and records(file) == before
    assert run(*command, cache=place / "cache")[0] == 0


def test_transcripts_of_a_model_that_was_trained_on_are_not_taken_for_its_own(place, tmp_path):
    shutil.copytree(place / "routed", tmp_path / "routed")
    command = ["--models", tmp_path / "routed", "--data", f"{place}/own/{{language}}", "--languages", "gl"]
    command += ["--output_dir", tmp_path / "out", "--device", "cpu", "--max_rows", "1"]
    assert run(*command, cache=place / "cache")[0] == 0
    model = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "routed")
    tiny.unsettle(model)
    model.save_pretrained(tmp_path / "routed")
    old = (tmp_path / "out/routed/own/gl.test.jsonl").read_bytes()
    code, printed, errors = run(*command, cache=place / "cache")
    assert code == 0 and "The model's weights have changed" in printed, errors[-3000:]
    assert (tmp_path / "out/routed/own/gl.test.jsonl").read_bytes() != old
    (aside,) = (tmp_path / "out/routed").glob("own.*")
    assert (aside / "gl.test.jsonl").read_bytes() == old, "and none are lost"
    before, after = place / "routed", tmp_path / "after"
    shutil.copytree(tmp_path / "routed", after)
    for weights in (before, after, before):
        shutil.rmtree(tmp_path / "routed")
        shutil.copytree(weights, tmp_path / "routed")
        code, _, errors = run(*command, cache=place / "cache")
        assert code == 0, errors[-3000:]


def test_translation_is_scored_against_the_same_sentences_in_english(place, whisper_dir, processor):
    """As Whisper writes them, in case and punctuation, and all of them, however few of the others are asked for."""
    corpora.write_fleurs(place, "gl_es", ["la ri", "mo", "tu"])
    english = corpora.write_fleurs(place, "en_us", ["One two", "Three"])
    data = ["--data", f"fleurs:{english}?test=4", "--languages", "gl", "--task", "translate"]
    data += ["--num_beams", "2", "--batch_size", "1"]
    models = ["--models", f"a={whisper_dir}", f"b={place}/routed", "--compare", "b", "a", "--device", "cpu"]
    code, _, errors = run(*models, *data, "--output_dir", place / "translated", cache=place / "cache")
    assert code == 0, errors[-3000:]
    found = records(place / "translated/a/fleurs/gl.test.jsonl")
    whisper, row = WhisperForConditionalGeneration.from_pretrained(whisper_dir), next(iter(found.values()))
    clip = corpora.wav(speech.tone(400 + 100 * int(row["id"][0])))
    features = processor.feature_extractor(read_audio(clip), sampling_rate=speech.RATE, return_tensors="pt")
    tokens = whisper.generate(**features, language="gl", task="translate", num_beams=2)
    assert row["hypothesis"] == processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()
    assert {record["reference"] for record in found.values()} <= {"One two.", "Three."}
    summary = json.loads((place / "translated/summary.json").read_text())
    left_out = {row["for"]: row["left out"] for row in summary["rows left out"]}
    assert left_out["no English sentence"] == 4 - len(found)
    assert summary["scores"][0].keys() >= {"bleu", "chrf", "bleu signature"}
    assert summary["differences"][0].keys() >= {"bleu", "bleu p", "chrf real"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            ["--compare", "plain", "other"],
            "--compare takes names of plain, two or more (gap: two); got ['plain', 'other']",
        ),
        (["--task", "sing"], "--task must be one of transcribe, translate, got 'sing'"),
        (["--models", "a=x", "a=y"], "Two models are called 'a'"),
        (["--models", "a=x", "b="], "or name=location; got 'b='"),
        (["--normalizer", "none"], "--normalizer must be one of marks, report"),
    ],
)
def test_wrong_settings_are_told_before_anything_takes_time(place, whisper_dir, wrong, message):
    settings = ["--models", f"plain={whisper_dir}", "--data", place / "own", "--languages", "gl"]
    code, _, errors = run(*settings, "--output_dir", place / "none", *wrong, cache=place / "cache")
    assert code != 0 and message in errors
    assert not (place / "none").exists()


def test_a_table_without_rows_is_no_heading_over_nothing(tmp_path):
    """With --identification only, nothing is transcribed."""
    row = {"system": "plain", "accuracy": 0.5}
    text = write_summary({"scores": [], "identification": [row]}, tmp_path, "float32")
    assert "scores" not in text and text.startswith("## identification")
    assert json.loads((tmp_path / "summary.json").read_text())["scores"] == []
