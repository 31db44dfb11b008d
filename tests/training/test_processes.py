"""Two processes train as one does with twice the accumulation: losses, gates and weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import speech
from helpers.training import load, make_trainer
from safetensors.torch import load_file

from modeling_distilwhisper.training.trainer import DistilWhisperTrainer

SCRIPT = Path(__file__).parents[1] / "helpers/train_in_processes.py"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
FIGURES = (
    "loss",
    "grad_norm",
    "ce_loss",
    "kd_loss",
    "kd_beta",
    "gate_loss",
    "encoder_expert_usage",
    "decoder_expert_usage",
    "expert_usage_gl",
)


# What depends on the clock; Transformers' epoch, a share of the batches of one process; its count of operations, to
# which padding rows add theirs; the threads of each process, of which `torchrun` allows one.
UNTIMED = ("runtime", "per_second", "time", "epoch", "total_flos", "threads")


def run(launcher, script, *arguments):
    done = subprocess.run(
        [sys.executable, *launcher, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]


def log_of(folder):
    history = json.loads((folder / "state.json").read_text())["log_history"]
    return [entry for entry in history if "loss" in entry]


def figures_of(folder, process=0):
    return json.loads((folder / f"figures.{process}.json").read_text())


def untimed(figures):
    """Every figure by its path, but for those that must differ."""
    if isinstance(figures, dict):
        parts = figures.items()
    elif isinstance(figures, list):
        parts = enumerate(figures)
    else:
        return {"": figures}
    return {
        f"{name}/{path}": value
        for name, part in parts
        if not any(word in str(name) for word in UNTIMED)
        for path, value in untimed(part).items()
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """13 rows to train on: an odd number, so that the last step of an epoch has a row for one of two processes."""
    folder = tmp_path_factory.mktemp("data")
    for seed, (language, rows) in enumerate({"gl": 7, "ca": 6}.items()):
        speech.write_folder(folder / language, language, rows=rows, seed=seed)
    return folder


@pytest.fixture(scope="module")
def two(whisper_dir, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    run((*TORCHRUN, "--redirects=3", f"--log-dir={folder / 'printed'}"), SCRIPT, whisper_dir, data, folder, 1)
    return folder


@pytest.fixture(scope="module")
def one(whisper_dir, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    run((), SCRIPT, whisper_dir, data, folder, 2)
    return folder


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_accumulation(one, two):
    """Batches of one row, so that a language is often absent from one process, or from both."""
    logs = [log_of(folder) for folder in (one, two)]
    assert len(logs[0]) == len(logs[1]) == 14
    for single, double in zip(*logs, strict=True):
        assert single.keys() == double.keys()
        for figure in FIGURES:
            if figure in single or figure != "expert_usage_gl":  # where a step has no row of gl
                assert double[figure] == pytest.approx(single[figure], rel=1e-3, abs=1e-5), (figure, single["step"])
        counts = [name for name in single if name.startswith(("utterances_", "steps_"))]
        assert counts and all(single[name] == double[name] for name in counts)
    last = logs[1][-1]
    assert last["utterances_gl"] + last["utterances_ca"] == 2 * 13, "no row counts twice in an epoch"
    losses = [entry["loss"] for entry in logs[0]]
    assert logs[0][0]["kd_loss"] > 0.1 and min(losses[7:]) < 0.95 * losses[0], "there is much to get wrong"
    for language in ("gl", "ca"):
        single, double, before = (
            load_file(folder / f"expert.{language}.safetensors") for folder in (one, two, two / "checkpoint-4")
        )
        moved = 0
        for key, tensor in single.items():
            torch.testing.assert_close(double[key], tensor, atol=1e-4, rtol=1e-3, msg=key)
            moved += not torch.allclose(before[key], tensor, atol=2e-4, rtol=2e-3)
        assert moved > len(single) / 2


@pytest.mark.slow
def test_rows_are_scored_once_however_many_processes_score_them(one, two):
    """Batches are filled up with rows from the start, so that all processes have as many: these are no rows."""
    figures = figures_of(two)
    for size, rates in figures["scores"]["test"].items():
        assert rates["utterances"] == int(size)
    assert figures["eval"]["eval_utterances"] == 7
    assert figures["eval"]["eval_utterances_gl"] == 4 and figures["eval"]["eval_utterances_ca"] == 3
    assert 0.01 < figures["usage"]["1"]["all"] < 0.99


@pytest.mark.slow
def test_every_figure_of_two_processes_is_that_of_one(one, two):
    """Scores, intervals, losses, gates by layer, the log, the best checkpoint, and what training returns."""
    single, double = untimed(figures_of(one)), untimed(figures_of(two))
    assert single.keys() == double.keys() and len(single) > 130
    for path, value in single.items():
        is_number = isinstance(value, float | int)
        assert double[path] == (pytest.approx(value, rel=1e-3, abs=1e-4) if is_number else value), path


@pytest.mark.slow
def test_throughput_counts_the_rows_of_all_processes_once(two):
    figures = figures_of(two)
    for metrics, prefix, rows in ((figures["trained"], "train", 26), (figures["eval"], "eval", 7)):
        seconds = metrics[f"{prefix}_runtime"]
        assert metrics[f"{prefix}_samples_per_second"] * seconds == pytest.approx(rows, rel=0.05)


@pytest.mark.slow
def test_all_processes_know_the_same_figures(two):
    assert untimed(figures_of(two, 1)) == untimed(figures_of(two, 0))


@pytest.mark.slow
def test_what_people_read_is_printed_by_one_process(two):
    """Lines of the log, bars and warnings: those of the other process are the same."""
    printed = ["", ""]
    for process in (0, 1):
        for path in two.glob(f"printed/*/*/{process}/std*.log"):
            printed[process] += path.read_text()
    lines = [line for line in printed[1].splitlines() if line.strip() and "torch" not in line and "[W" not in line]
    assert "A checkpoint of this run takes" in printed[0] and "14/14 [" in printed[0]
    assert lines == []


@pytest.mark.slow
def test_two_processes_resumed_within_an_epoch_end_where_the_unbroken_ones_end(whisper_dir, data, two, tmp_path):
    """An epoch has seven steps: the eighth lies in the second, whose order is another than the first's."""
    run(TORCHRUN, SCRIPT, whisper_dir, data, tmp_path, 1, two / "checkpoint-8")
    for language in ("gl", "ca"):
        unbroken, resumed = (load_file(folder / f"expert.{language}.safetensors") for folder in (two, tmp_path))
        assert all(torch.equal(resumed[key], tensor) for key, tensor in unbroken.items())


