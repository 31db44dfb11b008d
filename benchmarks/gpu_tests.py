"""A step of gpu.sh: tests of the default suite, with the tiny models on the GPU.

`DISTILWHISPER_TEST_DEVICE` puts them there (tests/conftest.py). Tests that need a library which is not installed are
skipped, and said to be.
"""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from gpu_results import Results, step_parser

# What computes: routing, equality to Whisper, generation, losses, gates, training. Files and the Hub know no device.
FILES = [
    *(f"tests/model/test_{name}.py" for name in ("routing", "routing_in_training", "equal_to_whisper")),
    *(f"tests/model/test_{name}.py" for name in ("mixed_batches", "life_of_a_token", "students", "checkpoints")),
    *(f"tests/training/test_{name}.py" for name in ("losses", "top_logits", "kd_weight", "teacher", "lent_machines")),
    *(f"tests/training/test_{name}.py" for name in ("training", "half_precision", "finite_steps")),
]
PROCESSES = 6
ABSENT = re.compile(r"No module named '(\w+)|import of (\w+) halted")


def main() -> int:
    parser = step_parser(__doc__)
    parser.add_argument("--files", nargs="+", default=FILES)
    arguments = parser.parse_args()
    results = Results(arguments.output)
    if importlib.util.find_spec("pytest") is None:
        results.skip("pytest is not installed here.")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        done = subprocess.run(command_of(arguments.files, report), env=environment(arguments.device), check=False)
        if not report.is_file():
            results.content["why"] = f"pytest ended with status {done.returncode} and without a report"
            results.write()
            return 1
        for file, outcomes in by_file(report).items():
            counts = Counter(outcome for _, outcome, _ in outcomes)
            others = [{"test": test, "outcome": outcome, "why": why} for test, outcome, why in outcomes if why]
            said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
            results.add({"file": file, **counts, "not passed": others}, f"{file}: {said}")
    for check in results.content["checks"]:
        lines = [f"{other['outcome']}: {other['test']}: {other['why']}" for other in check["not passed"]]
        results.content["summary"] += [line[:240] for line in lines if not line.startswith("skipped")]
    skipped = Counter(
        other["why"]
        for check in results.content["checks"]
        for other in check["not passed"]
        if other["outcome"] == "skipped"
    )
    results.content["summary"] += [f"{count} skipped: {why[:200]}" for why, count in skipped.items()]
    results.write()
    return int(any("failed" in check for check in results.content["checks"]))


def command_of(files: list[str], report: Path) -> list[str]:
    # Each test is named as it ends, so that the log of a run that is stopped says which ones failed.
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command += ["--continue-on-collection-errors", "-o", "junit_family=xunit1"]
    if len(files) > 1 and importlib.util.find_spec("xdist"):
        command += ["-n", str(min(PROCESSES, os.cpu_count() or 1)), "--dist", "worksteal"]
    return command + files


def environment(device: str) -> dict[str, str]:
    paths = ["tests", os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "DISTILWHISPER_TEST_DEVICE": device,
        "DISTILWHISPER_WITHOUT_EXTRAS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def by_file(report: Path) -> dict[str, list[tuple[str, str, str]]]:
    """By test file: name, outcome and reason of each test."""
    files: dict[str, list[tuple[str, str, str]]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        outcome, why = "passed", ""
        for kind, name in {"failure": "failed", "error": "failed", "skipped": "skipped"}.items():
            if (element := case.find(kind)) is not None:
                text = f"{element.get('message') or ''} {element.text or ''}"
                outcome, why = name, " ".join(text.split())[:400]
                if (absent := ABSENT.search(text)) and find_spec_of(library := absent[1] or absent[2]) is None:
                    outcome, why = "skipped", f"{library} is not installed here"
        file = case.get("file") or (case.get("classname") or case.get("name") or "").replace(".", "/")
        files.setdefault(file, []).append((case.get("name", ""), outcome, why))
    return files


def find_spec_of(library: str):
    """Where a library is; `None` if it is not installed."""
    try:
        return importlib.util.find_spec(library)
    except ValueError:  # it stands among the imported ones as absent
        return None


if __name__ == "__main__":
    sys.exit(main())
