"""The example scripts and the commands of `distilwhisper`, run as people run them: each in a process.

Such a process is forked from one that has imported what all of them import, which takes longer than most runs.
"""

import io
import logging
import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path

from helpers.progress import own_lock_of_bars

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
IMPORTED = [
    "modeling_distilwhisper.training.trainer",
    "modeling_distilwhisper.runs.precision",
    "modeling_distilwhisper.reporting.figures",
    "peft",
]

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(IMPORTED)


def run_script(name: str | Path, *arguments, cwd: Path | None = None, **environment) -> tuple[int, str, str]:
    """Exit status, output and errors of `examples/<name>`; on one thread, since tests run side by side.

    Args:
        cwd: the folder that it is started from; by default that of the tests.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = [Path(folder, stream) for stream in ("output", "errors")]
        settings = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        process = _processes.Process(
            target=_run, args=(name, [*map(str, arguments)], cwd or Path.cwd(), settings, *written)
        )
        process.start()
        process.join()
        return process.exitcode, *(path.read_text(encoding="utf-8") for path in written)


def run_command(name: str, *arguments, **settings) -> tuple[int, str, str]:
    """Exit status, output and errors of `distilwhisper <name>`; settings as for `run_script`."""
    return run_script(ROOT / "distilwhisper_cli.py", name, *arguments, **settings)


def _run(
    name: str | Path, arguments: list[str], cwd: Path, environment: dict[str, str], output: Path, errors: Path
) -> None:
    import datasets
    import torch

    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    own_lock_of_bars()
    if "HF_DATASETS_CACHE" in environment:  # read when the library was imported
        datasets.config.HF_DATASETS_CACHE = Path(environment["HF_DATASETS_CACHE"])
    for number, path in enumerate((output, errors), start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w", closefd=False), "utf-8") for number in (1, 2))
    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        for handler in getattr(logger, "handlers", []):
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(sys.stderr)
    sys.argv = [str(EXAMPLES / name), *arguments]
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    runpy.run_path(sys.argv[0], run_name="__main__")  # what it exits with or dies of, the process does