@pytest.mark.slow
def test_a_command_in_two_processes_has_the_results_of_one(whisper_dir, data, tmp_path):
    """Six rows were reported as a hundred utterances: of the test sets, of each language, and in the usage of gates."""
    results, printed = {}, {}
    for name, launcher, accumulation in (("one", (), 2), ("two", TORCHRUN, 1)):
        command = [sys.executable, *launcher, "-m", "modeling_distilwhisper", "train", "--student", whisper_dir]
        command += ["--teacher", whisper_dir, "--languages", "gl", "ca", "--data", f"in={data}/{{language}}"]
        command += ["--output_dir", tmp_path / name, "--use_cpu", "true", "--report_to", "none", "--max_rows", 3]
        command += ["--per_device_train_batch_size", 2, "--per_device_eval_batch_size", 50, "--num_train_epochs", 1]
        command += ["--gradient_accumulation_steps", accumulation, "--generation_max_length", 8, "--skip_gate_prob", 0]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ)
        assert done.returncode == 0, done.stderr[-3000:]
        results[name] = json.loads((tmp_path / name / "results.json").read_text())
        printed[name] = done.stdout + done.stderr
    single, double = (untimed(results[name] | {"settings": {}}) for name in ("one", "two"))
    assert single.keys() == double.keys()
    for path, value in single.items():
        is_number = isinstance(value, float | int)
        assert double[path] == (pytest.approx(value, rel=1e-2, abs=1e-3) if is_number else value), path
    for rates in results["two"]["scores"]["after"]["in"].values():
        assert rates["utterances"] == 3
    for line in ("WER", "All of it:", "in train gl", "A checkpoint of this run takes"):
        assert printed["two"].count(line) == printed["one"].count(line), line


@pytest.mark.slow
def test_a_sharded_backbone_trains_one_language_with_the_gradients_of_a_whole_one(whisper_dir, processor, tmp_path):
    """FSDP of every layer over two processes: what can be tried of it without accelerators."""
    run(TORCHRUN, Path(__file__).parents[1] / "helpers/shard_in_processes.py", whisper_dir)


def test_processes_that_would_wait_for_each_other_for_ever_are_refused(whisper_dir, processor, data, tmp_path):
    trainer = make_trainer(load(whisper_dir), processor, {"gl": data / "gl"}, tmp_path)
    trainer.accelerator.state._shared_state["num_processes"] = 2
    try:
        trainer.accelerator.even_batches = False
        with pytest.raises(ValueError, match="even_batches must be true, got false"):
            trainer.get_train_dataloader()
    finally:
        trainer.accelerator.state._shared_state["num_processes"] = 1


def test_fsdp_in_the_trainer_is_refused(whisper_dir, processor, data, tmp_path, monkeypatch):
    """Two processes with batches of different languages each got the sum of both languages' gradients."""
    original = DistilWhisperTrainer.create_accelerator_and_postprocess

    def with_fsdp(self):
        original(self)
        self.is_fsdp_enabled = True

    monkeypatch.setattr(DistilWhisperTrainer, "create_accelerator_and_postprocess", with_fsdp)
    with pytest.raises(ValueError, match="Experts are not trained under FSDP"):
        make_trainer(load(whisper_dir), processor, {"gl": data / "gl"}, tmp_path)
