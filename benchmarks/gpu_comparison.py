"""All trainings of the comparison on real prompts on one GPU, several at a time: see gpu_comparison.sh.

The process that starts them imports everything once, never touches the GPU, and forks a process for each job. Started
again with the same folders, it goes on with the jobs that have no record yet, and tries again those that failed.
"""

import argparse
import faulthandler
import io
import json
import multiprocessing
import os
import platform
import re
import sys
import tarfile
import time
import traceback
from dataclasses import replace
from pathlib import Path

STARTED = time.monotonic()  # before the imports, which take their time
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asks for a GPU without a context, which forks badly
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from comparison_data import COMMON, RUNS  # noqa: E402
from comparison_jobs import (  # noqa: E402
    SYSTEMS,
    Job,
    all_jobs,
    candidates,
    chosen_candidate,
    chosen_rate,
    searches,
    settings_of,
)
from machine import commit, machine, versions  # noqa: E402

from modeling_distilwhisper.runs.files import atomic_path, write_atomically  # noqa: E402

PACK_EVERY = 15  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="folder of openai/whisper-base")
    parser.add_argument("prompts", type=Path, help="folder with prompts/<language> and shifted/<language>")
    parser.add_argument("output", type=Path, help="gets results.tar.gz")
    parser.add_argument("--work", type=Path, required=True, help="models, logs and records while it runs")
    parser.add_argument("--parallel", type=int, default=8, help="jobs at a time")
    parser.add_argument("--deadline", type=float, default=1e9, help="seconds from now after which all jobs are stopped")
    parser.add_argument("--last_start", type=float, help="seconds from now after which no job is started")
    parser.add_argument("--commit", help="of the code; by default what git says")
    parser.add_argument("--only", default="", help="regular expression of job names")
    parser.add_argument("--done", type=Path, help="folder that comparison_data.py wrote: its runs are not run again")
    parser.add_argument("--extra", type=json.loads, default={}, help="JSON of settings for all jobs, for a try")
    arguments = parser.parse_args()
    arguments.weights, arguments.prompts = arguments.weights.resolve(), arguments.prompts.resolve()
    arguments.work = arguments.work.resolve()
    arguments.commit = arguments.commit or commit()
    sys.exit(Comparison(arguments).run())


