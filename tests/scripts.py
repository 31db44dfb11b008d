"""The example scripts, run as people run them: each a process of its own, or, to save its start, in this one."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_script(name: str, *arguments, **environment) -> tuple[int, str, str]:
    """Exit status, output and errors of `examples/<name>`; on one thread, since tests run side by side."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def run_in_process(monkeypatch, name: str, *arguments) -> None:
    """`examples/<name>` in this process; what it raises comes through."""
    script = EXAMPLES / name
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    monkeypatch.syspath_prepend(str(script.parent))
    runpy.run_path(str(script), run_name="__main__")
