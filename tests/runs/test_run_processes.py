"""Processes of one run: fewer than were asked for are noticed, and a single one waits for nobody."""

import os
import subprocess
import sys

import pytest
import torch
from helpers.scripts import run_script

from modeling_distilwhisper.runs.processes import (
    SIZES,
    notice_lost_processes,
    number_of_processes,
    own_device,
    share,
)


@pytest.fixture
def launched(monkeypatch):
    """Sets the variables by which a launcher tells a process who it is."""

    def launch(index: int, processes: int, local: int | None = None) -> None:
        variables = {"RANK": index, "WORLD_SIZE": processes, "LOCAL_RANK": index if local is None else local}
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return launch


@pytest.mark.parametrize("processes", [1, 2, 3, 12])
def test_each_item_is_in_one_share_and_shares_of_sorted_work_are_about_equal(launched, processes):
    shares = []
    for index in range(processes):
        launched(index, processes)
        shares.append(share(range(10)))
    assert sorted(item for items in shares for item in items) == [*range(10)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert max(sum(items) for items in shares) - min(sum(items) for items in shares) < 10


def test_one_process_needs_no_distributed_torch(tmp_path):
    """Also one that `torchrun --nproc_per_node=1` started. A group would keep the GPU of a later training from it."""
    script = tmp_path / "alone.py"
    script.write_text(
        "import torch\n"
        "from accelerate import PartialState\n"
        "from modeling_distilwhisper.runs.processes import begin, gather, on_main, require_same, share\n"
        f"begin({str(tmp_path / 'run')!r})\n"
        "require_same('rows', [1])\n"
        "assert (share('ab'), gather([1]), on_main(lambda x: x + 1, 1)) == (['a', 'b'], [1], 2)\n"
        "assert not torch.distributed.is_initialized() and not PartialState._shared_state\n"
    )
    for variables in ({}, {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "1"}):
        code, _, errors = run_script(script, **variables)
        assert code == 0, errors[-3000:]
    assert not (tmp_path / "run").exists()


def test_variables_of_a_cluster_make_no_process_wait_for_others(monkeypatch):
    """A pod is told of its pods; they work together when `torchrun` starts them."""
    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert number_of_processes() == 1 and share("ab") == ["a", "b"]


def test_each_process_of_a_machine_takes_its_own_gpu(launched, monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert own_device("cuda") == "cuda"
    launched(5, 8, local=1)
    assert [own_device(name) for name in ("cuda", "cuda:3", "cpu", "mps")] == ["cuda:1", "cuda:3", "cpu", "mps"]
    launched(6, 8, local=6)
    assert own_device("cuda") == "cuda:2", "more processes than GPUs share them"
    assert taken == [1, 2]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert own_device("cuda") == "cuda:0", "the parser says that there is none"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ACCELERATE_USE_CPU": "True", "MASTER_PORT": "29500"}, "`accelerate launch` was to start several processes"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_SIZE is 2, but this process works alone"),
        ({"ACCELERATE_USE_CPU": "True"}, None),
        ({"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}, None),  # as clusters set them
        ({"WORLD_SIZE": "1"}, None),
        ({"WORLD_SIZE": "several"}, None),
    ],
)
def test_a_launcher_that_starts_fewer_processes_than_it_was_told_is_noticed(monkeypatch, environment, said):
    """`accelerate launch --cpu --num_processes 2` starts one, which trained as if it were all there is."""
    for name in (*SIZES, "ACCELERATE_USE_CPU", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    warning = notice_lost_processes(1)
    assert (warning is None) if said is None else (said in warning and "torchrun --nproc_per_node" in warning)
    assert notice_lost_processes(2) is None


@pytest.mark.slow
def test_accelerate_says_how_many_processes_it_started(whisper_dir, tmp_path):
    """What the notice rests on: the variables that this version of `accelerate launch` sets."""
    script = tmp_path / "script.py"
    script.write_text(
        "from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments as Arguments\n"
        f"print(Arguments({str(tmp_path)!r}, report_to='none').world_size)\n"
    )
    launcher = (sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", str(script))
    done = subprocess.run(launcher, capture_output=True, text=True, env=os.environ)
    assert done.stdout.split() == ["1"] and "`accelerate launch` was to start several processes" in done.stderr