class Comparison:
    """The queue of jobs, those that run, and their records.

    Args:
        arguments: of the command line.
    """

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.records, self.logs = arguments.work / "runs", arguments.work / "logs"
        for folder in (self.records, self.logs, arguments.output):
            folder.mkdir(parents=True, exist_ok=True)
        self.jobs = [job for job in all_jobs() if re.search(arguments.only, job.name)]
        self.published = records_of(arguments.done)
        self.done = {*self.published, *(path.stem for path in self.records.glob("*.json"))}
        self.failed: dict[str, str] = {}
        self.running: dict[str, tuple[Job, multiprocessing.Process, float]] = {}
        self.again: set[str] = set()  # jobs that ran out of memory once
        self.parallel, self.packed = arguments.parallel, 0.0
        self.common = {
            "commit": arguments.commit,
            "machine": machine(),
            "versions": versions(),
            "jobs at a time": arguments.parallel,
            "python": platform.python_version(),
        }

    @property
    def seconds(self) -> float:
        return time.monotonic() - STARTED

    def run(self) -> int:
        """Runs the jobs; returns the exit status: 1 where all smoke jobs failed."""
        context = multiprocessing.get_context("fork" if fork_works() else "spawn")
        self.say(f"{len(self.jobs)} jobs, {len(self.done)} done before, processes by {context.get_start_method()}")
        arguments = self.arguments
        last_start = arguments.last_start or arguments.deadline
        status = 0
        while self.seconds < arguments.deadline:
            self.collect()
            smoke = [job.name for job in self.jobs if job.kind == "smoke"]
            if smoke and all(name in self.failed for name in smoke):
                self.say("EVERY SMOKE JOB FAILED: nothing else is started")
                status = 1
                break
            while self.seconds < last_start and len(self.running) < self.parallel:
                job = self.next_job()
                if job is None:
                    break
                process = context.Process(target=work_on, args=(job, arguments, self.common), name=job.name)
                process.start()
                self.running[job.name] = (job, process, self.seconds)
            if not self.running and (self.seconds >= last_start or self.next_job() is None):
                break
            if self.seconds - self.packed > PACK_EVERY:
                self.pack()
            time.sleep(0.1)
        self.stop()
        self.pack()
        count = len(self.done & {job.name for job in self.jobs})
        self.say(f"end: {count} of {len(self.jobs)} jobs done, {len(self.failed)} failed: {', '.join(self.failed)}")
        return status

    def next_job(self) -> Job | None:
        """The first job that has not begun and has all that it needs, with its learning rate and its teacher."""
        names = {job.name for job in self.jobs}
        settled = self.done | self.failed.keys()
        for job in self.jobs:
            if job.name in settled or job.name in self.running:
                continue
            if job.kind not in ("smoke", "plain") and not {n for n in names if n.startswith("smoke")} <= settled:
                continue
            if job.rate_of is not None:
                if not set(searches(job.rate_of)) & names <= settled:
                    continue
                job = replace(job, settings={**job.settings, "learning_rate": self.rate(job.rate_of)})
            if job.of_chosen:
                if not set(candidates()) & names <= settled or (chosen := self.chosen()) is None:
                    continue
                job = replace(job, settings={**job.settings, **settings_of(chosen)})
            if job.teacher_job is not None:
                teacher = self.arguments.work / "models" / job.teacher_job
                if job.teacher_job not in self.done or not teacher.is_dir():
                    continue
                job = replace(job, settings={**job.settings, "teacher": str(teacher)})
            return job
        return None

    def rate(self, system: str) -> float:
        records = self.records_named(searches(system))
        return chosen_rate(system, {name: one["validation"][-1]["eval_wer"] for name, one in records.items()})

    def chosen(self) -> str | None:
        return chosen_candidate(self.records_named(candidates()))

    def records_named(self, names: list[str]) -> dict[str, dict]:
        """The records of these jobs, of those that have one."""
        records = {name: self.published[name] for name in names if name in self.published}
        paths = {name: self.records / f"{name}.json" for name in names}
        return records | {name: read_record(path) for name, path in paths.items() if path.is_file()}

    def collect(self) -> None:
        for name, (_, process, began) in list(self.running.items()):
            if process.is_alive():
                continue
            process.join()
            del self.running[name]
            took = f"{self.seconds - began:.0f} s"
            if (self.records / f"{name}.json").is_file():
                self.done.add(name)
                self.say(f"done   {name} {took} {headline(self.records / f'{name}.json')}")
            else:
                log = self.logs / f"{name}.log"
                text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
                if "out of memory" in text and name not in self.again:
                    self.again.add(name)
                    self.parallel = max(1, self.parallel - 1)
                    self.say(f"AGAIN  {name}: no GPU memory; from now on {self.parallel} jobs at a time")
                    continue
                self.failed[name] = text
                last = "\n    ".join(text.strip().splitlines()[-12:])
                self.say(f"FAILED {name} {took}, exit status {process.exitcode}\n    {last}")

    def stop(self) -> None:
        for name, (_, process, _) in self.running.items():
            self.say(f"stopped at the deadline: {name}")
            process.kill()
            process.join()
        self.running.clear()

    def pack(self) -> None:
        """Writes all records and the logs of failures to one file, which is complete or the one before."""
        rates = {system: self.rate(system) for system in SYSTEMS if self.done & set(searches(system))}
        with (
            atomic_path(self.arguments.output / "results.tar.gz") as path,
            tarfile.open(path, "w:gz", compresslevel=5) as archive,
        ):
            for record in sorted(self.records.glob("*.json")):
                archive.add(record, f"runs/{record.name}")
            chosen = {"learning rates": rates, "chosen candidate": self.chosen()}
            add_text(archive, COMMON, json.dumps(self.common | chosen, indent=2))
            for name, text in self.failed.items():
                add_text(archive, f"failed/{name}.log", text[-20_000:])
        self.packed = self.seconds

    def say(self, text: str) -> None:
        print(f"[{self.seconds:6.1f}] {text}", flush=True)


def records_of(folder: Path | None) -> dict[str, dict]:
    """The published records by name of job; without a folder, none."""
    return {} if folder is None else {run["job"]: run for run in read_record(folder / RUNS)["runs"]}


def read_record(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def headline(path: Path) -> str:
    record = read_record(path)
    scores = [f"validation {line['eval_wer']:.3f}" for line in record.get("validation", [])[-1:]]
    for row in record.get("counts", []):
        if row["split"] == "test" or record["kind"] == "candidate":
            scores.append(f"{row['language']} {row['domain']} {row['wer']:.3f}")
    return ", ".join(scores)


def work_on(job: Job, arguments: argparse.Namespace, common: dict) -> None:
    """Runs the job and writes its record. For a new process, which it ends."""
    log = os.open(arguments.work / "logs" / f"{job.name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable()
    try:
        from comparison_run import run_job

        record = run_job(job, arguments.weights, arguments.prompts, arguments.work / "models", arguments.extra)
        text = json.dumps({**record, **common}, ensure_ascii=False)
        for folder, name in ((arguments.weights, "WEIGHTS"), (arguments.work, "WORK"), (arguments.prompts, "PROMPTS")):
            text = text.replace(str(folder), name)  # no path of the machine stays in what is published
        write_atomically(arguments.work / "runs" / f"{job.name}.json", text + "\n")
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)  # without the tear-down of a GPU's libraries, which can hang


def fork_works() -> bool:
    """Imports all that jobs need, and tries whether a forked process can use the GPU."""
    import comparison_run  # noqa: F401
    import peft  # noqa: F401
    import torch

    if torch.cuda.is_initialized():
        return False
    if not torch.cuda.is_available():
        return True
    probe = multiprocessing.get_context("fork").Process(target=_use_gpu)
    probe.start()
    probe.join(60)
    if probe.exitcode != 0:
        probe.kill()
    return probe.exitcode == 0


def _use_gpu() -> None:
    import torch

    os._exit(0 if float(torch.ones(8, device="cuda").sum()) == 8 else 1)


if __name__ == "__main__":
    main()
