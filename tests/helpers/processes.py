"""A command in several processes, with what `torchrun` tells them, but without the seconds in which it starts."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from helpers.scripts import ROOT, run_script

CLI = ROOT / "distilwhisper_cli.py"
ENDS_EARLY, APART = (Path(__file__).with_name(name) for name in ("ends_early.py", "apart.py"))


def run_together(processes: int, *arguments, script: Path = CLI) -> list[tuple[int, str, str]]:
    """Exit status, output and errors of each process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

    def run(number: int) -> tuple[int, str, str]:
        return run_script(script, *arguments, **shared, RANK=str(number), LOCAL_RANK=str(number))

    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(run, range(processes)))
