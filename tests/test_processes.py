"""Two processes train as one does with twice the accumulation: losses, gates and weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import speech
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).parent / "train_in_processes.py"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def train(launcher, *arguments):
    done = subprocess.run([sys.executable, *launcher, SCRIPT, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_train_as_one_with_twice_the_accumulation(whisper_dir, tmp_path):
    """Batches of one row, so that a language is often absent from one process, or from both."""
    for seed, language in enumerate(("gl", "ca")):
        speech.write_folder(tmp_path / "data" / language, language, rows=6, seed=seed)
    train(TORCHRUN, whisper_dir, tmp_path / "data", tmp_path / "two", 1, 1)
    train((), whisper_dir, tmp_path / "data", tmp_path / "one", 1, 2)
    logs = {}
    for name in ("one", "two"):
        history = json.loads((tmp_path / name / "state.json").read_text())["log_history"]
        logs[name] = [entry for entry in history if "loss" in entry]
    assert len(logs["one"]) == len(logs["two"]) == 12
    for one, two in zip(logs["one"], logs["two"], strict=True):
        for part in ("ce_loss", "kd_loss", "gate_loss", "encoder_openness", "decoder_openness"):
            assert two[part] == pytest.approx(one[part], rel=1e-3, abs=1e-5), (part, one["step"])
    for language in ("gl", "ca"):
        one, two = (load_file(tmp_path / name / f"expert.{language}.safetensors") for name in ("one", "two"))
        for key, tensor in one.items():
            torch.testing.assert_close(two[key], tensor, atol=1e-4, rtol=1e-3, msg=key)
