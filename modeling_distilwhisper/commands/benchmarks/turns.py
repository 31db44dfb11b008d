"""Times systems against each other: each is a process, and the processes take turns, one task at a time.

So whatever else the machine does slows all of them alike, and none uses memory that another left behind.
"""

import ctypes
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
        By system: `seconds` by task; `memory`, its peak in bytes, and `memory_before`, the bytes that Python and its
        libraries used before the system was made (0 on a GPU); and its `facts`.

    Raises:
        ChildProcessError: the process of a system ended, after it printed why.
    """
    context = multiprocessing.get_context("spawn")
    pipes, tasks = {}, {}
    for name in tqdm(names, desc="Starting", leave=False):
        pipes[name], theirs = context.Pipe()
        parts = (make, name, arguments, torch.get_num_threads(), warm_up, theirs)
        context.Process(target=_work, args=parts, daemon=True).start()
        theirs.close()
        tasks[name] = _answer(name, pipes[name])
    results: dict[str, dict] = {name: {"seconds": {task: [] for task in tasks[name]}} for name in names}
    all_tasks = list(dict.fromkeys(task for of_system in tasks.values() for task in of_system))
    for number in tqdm(range(arguments.rounds + warm_up), desc="Rounds", leave=False):
        for task in all_tasks:
            for name in (name for name in names if task in tasks[name]):
                pipes[name].send(task)
                seconds = _answer(name, pipes[name])
                if number >= warm_up:
                    results[name]["seconds"][task].append(seconds)
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
    pipe.send(system.tasks)
    on_gpu = arguments.device.startswith("cuda")
    while (task := pipe.recv()) is not None:
        for _ in range(1 + warm_up):
            begun = time.perf_counter()
            system.run(task)
            if on_gpu:
                torch.cuda.synchronize(arguments.device)
            seconds = time.perf_counter() - begun
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)  # memory that this turn freed is for the next system
        pipe.send(seconds)
    on_device = {"memory": torch.cuda.max_memory_allocated(arguments.device), "memory_before": 0} if on_gpu else {}
    memory = max(before, peak_memory())  # the system counts pages approximately
    pipe.send({"memory": memory, "memory_before": before, **on_device, **system.facts()})


def peak_memory() -> int:
    """The bytes of memory that this process used at most.

    On Linux `ru_maxrss` begins with what the parent process used when it started this one, so it is not asked there.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 1024 * int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0])
