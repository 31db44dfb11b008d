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


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed, language in enumerate(("gl", "ca")):
        speech.write_folder(folder / language, language, rows=6, seed=seed)
    return folder


@pytest.fixture(scope="module")
def two_processes(whisper_dir, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    run(TORCHRUN, SCRIPT, whisper_dir, data, folder, 1)
    return folder


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_accumulation(whisper_dir, data, two_processes, tmp_path):
    """Batches of one row, so that a language is often absent from one process, or from both."""
    run((), SCRIPT, whisper_dir, data, tmp_path, 2)
    logs = [log_of(folder) for folder in (tmp_path, two_processes)]
    assert len(logs[0]) == len(logs[1]) == 12
    for one, two in zip(*logs, strict=True):
        assert one.keys() == two.keys()
        for figure in FIGURES:
            if figure in one or figure != "expert_usage_gl":  # where a step has no row of gl
                assert two[figure] == pytest.approx(one[figure], rel=1e-3, abs=1e-5), (figure, one["step"])
        counts = [name for name in one if name.startswith(("utterances_", "steps_"))]
        assert counts and all(one[name] == two[name] for name in counts)
    assert logs[0][0]["kd_loss"] > 0.1 and logs[0][-1]["loss"] < 0.95 * logs[0][0]["loss"], "there is much to get wrong"
    for language in ("gl", "ca"):
        one, two, before = (
            load_file(folder / f"expert.{language}.safetensors")
            for folder in (tmp_path, two_processes, two_processes / "checkpoint-4")
        )
        moved = 0
        for key, tensor in one.items():
            torch.testing.assert_close(two[key], tensor, atol=1e-4, rtol=1e-3, msg=key)
            moved += not torch.allclose(before[key], tensor, atol=2e-4, rtol=2e-3)
        assert moved > len(one) / 2


@pytest.mark.slow
def test_two_processes_resumed_within_an_epoch_end_where_the_unbroken_ones_end(
    whisper_dir, data, two_processes, tmp_path
):
    """An epoch has six steps: the eighth lies in the second, whose order is another than the first's."""
    run(TORCHRUN, SCRIPT, whisper_dir, data, tmp_path, 1, two_processes / "checkpoint-8")
    for language in ("gl", "ca"):
        one, two = (load_file(folder / f"expert.{language}.safetensors") for folder in (two_processes, tmp_path))
        assert all(torch.equal(two[key], tensor) for key, tensor in one.items())


@pytest.mark.slow
def test_a_sharded_backbone_trains_one_language_with_the_gradients_of_a_whole_one(whisper_dir, processor, tmp_path):
    """FSDP of every layer over two processes: what can be tried of it without accelerators."""
    run(TORCHRUN, Path(__file__).parents[1] / "helpers/shard_in_processes.py", whisper_dir)


def test_fsdp_in_the_trainer_is_refused(whisper_dir, processor, data, tmp_path, monkeypatch):
    """Two processes with batches of different languages each got the sum of both languages' gradients."""
    original = DistilWhisperTrainer.create_accelerator_and_postprocess

    def with_fsdp(self):
        original(self)
        self.is_fsdp_enabled = True

    monkeypatch.setattr(DistilWhisperTrainer, "create_accelerator_and_postprocess", with_fsdp)
    with pytest.raises(ValueError, match="Experts are not trained under FSDP"):
        make_trainer(load(whisper_dir), processor, {"gl": data / "gl"}, tmp_path)
