"""Times systems against each other: each is a process, and the processes take turns, one task at a time.

So whatever else the machine does slows all of them alike, and none uses memory that another left behind.
"""

import contextlib
import multiprocessing
import re
import resource
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from tqdm.auto import tqdm

from ...workarounds import return_freed_memory


class System(Protocol):
    """One of the systems that are compared."""

    tasks: list[str]

    def run(self, task: str) -> object:
        """Does the work that is timed."""

    def facts(self) -> dict:
        """Further results, asked for at the end."""


def take_turns(
    make: Callable[[str, Namespace], System], names: list[str], arguments: Namespace, warm_up: bool = True
) -> dict[str, dict]:
    """Times every task of every system `arguments.rounds` times.

    Args:
        make: makes a system by its name, in the process of that system; a function that can be imported.
        arguments: `device` and `rounds`, and what `make` needs.
        warm_up: do a round that is not counted first, and in each turn do the task twice and count the second time: the
            first one allocates memory that the last turn gave back. A task of many seconds does not need it.

    Returns:
        By system: `seconds` by task, none where a GPU has too little memory; `memory`, its peak in bytes, and
        `memory_before`, the bytes that Python and its libraries used before the system was made (0 on a GPU); on a
        GPU `task_memory`, the peak of each task; and its `facts`.

    Raises:
        ChildProcessError: the process of a system ended, after it printed why.
    """
    context = multiprocessing.get_context("spawn")
    pipes, tasks = {}, {}
    for name in names:  # at once: to import the libraries takes longer than many a measurement
        pipes[name], theirs = context.Pipe()
        parts = (make, name, arguments, torch.get_num_threads(), warm_up, theirs)
        context.Process(target=_work, args=parts, daemon=True).start()
        theirs.close()
    for name in tqdm(names, desc="Starting", leave=False):
        tasks[name] = _answer(name, pipes[name])
    results: dict[str, dict] = {
        name: {"seconds": {task: [] for task in tasks[name]}, "task_memory": {}} for name in names
    }
    all_tasks = list(dict.fromkeys(task for of_system in tasks.values() for task in of_system))
    for number in tqdm(range(arguments.rounds + warm_up), desc="Rounds", leave=False):
        for task in all_tasks:
            for name in (name for name in names if task in tasks[name]):
                pipes[name].send(task)
                seconds, peak = _answer(name, pipes[name])
                if seconds is None:
                    tasks[name].remove(task)
                elif number >= warm_up:
                    results[name]["seconds"][task].append(seconds)
                if peak is not None:
                    results[name]["task_memory"][task] = peak
    for name, pipe in pipes.items():
        pipe.send(None)
        results[name] |= _answer(name, pipe)
    return results


def _answer(name: str, pipe):
    try:
        return pipe.recv()
    except EOFError:
        raise ChildProcessError(f"The process of {name!r} ended before its work was done (see above).") from None


def _work(
    make: Callable[[str, Namespace], System], name: str, arguments: Namespace, threads: int, warm_up: bool, pipe
) -> None:
    torch.set_num_threads(threads)
    before = peak_memory()
    system = make(name, arguments)
    torch.cuda.empty_cache()  # what only the making took
    pipe.send(system.tasks)
    on_gpu = arguments.device.startswith("cuda")
    peaks = [0]
    while (task := pipe.recv()) is not None:
        seconds, peak = None, None  # no seconds: the GPU has too little memory for it
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(arguments.device)
        with contextlib.suppress(torch.OutOfMemoryError):
            seconds = [_seconds(system, task, arguments.device) for _ in range(1 + warm_up)][-1]
        if on_gpu:
            peak = torch.cuda.max_memory_allocated(arguments.device)
            peaks.append(peak)
            torch.cuda.empty_cache()
        return_freed_memory()  # it is for the next system
        pipe.send((seconds, peak))
    on_device = {"memory": max(peaks), "memory_before": 0} if on_gpu else {}
    memory = max(before, peak_memory())  # the system counts pages approximately
    pipe.send({"memory": memory, "memory_before": before, **on_device, **system.facts()})


def _seconds(system: System, task: str, device: str) -> float:
    begun = time.perf_counter()
    system.run(task)
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def peak_memory() -> int:
    """The bytes of memory that this process used at most.

    On Linux `ru_maxrss` begins with what the parent process used when it started this one, so it is not asked there.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 1024 * int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0])
