"""The comparison of benchmarks/, run as people run it, with small recordings and a small Whisper."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from helpers import speech

ROOT = Path(__file__).parents[2]
SMALLER = {"max_rows": 2, "max_steps": 1, "generation_max_length": 12}


def compare(place: Path, jobs: str, **settings) -> str:
    arguments = ["--parallel", "1", "--only", jobs, "--extra", json.dumps(SMALLER | settings), "--commit", "abc"]
    command = [ROOT / "benchmarks/gpu_comparison.sh", ROOT / "examples/quickstart/student", place, place / "output"]
    environment = os.environ | {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_jobs_leave_records_for_the_tables_and_a_second_start_makes_only_what_is_missing(tmp_path):
    for language in ("ru", "fr", "es"):
        speech.write_folder(tmp_path / "prompts" / language, language, rows=2)
    for split in ("test", "validation"):
        folder = tmp_path / "shifted/ru" / split
        shutil.copytree(tmp_path / "prompts/ru" / split, folder / "noise-5")
        speech.write_metadata(folder, [[f"noise-5/{number}.flac", "la ri", "ru", ""] for number in range(4)])
        (folder / "noise-5/metadata.csv").unlink()

    printed = compare(tmp_path, r"smoke\.DistilWhisper")
    assert "1 of 1 jobs done, 0 failed" in printed
    first = tmp_path / "output/work/runs/smoke.DistilWhisper.json"
    written = first.stat().st_mtime_ns
    printed = compare(tmp_path, r"smoke\.DistilWhisper|plain\.ru|search.LoRA-32.0.0002")
    assert "1 done before" in printed and "3 of 3 jobs done, 0 failed" in printed
    assert first.stat().st_mtime_ns == written, "it was not run again"
    assert not list((tmp_path / "output/work/models").rglob("*.safetensors")), "no job needs these models"

    candidate = "candidate.rank-128-augmented-average.ru.0"
    printed = compare(tmp_path, candidate, max_steps=3, save_steps=1, expert_rank=8)
    assert "1 of 1 jobs done, 0 failed" in printed
    record = json.loads((tmp_path / f"output/work/runs/{candidate}.json").read_text())
    assert {row["split"] for row in record["counts"]} == {"validation"}, "a candidate never meets a test recording"
    assert record["settings"]["averaged"] == 4 and record["settings"]["augment"]

    with tarfile.open(tmp_path / "output/results.tar.gz") as archive:
        content = b"".join(archive.extractfile(entry).read() for entry in archive.getmembers())
    assert str(tmp_path).encode() not in content and b"WEIGHTS" in content
    for source in (tmp_path / "output/results.tar.gz", tmp_path / "published"):
        tables = python(ROOT / "benchmarks/comparison_tables.py", source)
        assert "| plain | 1 | " in tables and "| LoRA 32 | **0.0002: " in tables
        python(ROOT / "benchmarks/comparison_data.py", tmp_path / "output/results.tar.gz", tmp_path / "published")


def test_a_source_that_searched_no_learning_rates_keeps_those_of_the_others(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import comparison_data

    searched = {"commit": "a", "learning rates": {"LoRA 32": 1e-3}, "chosen candidate": "rank 128"}
    comparison_data.publish(searched, [], tmp_path / "searched")
    comparison_data.publish({"commit": "b", "learning rates": {}, "chosen candidate": None}, [], tmp_path / "later")
    common, _ = comparison_data.together([tmp_path / "searched", tmp_path / "later"])
    assert common == searched | {"commit": "b"}


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import comparison_jobs

    return comparison_jobs


def candidate_records(jobs, wers: dict[str, tuple[float, ...]]) -> dict[str, dict]:
    """Of each candidate its WER on clean recordings and under each shift, the same in all languages."""
    records = {}
    for name, (clean, *shifted) in wers.items():
        rows = [{"domain": "clean", "wer": clean}]
        rows += [{"domain": f"shift {number}", "wer": wer} for number, wer in enumerate(shifted)]
        records |= {job.name: {"counts": rows} for job in jobs.all_jobs() if job.system == name}
    return records


def test_the_candidate_is_chosen_by_clean_and_shifted_validation_recordings_alike(jobs):
    """The shifts are more in number, and would outvote the clean recordings."""
    first, second, third = list(jobs.CANDIDATES)[:3]
    wers = {first: (0.10, 0.30, 0.30, 0.30), second: (0.20, 0.24, 0.24, 0.24), third: (0.05, 0.90, 0.90, 0.90)}
    records = candidate_records(jobs, wers)
    assert jobs.chosen_candidate(records) == first, "0.2 against 0.22 and 0.475"
    missing = next(job.name for job in jobs.all_jobs() if job.system == first and job.language == "es")
    without_a_language = {name: record for name, record in records.items() if name != missing}
    assert jobs.chosen_candidate(without_a_language) == second, "the first has not run in all languages"
    assert jobs.chosen_candidate({}) is None


def test_published_runs_are_not_run_again_and_what_is_chosen_waits_for_all_candidates(jobs, tmp_path):
    import argparse

    from gpu_comparison import Comparison

    published = tmp_path / "published"
    published.mkdir()
    names = [job.name for job in jobs.all_jobs() if job.kind in ("smoke", "plain", "search")]
    records = [{"job": name, "validation": [{"eval_wer": 0.5}]} for name in names]
    (published / "runs.json").write_text(json.dumps({"common": {}, "runs": records}), encoding="utf-8")
    places = {"work": tmp_path / "work", "output": tmp_path / "out", "done": published}
    comparison = Comparison(
        argparse.Namespace(**places, only="smoke|plain|search|candidate|chosen", parallel=1, commit="")
    )
    seen = []
    while (job := comparison.next_job()) is not None:
        seen.append(job)
        rows = [{"domain": domain, "wer": 0.1 if "budget-1" in job.name else 0.2} for domain in ("clean", "slow")]
        (comparison.records / f"{job.name}.json").write_text(json.dumps({"counts": rows}), encoding="utf-8")
        comparison.done.add(job.name)
    assert not {job.name for job in seen} & set(names)
    chosen = [job for job in seen if job.system == jobs.CHOSEN]
    assert len(chosen) == len(jobs.LANGUAGES) * len(jobs.SEEDS)
    before = seen[: seen.index(chosen[0])]
    assert set(jobs.candidates()) <= {job.name for job in before}
    for job in chosen:
        assert job.settings["gate_budget"] == 1 and job.settings["languages"] == [job.language]


def test_averaged_experts_are_the_mean_of_the_checkpoints_and_the_backbone_stays(model, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from comparison_run import average_experts

    before = {name: value.clone() for name, value in model.state_dict().items()}
    checkpoints = [tmp_path / f"checkpoint-{step}" for step in (5, 10)]
    for factor, checkpoint in zip((2, 4), checkpoints, strict=True):
        for name, value in model.state_dict().items():
            if ".experts." in name:
                value.copy_(before[name] * factor)
        model.save_experts(checkpoint)
    average_experts(model, checkpoints)
    for name, value in model.state_dict().items():
        expected = before[name] * 3 if ".experts." in name else before[name]
        assert torch.allclose(value, expected, rtol=1e-6), name


def python(*command) -> str:
    settings = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *map(str, command)], env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
