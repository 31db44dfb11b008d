"""The commands with languages that Whisper has no token for: named, started, taught from a cache, and used."""

import json

import pytest
import torch
from helpers import speech
from safetensors.torch import load_file
from transformers import WhisperProcessor

import distilwhisper_cli
from modeling_distilwhisper import DistilWhisperForConditionalGeneration, load_processor
from modeling_distilwhisper.commands.command_line import parse_dataclasses
from modeling_distilwhisper.commands.fit_detection import DetectionArguments
from modeling_distilwhisper.commands.training_run.arguments import DataArguments, ModelArguments
from modeling_distilwhisper.runs.starts import read_starts
from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments

SHORT = ["--max_steps", 1, "--max_rows", 2, "--use_cpu", "true", "--report_to", "none", "--generation_max_length", 8]
SHORT += ["--warmup_epochs", 0]
EMBEDDING = "model.decoder.experts.{}.embedding"


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A corpus whose rows say the language alone, as most do."""
    folder = tmp_path_factory.mktemp("spoken")
    for seed, name in enumerate(("ga", "gl")):
        speech.write_folder(folder / name, name, seed=seed)
    (folder / "gl-AO").symlink_to(folder / "gl")
    return folder


@pytest.fixture
def run(capsys):
    def start(*command, succeeds=True):
        code = distilwhisper_cli.main([*map(str, command)])
        printed = capsys.readouterr()
        assert (code == 0) is succeeds, printed.err
        return printed.out + printed.err

    return start


@pytest.fixture
def train(run, whisper_dir, spoken, tmp_path):
    def start(*flags, languages=("ga",), student=whisper_dir, folder=tmp_path / "run", succeeds=True):
        command = ["train", "--student", student, "--data", f"{spoken}/{{language}}", *SHORT]
        return run(*command, "--languages", *languages, "--output_dir", folder, *flags, succeeds=succeeds)

    return start


def embedding_in(folder, name):
    return load_file(folder / f"expert.{name}.safetensors")[EMBEDDING.format(name)]


def row_of(whisper_dir, code):
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, [])
    return model.get_input_embeddings().weight[model.language_tokens()[code]].detach()


def test_a_run_trains_new_names_beside_old_ones_and_is_loaded_by_its_folder(train, whisper_dir, tmp_path):
    languages = ["ga", "gl", "gl-AO"]
    train("--init_from", "ga=fr", "gl-AO=gl", languages=languages)
    folder = tmp_path / "run"
    assert {path.name for path in folder.glob("expert.*")} == {f"expert.{name}.safetensors" for name in languages}
    ids = json.loads((folder / "config.json").read_text())["language_token_ids"]
    tokenizer = WhisperProcessor.from_pretrained(folder).tokenizer
    assert {name: tokenizer.convert_tokens_to_ids(f"<|{name.lower()}|>") for name in languages} == ids
    results = json.loads((folder / "results.json").read_text())
    assert all(results["scores"]["after"][corpus].keys() == {*languages} for corpus in results["scores"]["after"])
    moved = (embedding_in(folder, "ga") - row_of(whisper_dir, "fr")).abs().max()
    assert 0 < moved < 0.01, "it was trained, from there"
    assert (folder / "README.md").read_text().startswith("---")


def test_without_a_relative_a_token_starts_as_what_whisper_hears(train, tmp_path):
    printed = train("--learning_rate", 1e-12)
    assert "ga: its token starts as the mean of what Whisper hears in its recordings:" in printed
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["language_relatives"].keys() == {"ga"}


def test_a_name_is_read_as_its_language_unless_it_has_a_start_or_experts(train, run, spoken, tmp_path):
    """Silently, `gl-AO` would otherwise be trained as `gl`, or `gl-ES` become a language of its own."""
    assert "gl-AO is read as gl. For experts of its own: --init_from gl-AO=gl" in train(languages=["gl-AO"])
    assert (tmp_path / "run/expert.gl.safetensors").is_file()
    train("--init_from", "gl-AO=gl", languages=["gl-AO"], folder=tmp_path / "own")
    printed = run(
        *("eval", "--models", f"own={tmp_path / 'own'}", "--data", f"words={spoken}/{{language}}", "--max_rows", 2),
        *("--languages", "gl-ao", "--output_dir", tmp_path / "scores"),
    )
    assert "gl-AO" in printed
    records = (tmp_path / "scores").rglob("*.jsonl")
    assert {json.loads(line)["language"] for path in records for line in path.read_text().splitlines()} == {"gl-AO"}


def test_experts_of_a_relative_are_trained_further_under_a_new_name(train, tmp_path):
    train(languages=["gl"], folder=tmp_path / "relative")
    flags = ["--experts_from", tmp_path / "relative", "--init_from", "ga=gl", "--learning_rate", 1e-12]
    train(*flags)
    before, after = (load_file(tmp_path / f"{name}/expert.{code}.safetensors") for name, code in FOLDERS)
    for name, tensor in before.items():
        now = after[name.replace(".experts.gl.", ".experts.ga.")]
        assert "threshold" in name or torch.allclose(now, tensor, atol=1e-6), (name, (now - tensor).abs().max())


FOLDERS = (("relative", "gl"), ("run", "ga"))


def test_experts_that_are_there_are_trained_further_and_not_started_again(train, tmp_path):
    """The embedding that was trained would be lost, without a word."""
    train("--init_from", "ga=fr", folder=tmp_path / "first")
    printed = train("--learning_rate", 1e-12, student=tmp_path / "first")
    assert "its token starts as" not in printed
    before, after = (embedding_in(tmp_path / name, "ga") for name in ("first", "run"))
    assert torch.allclose(before, after, atol=1e-6)
    flags = ["--init_from", "ga=fr"]
    errors = train(*flags, student=tmp_path / "first", folder=tmp_path / "other", succeeds=False)
    assert "has experts of ga already" in errors


def test_a_cache_of_a_teachers_predictions_trains_a_new_name_as_the_teacher_does(
    train, run, whisper_dir, spoken, tmp_path
):
    """Its rows hold the new token: made for another student, or by another relative, they would teach other prompts."""
    command = ["cache-teacher", "--student", whisper_dir, "--teacher", whisper_dir, "--max_rows", 2, "--k", 0]
    command += ["--languages", "ga", "--init_from", "ga=fr", "--data", f"{spoken}/{{language}}"]
    run(*command, "--output_dir", tmp_path / "cache")
    train("--init_from", "ga=fr", "--teacher_cache", tmp_path / "cache", folder=tmp_path / "cached")
    train("--init_from", "ga=fr", "--teacher", whisper_dir, folder=tmp_path / "live")
    cached, live = (load_file(tmp_path / name / "expert.ga.safetensors") for name in ("cached", "live"))
    for name, tensor in live.items():
        torch.testing.assert_close(cached[name], tensor, rtol=1e-2, atol=2e-3, msg=name)


def test_the_processor_of_experts_alone_knows_their_names(whisper_dir, tmp_path):
    """Experts on the Hub often come without a tokenizer, and that of their Whisper lacks their tokens."""
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["ga", "x-birds"], init_from={"ga": "fr"})
    model.save_pretrained(tmp_path, save_backbone=False)
    tokenizer = load_processor(tmp_path).tokenizer
    ids = model.config.language_token_ids
    assert [tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("ga", "x-birds")] == [ids["ga"], ids["x-birds"]]


@pytest.mark.parametrize("word", ["ga", "ga=", "kab=fr", "=fr", "ga=xx"])
def test_a_start_that_says_nothing_is_refused(word):
    with pytest.raises(ValueError, match="--init_from: expected each of the languages|has no language 'xx'"):
        read_starts([word], ["ga"])
    assert read_starts(["GA=Welsh"], ["ga"]) == {"ga": "cy"}


def test_a_start_of_a_method_without_experts_is_refused(train):
    assert "--init_from is for experts" in train("--init_from", "ga=fr", "--method", "finetune", succeeds=False)


def test_detection_is_fitted_in_a_folder_and_leaves_all_else_as_it_was(train, run, spoken, tmp_path):
    train("--init_from", "ga=fr")
    folder = tmp_path / "run"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    tensors = load_file(folder / "expert.ga.safetensors")
    command = ["fit-detection", "--model", folder, "--data", f"{spoken}/{{language}}", "--languages", "ga", "gl"]
    assert "Whisper's own" in run(*command)
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert {name for name in before if before[name] != after[name]} == {"config.json", "expert.ga.safetensors"}
    fitted = load_file(folder / "expert.ga.safetensors")
    assert all(torch.equal(fitted[name], tensor) for name, tensor in tensors.items())
    model = DistilWhisperForConditionalGeneration.from_pretrained(folder)
    model.save_experts(folder, ["ga"], int8=True)
    size = (folder / "expert.ga.safetensors").stat().st_size
    run(*command)
    assert (folder / "expert.ga.safetensors").stat().st_size == size, "8 bits stay 8 bits"
    assert {name.split(".")[-1] for name in fitted.keys() - tensors.keys()} == {"detection_weight", "detection_bias"}
    assert "no experts of ['gl']" in run(*command, "--rows", "gl", succeeds=False)
    assert "Expected a folder" in run(*command, "--model", "org/model", succeeds=False)


def test_names_in_settings_are_tags_and_own_ones_stay():
    (arguments,) = parse_dataclasses(
        "", ["--model", "none", "--data", "a/{language}", "--languages", "ga-IE", "Welsh"], "fit", DetectionArguments
    )
    assert arguments.languages == ["ga", "cy"]
    classes = (ModelArguments, DataArguments, DistilWhisperTrainingArguments)
    flags = ["--student", "none", "--data", "a", "--output_dir", "b", "--languages", "de-ch", "de-AT", "--use_cpu"]
    model_args, *_ = parse_dataclasses("", [*flags, "true", "--init_from", "de-CH=de"], "train", *classes)
    assert model_args.languages == ["de-CH", "de"] and model_args.starts == {"de-CH": "de"}
