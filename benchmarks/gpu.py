"""Every check of a GPU, one after another, each with a time limit: see gpu.sh.

A step is a process. One that fails, or takes too long, does not stop the others. Started again with the same output,
the steps that `--only` names run anew, and the results of the others stay.
"""

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from gpu_plan import Step, steps_of  # noqa: E402
from gpu_summary import summary_of  # noqa: E402
from machine import NO_GPU, commit, machine, versions  # noqa: E402

FAREWELL = 5  # seconds between the request to end and the end by force
OUTCOMES = {0: "passed", 1: "failed", 3: "skipped"}


def main() -> int:
    arguments = parse(sys.argv[1:])
    if arguments.device == "cuda" and machine().startswith(NO_GPU):
        print("nvidia-smi shows no GPU here. For a try without one: --device cpu --try", file=sys.stderr)
        return 2
    return Run(arguments).run()


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for gpu.json, gpu.txt and logs")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="where the models run")
    parser.add_argument("--only", default="", help="regular expression of the steps that are run")
    parser.add_argument("--deadline", type=float, default=460, help="seconds after which nothing runs any more")
    parser.add_argument("--try", dest="brief", action="store_true", help="every step with the least model, for a CPU")
    parser.add_argument("--commit", help="of the code; by default what git says")
    return parser.parse_args(argv)


class Run:
    """The steps, and their results in one file.

    Args:
        arguments: of the command line.
    """

    def __init__(self, arguments: argparse.Namespace):
        self.arguments, self.begun = arguments, time.monotonic()
        self.output = arguments.output.resolve()
        self.content = {
            "commit": arguments.commit or commit(),
            "machine": machine(),
            "device": arguments.device,
            "versions": versions(),
            "python": platform.python_version(),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "is a try": arguments.brief,
            "minutes": 0.0,
            "steps": self.earlier_steps(),
        }

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def earlier_steps(self) -> dict[str, dict]:
        """The results of an earlier start, which a step that runs again replaces."""
        path = self.output / "gpu.json"
        return json.loads(path.read_text(encoding="utf-8"))["steps"] if path.is_file() else {}

    def run(self) -> int:
        """Runs the steps; returns the exit status: 1 where one failed or was not done in time."""
        steps = [step for step in steps_of(self.arguments) if re.search(self.arguments.only, step.name)]
        if not steps:
            names = ", ".join(step.name for step in steps_of(self.arguments))
            print(f"--only {self.arguments.only} names no step. The steps are: {names}", file=sys.stderr)
            return 2
        outcomes = []
        self.output.mkdir(parents=True, exist_ok=True)
        for step in steps:
            left = self.arguments.deadline - self.seconds
            record = {"outcome": "not started", "why": "no time was left", "seconds": 0.0}
            if left > step.least:
                print(f"[{self.seconds:5.0f}] {step.name} ...", flush=True)
                record = self.do(step, min(step.limit, left))
            self.content["steps"][step.name] = record
            self.write()
            outcomes.append(record["outcome"])
            print(f"[{self.seconds:5.0f}] {step.name}: {' '.join(heading(record))}", flush=True)
        print(summary_of(self.content))
        return int(not set(outcomes) <= {"passed", "skipped"})

    def do(self, step: Step, limit: float) -> dict:
        """Runs one step; returns its record, whatever happened."""
        result = self.output / f"{step.name}.json"
        result.unlink(missing_ok=True)
        log = self.output / "logs" / f"{step.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        begun, why = time.monotonic(), ""
        command = [sys.executable, *step.command, "--output", str(result)]
        paths = [str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
        settings = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=file, cwd=HERE.parent, env=settings, start_new_session=True
            )
            try:
                outcome = OUTCOMES.get(process.wait(timeout=limit), "failed")
            except subprocess.TimeoutExpired:
                outcome, why = "stopped", f"it had not ended after {limit:.0f} s"
            finally:
                end(process)
        content = read(result)
        if outcome == "failed" and "summary" not in content:
            why = last_line(log)
        why = why or content.pop("why", "")
        return {
            "outcome": outcome,
            "why": why,
            "seconds": round(time.monotonic() - begun, 1),
            "command": " ".join(map(str, step.command)),
            "result": content,
        }

    def write(self) -> None:
        self.content["minutes"] = round(self.seconds / 60, 2)
        text = json.dumps(self.content, indent=1, ensure_ascii=False)
        # What is published holds no path of the machine.
        for folder, name in ((self.output, "OUTPUT"), (HERE.parent, "."), (Path.home(), "HOME")):
            text = text.replace(str(folder), name)
        for name, content in {"gpu.json": text + "\n", "gpu.txt": summary_of(self.content)}.items():
            # Without the library's `write_atomically`: to import the library would take seconds of the GPU's time.
            partial = self.output / f"{name}.partial"
            partial.write_text(content, encoding="utf-8")
            partial.replace(self.output / name)


def heading(record: dict) -> list[str]:
    parts = [record["outcome"], f"({record['seconds']:.0f} s)"]
    return parts + ([record["why"]] if record["why"] else [])


def read(path: Path) -> dict:
    """What a step has written so far; a step that was stopped may have written nothing."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it printed nothing"


def end(process: subprocess.Popen) -> None:
    """Ends a process with all that it started: a benchmark's systems are processes too."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, ending)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=FAREWELL)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    sys.exit(main())
