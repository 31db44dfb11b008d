"""The training script, run as people run it: a process, a folder of recordings, a folder of results."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from helpers import speech, tiny
from helpers.scripts import run_command, run_script
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import DistilWhisperForConditionalGeneration

SHORT = ("--teacher", "", "--score_teacher", "false", "--max_rows", 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed, language in enumerate(("gl", "ca", "en")):
        speech.write_folder(folder / language, language, seed=seed)
        speech.write_folder(folder / "other" / language, language, seed=10 + seed)
    train = folder / "gl/train"
    (train / "0.flac").write_bytes(b"no audio")
    (train / "1.flac").unlink()
    return folder


def run(*arguments):
    return run_script("run_distil.py", *arguments)


@pytest.fixture(scope="module")
def settings(whisper_dir, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    file = folder / "run.yaml"
    content = {
        "student": str(whisper_dir),
        "teacher": str(whisper_dir),
        "languages": ["gl", "ca"],
        "data": [f"in-domain={data}/{{language}}"],
        "test_data": [f"again={data}/{{language}}", f"other={data}/other/{{language}}"],
        "test_languages": ["en"],
        "score_teacher": True,
        "output_dir": str(folder / "out"),
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "generation_max_length": 16,
        "logging_steps": 1,
        "report_to": "none",
        "use_cpu": True,
    }
    file.write_text(yaml.safe_dump(content))
    return file, folder / "out"


def test_a_run_leaves_experts_and_results_and_can_be_taken_up_again(settings, whisper_dir):
    file, output = settings
    code, printed, errors = run(file)
    assert code == 0, errors[-3000:]
    assert "in-domain train gl: 10 rows; left out: 1 unreadable audio, 1 missing audio file" in printed
    chosen = json.loads((output / "rows.json").read_text())
    assert [source["name"] for source in chosen["sources"]] == ["in-domain", "again", "other"]
    chosen = chosen["rows"]
    assert chosen["in-domain train gl"] == [f"{number}.flac" for number in range(2, 12)]
    assert chosen.keys() >= {"in-domain validation ca", "other test en"}
    results = json.loads((output / "results.json").read_text())
    scores = results["scores"]
    assert scores["before"]["in-domain"].keys() == {"gl", "ca", "en"}
    plain = {language: scores["before"]["in-domain"][language] for language in ("gl", "ca")}
    assert scores["gates closed"]["in-domain"] == plain, "with closed gates it is plain Whisper"
    assert scores["before"]["in-domain"]["en"] == scores["after"]["in-domain"]["en"], "no expert, no change"
    assert scores["before"]["in-domain"] == scores["teacher"]["in-domain"], "the teacher is the student here"
    assert scores["after"]["again"] == scores["after"]["in-domain"], "the same rows under another name"
    assert scores["after"]["other"] != scores["after"]["in-domain"], "other rows"
    assert results["teacher precision"] == "torch.float32"
    records = {(one["data_set"], one["split"], one["language"]): one for one in results["data"]}
    assert records["in-domain", "train", "gl"]["left_out"] == {"unreadable audio": 1, "missing audio file": 1}
    assert scores["after"]["in-domain"]["gl"]["normalizer"] == "marks-2"
    assert scores["after"]["in-domain"]["gl"]["words"] == 8
    for shares in results["expert usage at inference"].values():
        assert shares.keys() == {"encoder", "decoder", "all", "encoder 0", "encoder 1", "decoder 0", "decoder 1"}
        assert all(0 <= share <= 1 for share in shares.values())
    table = [line.split() for line in printed.splitlines()]
    assert [
        "data_set",
        "language",
        "words",
        "unit",
        "normalizer",
        "before",
        "teacher",
        "after",
        "gates",
        "open",
        "gates",
        "closed",
    ] in table
    systems = ("before", "teacher", "after", "gates open", "gates closed")
    wer = [f"{scores[name]['in-domain']['gl']['wer']:.3f}" for name in systems]
    assert ["in-domain", "gl", "8", "words", "marks-2", *wer] in table
    wer = [f"{scores[name]['in-domain']['en']['wer']:.3f}" for name in systems[:3]]
    assert ["in-domain", "en", "8", "words", "marks-2", *wer, "-", "-"] in table, "without an expert there are no gates"
    for picture in ("wer.png", "expert_usage.png"):
        assert (output / picture).read_bytes().startswith(b"\x89PNG")
    card = ModelCard.load(output / "README.md")
    assert card.data.language == ["gl", "ca"] and 'checkpoint = "out"' in card.text
    found = {(result.dataset_name.split(",")[0], result.dataset_config) for result in card.data.eval_results}
    assert found == {(name, language) for name in ("in-domain", "again", "other") for language in ("gl", "ca")}
    names = {path.name for path in output.iterdir()}
    assert {"model.safetensors", "expert.gl.safetensors", "expert.ca.safetensors", "tokenizer.json"} <= names
    model = DistilWhisperForConditionalGeneration.from_pretrained(output, languages=["ca"])
    assert model.config.base_model_name_or_path == str(output), "its own folder, not a path of this machine"

    code, shown, errors = run_command("train", file)
    assert code == 0 and "Training" not in errors, errors[-3000:]
    assert shown.endswith(printed[printed.index("\nWER") :]), "a finished run shows its tables again, by either name"
    assert json.loads((output / "results.json").read_text()) == results

    # A third epoch. As if the run had been killed while it wrote its last checkpoint:
    (output / "checkpoint-13").mkdir()
    (output / "checkpoint-13/expert.gl.safetensors").write_bytes(b"half of")
    (output / "README.md").write_text("my own card")
    code, printed, errors = run(file, "--num_train_epochs", "3")
    assert code == 0, errors[-3000:]
    assert f"Resuming from {output}/checkpoint-12" in errors
    state = json.loads((output / "checkpoint-18/trainer_state.json").read_text())
    epochs = [entry["epoch"] for entry in state["log_history"] if "eval_wer" in entry]
    assert epochs == [1.0, 2.0, 3.0], "the third epoch follows the two of the first run"
    assert json.loads((output / "results.json").read_text())["scores"]["before"] == scores["before"]
    assert (output / "README.md").read_text() == "my own card"
    assert f"{output}/README.md was edited" in printed and "For a new card, delete or move it." in printed

    code, _, errors = run(file, "--gate_budget", "0.25")
    assert code != 0
    assert "holds a run with other settings: gate_budget 0.5, now 0.25" in errors
    code, _, errors = run(file, "--learning_rate", "0.5", "--normalizer", "report")
    assert code != 0
    assert "learning_rate 0.0001, now 0.5; normalizer 'marks', now 'report'" in errors


def test_full_fine_tuning_is_a_flag_and_saves_a_plain_whisper(settings, tmp_path):
    file, _ = settings
    code, printed, errors = run(file, "--method", "finetune", *SHORT, "--output_dir", tmp_path)
    assert code == 0, errors[-3000:]
    assert "after" in printed and "gates" not in printed
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "whisper"


@pytest.mark.slow
def test_lora_is_a_flag_and_keeps_the_best_adapter_alone(settings, whisper_dir, processor, tmp_path):
    file, _ = settings
    flags = ("--method", "lora", *SHORT, "--lora_rank", 2, "--learning_rate", 0.05, "--output_dir", tmp_path)
    code, printed, errors = run(file, *flags)
    assert code == 0, errors[-3000:]
    assert "after" in printed and "gates" not in printed
    code, _, errors = run(file, *flags, "--num_train_epochs", 3)
    assert code == 0 and "Resuming from" in errors, errors[-3000:]
    assert not (tmp_path / "model.safetensors").exists()
    assert not list(tmp_path.rglob("training_args.bin")), "a pickle, which would hold the token for the Hub"
    weights = load_file(tmp_path / "adapter_model.safetensors")
    assert {name.split(".")[-3] for name in weights} == {"fc1", "fc2"}
    assert all(2 in tensor.shape for tensor in weights.values())
    state = json.loads((tmp_path / "checkpoint-6/trainer_state.json").read_text())
    best = load_file(tmp_path / Path(state["best_model_checkpoint"]).name / "adapter_model.safetensors")
    assert weights.keys() == best.keys() and all(torch.equal(weights[name], best[name]) for name in best)

    batch = tiny.make_audio(processor, [1.0]) | {"labels": torch.tensor([[300, 5, 6]])}
    plain, adapted = (WhisperForConditionalGeneration.from_pretrained(name).eval() for name in (whisper_dir, tmp_path))
    with torch.no_grad():
        assert not torch.allclose(plain(**batch).logits, adapted(**batch).logits, atol=1e-3), (
            "it loads with its adapter"
        )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--languages", "xx"], "no language 'xx'. Expected one of"),
        (["--data", "nowhere"], "There is no nowhere/train/metadata.csv or .jsonl. Expected a folder"),
        (["--method", "magic"], "--method must be one of experts, lora, finetune, got 'magic'"),
        (["--test_data", "fleurs:"], "'fleurs:' is not a valid corpus. Expected [name=][reader:]location"),
        (["--test_data", "in-domain=x"], "Two corpora have the same name (in-domain, in-domain)"),
        (["--gate_budget", "7"], "`gate_budget` must be from 0 to 1, got 7"),
    ],
)
def test_what_cannot_run_says_why(settings, tmp_path, flags, message):
    code, _, errors = run(settings[0], "--output_dir", tmp_path, *flags)
    assert code != 0
    assert message in errors


def test_a_misspelt_setting_in_the_file_is_refused(settings, tmp_path):
    content = yaml.safe_load(settings[0].read_text()) | {"gate_bugdet": 0.5}
    (tmp_path / "run.json").write_text(json.dumps(content))
    code, _, errors = run(tmp_path / "run.json")
    assert code != 0
    assert "unknown settings: gate_bugdet" in errors
    (tmp_path / "empty.yaml").write_text("")
    code, _, errors = run(tmp_path / "empty.yaml")
    assert code != 0
    assert "holds no settings" in errors
