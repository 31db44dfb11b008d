"""This version reads what an earlier one wrote: models, experts, caches, runs, evaluations and settings.

`tests/files_of_before/make.py` made the files with the last version whose modules lay flat in one folder.
"""

import json
from pathlib import Path

import pytest
import torch
from helpers import before
from helpers.remote import run_without_the_package
from helpers.scripts import run_command
from safetensors.torch import load_file
from transformers import WhisperProcessor

from modeling_distilwhisper import DistilWhisperForConditionalGeneration

RUN = Path("comparison/DistilWhisper")


@pytest.fixture
def files(tmp_path):
    return before.unpack(tmp_path / "files")


def name_the_default_of_before(settings: Path) -> None:
    """As the change log says: a run goes on under the default that it was begun with, which its settings leave out."""
    with settings.open("a") as file:
        file.write("skip_gate_prob: 0.2\n")


def start(name: str, *arguments: str, cwd: Path) -> tuple[str, str]:
    """Output and errors of a command."""
    code, printed, errors = run_command(name, *arguments, cwd=cwd, PYTHONPATH=str(before.ROOT))
    assert code == 0, errors[-3000:]
    return printed, errors


def require_equal(actual: torch.Tensor, stored: torch.Tensor, files: Path) -> None:
    """Bit for bit on the kind of CPU that wrote the files; on another one sums are rounded elsewhere."""
    made = json.loads((files / "made.json").read_text())
    if made == {"cpu": before.cpu(), "torch": torch.__version__}:
        assert torch.equal(actual, stored)
    torch.testing.assert_close(actual, stored, rtol=1e-4, atol=1e-4)


def logits_of(model, files: Path) -> torch.Tensor:
    with torch.no_grad():
        batch = before.inputs(WhisperProcessor.from_pretrained(files / "student"))
        return model(**batch).logits[..., : before.LETTERS]


def test_a_checkpoint_of_before_computes_what_it_computed(files):
    model = DistilWhisperForConditionalGeneration.from_pretrained(files / "checkpoint").eval()
    stored = load_file(files / "logits.safetensors")["checkpoint"]
    assert model.config.languages == ["gl", "ca"]
    require_equal(logits_of(model, files), stored, files)


@pytest.mark.parametrize("form", ["full", "low-rank", "int8"])
def test_experts_of_before_compute_what_they_computed(files, form):
    model = DistilWhisperForConditionalGeneration.from_pretrained(files / "checkpoint", languages=["gl"]).eval()
    model.load_experts(files / "experts" / form, "ca")
    stored = load_file(files / "logits.safetensors")["checkpoint" if form == "full" else form]
    require_equal(logits_of(model, files), stored, files)


@pytest.mark.slow
def test_the_code_that_travelled_with_a_checkpoint_of_before_still_runs_without_the_package(files, tmp_path):
    script = """
import torch
from transformers import AutoModelForSpeechSeq2Seq
model = AutoModelForSpeechSeq2Seq.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
with torch.no_grad():
    torch.save(model(**torch.load(sys.argv[2])).logits, sys.argv[3])
print(model.config.languages)
"""
    torch.save(before.inputs(WhisperProcessor.from_pretrained(files / "student")), tmp_path / "inputs.pt")
    paths = (files / "checkpoint", tmp_path / "inputs.pt", tmp_path / "logits.pt")
    assert run_without_the_package(script, tmp_path, *paths, OMP_NUM_THREADS="1")[-1] == "['gl', 'ca']"
    logits = torch.load(tmp_path / "logits.pt")[..., : before.LETTERS]
    require_equal(logits, load_file(files / "logits.safetensors")["checkpoint"], files)


@pytest.mark.slow
def test_a_finished_comparison_of_before_is_reported_and_nothing_is_made_again(files):
    """Neither trained nor transcribed: planted transcripts stay, and the numbers are those of before."""
    scores, transcripts = files / "comparison/scores", sorted(files.glob("comparison/scores/*/*/*.jsonl"))
    for path in transcripts:
        records = [json.loads(line) | {"hypothesis": "mo mo"} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    kept = {path: path.read_bytes() for path in [*transcripts, files / RUN / "expert.gl.safetensors"]}
    results = json.loads((files / RUN / "results.json").read_text())
    name_the_default_of_before(files / "shared.yaml")
    printed, _ = start("compare", "comparison.yaml", cwd=files)
    assert {path: path.read_bytes() for path in kept} == kept and len(transcripts) == 2
    assert json.loads((files / RUN / "results.json").read_text())["scores"] == results["scores"]
    wer = {row["system"]: row["wer"] for row in json.loads((scores / "summary.json").read_text())["scores"]}
    references = [json.loads(line)["reference"].split() for line in kept[transcripts[0]].decode().splitlines()]
    wrong = sum(word != "mo" for reference in references for word in reference)
    assert wer == {"student": wrong / 8, "DistilWhisper": wrong / 8}, "scored from the transcripts that are there"
    assert f"{results['openness at inference']['gl']['decoder']:.2f}" in printed, "the key of before is read"


@pytest.mark.slow
def test_an_interrupted_run_of_before_goes_on_to_the_same_experts(files):
    finished = load_file(files / RUN / "expert.gl.safetensors")
    for name in ("results.json", "expert.gl.safetensors", "checkpoint-4/trainer_state.json"):
        (files / RUN / name).unlink()
    name_the_default_of_before(files / RUN.with_suffix(".yaml"))
    _, errors = start("train", str(RUN.with_suffix(".yaml")), cwd=files)
    assert f"from {RUN}/checkpoint-2" in errors
    experts = load_file(files / RUN / "expert.gl.safetensors")
    assert experts.keys() == finished.keys()
    for name, tensor in experts.items():
        require_equal(tensor, finished[name], files)


def test_old_names_in_a_file_of_settings_are_read_with_a_warning_that_names_the_new_ones(files):
    settings = (files / "comparison/scores.yaml").read_text()
    assert "dtype: float32" in settings and "normalizer: paper" in settings
    _, errors = start("eval", "comparison/scores.yaml", cwd=files)
    (warning,) = [line for line in errors.splitlines() if line.startswith("comparison/scores.yaml")]
    assert all(name in warning for name in ("dtype", "precision", "paper", "report"))
    scores = json.loads((files / "comparison/scores/summary.json").read_text())["scores"]
    assert {row["normalizer"] for row in scores} == {"report"}


def test_old_flags_are_read_with_a_warning_and_new_folders_hold_the_new_names(files):
    command = ["--models", "student=student", "--data", "recordings/{language}", "--languages", "gl", "--max_rows", "1"]
    _, errors = start("eval", *command, "--dtype", "float32", "--output_dir", "new-scores", cwd=files)
    assert sum("dtype" in line and "precision" in line for line in errors.splitlines()) == 1, errors[-2000:]
    settings = json.loads((files / "new-scores/student/recordings/settings.json").read_text())["run"]
    assert settings["precision"] == "float32" and "dtype" not in settings


@pytest.mark.parametrize("name", ["paper", "report"])
def test_a_finished_run_of_before_is_reported_by_either_name_of_its_normaliser(files, name):
    content = json.loads((files / RUN / "results.json").read_text())
    written = (files / RUN / "results.json").read_bytes()
    name_the_default_of_before(files / RUN.with_suffix(".yaml"))
    printed, _ = start("train", str(RUN.with_suffix(".yaml")), "--normalizer", name, cwd=files)
    assert (files / RUN / "results.json").read_bytes() == written, "nothing was trained"
    share = content["openness at inference"]["gl"]["decoder"]
    assert f"{share:.2f}" in printed and content["example"]["said"] in printed
