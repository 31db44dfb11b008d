"""benchmarks/gpu.sh, started as on a GPU, with the least model on the CPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import gpu  # noqa: E402
import gpu_plan  # noqa: E402
import gpu_summary  # noqa: E402


def start(output, *arguments, **settings):
    settings |= {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    command = [ROOT / "benchmarks/gpu.sh", output, "--commit", "abc", *arguments]
    return subprocess.run(list(map(str, command)), env=os.environ | settings, capture_output=True, text=True)


def steps(output):
    text = (output / "gpu.json").read_text()
    assert str(output) not in text and str(ROOT) not in text
    return json.loads(text)["steps"]


def test_a_step_without_time_is_said_to_be_missing_and_keeps_the_others_results(tmp_path):
    earlier = {"waits": {"outcome": "passed", "why": "", "seconds": 1.0, "result": {"summary": ["none at all"]}}}
    (tmp_path / "gpu.json").write_text(json.dumps({"steps": earlier}))
    done = start(tmp_path, "--device", "cpu", "--try", "--only", "compile", "--deadline", "0")
    assert done.returncode == 1 and "compile: not started (0 s) no time was left" in done.stdout
    assert {name: step["outcome"] for name, step in steps(tmp_path).items()} == {
        "waits": "passed",
        "compile": "not started",
    }
    assert "none at all" in (tmp_path / "gpu.txt").read_text()


def test_without_a_gpu_or_with_an_unknown_step_nothing_starts(tmp_path):
    done = start(tmp_path, "--device", "cpu", "--try", "--only", "nonsense")
    assert done.returncode == 2 and "equality, waits, tests" in done.stderr
    if not shutil.which("nvidia-smi"):
        done = start(tmp_path)
        assert done.returncode == 2 and "nvidia-smi shows no GPU here" in done.stderr
    assert not (tmp_path / "gpu.json").exists()


@pytest.fixture
def run(tmp_path):
    arguments = ["--device", "cpu", "--commit", "abc", "--try", str(tmp_path / "output")]
    return gpu.Run(gpu.parse(arguments))


def step(code):
    start = "import sys, time, pathlib; output = pathlib.Path(sys.argv[-1])"
    return gpu_plan.Step("one", ["-c", f"{start}; {code}"], limit=60)


def test_a_step_that_fails_or_hangs_leaves_its_reason_and_what_it_had_found(run):
    failed = run.do(step("raise SystemExit('no such thing')"), 60)
    assert (failed["outcome"], failed["why"]) == ("failed", "no such thing")
    wrong = run.do(step("""output.write_text('{"summary": ["0 hold"]}'); sys.exit(1)"""), 60)
    assert (wrong["outcome"], wrong["why"], wrong["result"]) == ("failed", "", {"summary": ["0 hold"]})
    hanging = run.do(step("""output.write_text('{"summary": ["half"]}'); time.sleep(60)"""), 2)
    assert hanging["outcome"] == "stopped" and hanging["why"] == "it had not ended after 2 s"
    assert hanging["seconds"] < 10
    skipped = run.do(step("""output.write_text('{"why": "it lacks pytest."}'); sys.exit(3)"""), 60)
    assert (skipped["outcome"], skipped["why"]) == ("skipped", "it lacks pytest.")


def test_a_benchmarks_file_is_shown_with_medians_memory_and_what_had_too_little():
    seconds = {"decode, batch 8": [0.1, 0.3, 0.2], "decode, batch 32": []}
    system = {"seconds": seconds, "memory": 3 * 2**30, "task_memory": {"decode, batch 8": 2**30}}
    lines = gpu_summary.measured({"systems": {"bfloat16": {"plain Whisper": system}}})
    assert lines == [
        "bfloat16, decode, batch 8:",
        "  plain Whisper: 200.0 ms, peak 1.00 GiB",
        "bfloat16, decode, batch 32:",
        "  plain Whisper: too little memory, peak 3.00 GiB",
    ]


def test_all_steps_fit_into_eight_minutes_and_the_deadline_ends_before():
    arguments = gpu.parse(["output"])
    assert arguments.deadline + 2 * gpu.FAREWELL < 480
    names = [one.name for one in gpu_plan.steps_of(arguments)]
    assert names[0] == "equality" and len(names) == len(set(names))


@pytest.mark.slow
def test_every_step_runs_on_the_least_model(tmp_path):
    done = start(tmp_path, "--device", "cpu", "--try", "--deadline", "3000")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = steps(tmp_path)
    assert {step["outcome"] for step in found.values()} == {"passed"}
    assert all(check["holds"] for check in found["equality"]["result"]["checks"])
    decode = [one for one in found["waits"]["result"]["checks"] if one["pass"] == "decode"]
    assert {one["system"] for one in decode} == {"plain Whisper", "one language", "eight in every batch"}
    assert all(check["graph breaks"] == 0 for check in found["compile"]["result"]["checks"])
