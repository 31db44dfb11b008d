"""The example scripts, run as people run them: each a process of its own."""

import os
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
