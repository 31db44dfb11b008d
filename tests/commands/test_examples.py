"""The examples do what they show. Each is started as people start it, and its output is compared with the library's."""

import ast
import json
import subprocess
import sys

import pytest
from helpers import authors, tiny
from helpers.scripts import EXAMPLES, run_script
from safetensors.torch import load_file
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import BatchTranscriber, DistilWhisperForConditionalGeneration, read_audio


def run(*command) -> str:
    code, printed, errors = run_script(*command)
    assert code == 0, errors[-3000:]
    return printed


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short_and_says_how_it_is_started(path):
    text = path.read_text(encoding="utf-8")
    assert 20 <= len(text.splitlines()) <= 120
    assert f"    python examples/{path.name}" in ast.get_docstring(ast.parse(text), clean=False)


@pytest.mark.slow
def test_recordings_are_transcribed_into_files_of_each_format(saved, model, processor, recordings, tmp_path):
    flags = ["--model", saved, "--language", "gl", "--output_dir", tmp_path / "out", "--formats", "txt", "json"]
    run("transcribe.py", recordings["gl"] / "test", *flags, "--device", "cpu", "--batch_size", 3, "--vad", "none")
    assert len([*(tmp_path / "out").glob("*.txt")]) == len([*(tmp_path / "out").glob("*.json")]) == 4
    given = [("0", read_audio(recordings["gl"] / "test/0.flac"), "gl")]
    ((_, expected),) = BatchTranscriber(model, processor, detector=None)(given)
    assert json.loads((tmp_path / "out/0.json").read_text())["text"] == expected.text


def test_models_are_scored_and_compared_and_expert_usage_is_measured(saved, whisper_dir, recordings, tmp_path):
    data = ["--data", f"tones={recordings['gl'].parent}/{{language}}", "--languages", "gl", "ca", "--device", "cpu"]
    models = ["--models", f"plain={whisper_dir}", f"ours={saved}"]
    scored = run("run_eval.py", *models, *data, "--compare", "ours", "plain", "--output_dir", tmp_path / "scores")
    assert scored.count("ours - plain, tones test") == 2
    scores = json.loads((tmp_path / "scores/scores.json").read_text())
    assert [(row["system"], row["language"]) for row in scores] == [
        (system, language) for system in ("plain", "ours") for language in ("gl", "ca")
    ]
    assert all(row["low"] <= row["wer"] <= row["high"] and row["utterances"] == 4 for row in scores)

    run("run_gates.py", "--models", saved, *data, "--output_dir", tmp_path / "gates")
    usage = json.loads((tmp_path / "gates/gates.json").read_text())
    assert [row["language"] for row in usage] == ["gl", "ca"] and all(0 < row["all"] < 1 for row in usage)
    assert (tmp_path / "gates/expert_usage.png").is_file()


def test_languages_are_joined_and_compressed(whisper_dir, processor, tmp_path):
    for seed, language in enumerate(("gl", "ca")):
        one = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=[language])
        tiny.unsettle(one, seed=seed)
        one.save_pretrained(tmp_path / language)
        processor.save_pretrained(tmp_path / language)
    joined, small = tmp_path / "joined", tmp_path / "small"
    assert "gl, ca" in run("join_languages.py", tmp_path / "gl", tmp_path / "ca", "--output_dir", joined)
    run("compress_experts.py", joined, "--rank", 4, "--int8", "--output_dir", small)
    assert DistilWhisperForConditionalGeneration.from_pretrained(small).config.languages == ["gl", "ca"]
    sizes = [(folder / "expert.gl.safetensors").stat().st_size for folder in (joined, small)]
    assert sizes[1] < 0.7 * sizes[0]


def test_a_language_is_exported_as_a_plain_whisper(saved, recordings, tmp_path):
    flags = ["--language", "gl", "--data", recordings["gl"], "--device", "cpu", "--output_dir", tmp_path / "plain"]
    printed = run("export_whisper.py", saved, *flags)
    assert all(f"{way}: WER" in printed for way in ("majority", "mean", "experts"))
    assert WhisperForConditionalGeneration.from_pretrained(tmp_path / "plain").config.model_type == "whisper"


@pytest.mark.slow
def test_a_language_is_exported_as_onnx_and_transcribes_as_before(saved, recordings, tmp_path):
    flags = ["--language", "gl", "--clip", recordings["gl"] / "test/0.flac", "--output_dir", tmp_path / "onnx"]
    command = [sys.executable, EXAMPLES / "export_onnx.py", saved, *flags]  # not forked: the exporter needs its streams
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-1000:]}{done.stderr[-3000:]}"


def test_a_checkpoint_of_the_authors_is_converted(whisper_dir, tmp_path):
    authors.write_checkpoint(tmp_path / "theirs", WhisperForConditionalGeneration.from_pretrained(whisper_dir))
    flags = ["--base", whisper_dir, "--output_dir", tmp_path / "ours"]
    run("convert_authors_checkpoint.py", tmp_path / "theirs", *flags)
    languages = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "ours").config.languages
    assert languages and all(load_file(tmp_path / f"ours/expert.{language}.safetensors") for language in languages)


def test_a_card_is_written_once(results, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(results))
    run("make_card.py", tmp_path, "--name", "me/ours")
    assert 'checkpoint = "me/ours"' in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("Edited.")
    code, _, errors = run_script("make_card.py", tmp_path)
    assert code == 1 and "was edited" in errors
