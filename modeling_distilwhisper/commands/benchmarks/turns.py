"""Times systems against each other: each is a process, and the processes take turns, one task at a time.

So whatever else the machine does slows all of them alike, and none uses memory that another left behind.
"""

import contextlib
import ctypes
import multiprocessing
import resource
import sys
import time
from argparse import Namespace
from collections.abc import Callable
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


def take_turns(make: Callable[[str, Namespace], System], names: list[str], arguments: Namespace) -> dict[str, dict]:
    """Times every task of every system `arguments.rounds` times, after a round that is not counted.

    A turn does the task twice and counts the second time: the first one allocates memory that the last turn gave back.

    Args:
        make: makes a system by its name, in the process of that system; a function that can be imported.
        arguments: `device` and `rounds`, and what `make` needs.

    Returns:
        By system: `seconds` by task, none where a GPU has too little memory; `memory`, its peak in bytes; on a
        GPU `task_memory`, the peak of each task; and its `facts`.
    """
    context = multiprocessing.get_context("spawn")
    pipes, tasks = {}, {}
    for name in names:  # at once: to import the libraries takes longer than many a measurement
        pipes[name], theirs = context.Pipe()
        parts = (make, name, arguments, torch.get_num_threads(), theirs)
        context.Process(target=_work, args=parts, daemon=True).start()
        theirs.close()
    for name in tqdm(names, desc="Starting", leave=False):
        tasks[name] = pipes[name].recv()
    results: dict[str, dict] = {
        name: {"seconds": {task: [] for task in tasks[name]}, "task_memory": {}} for name in names
    }
    all_tasks = list(dict.fromkeys(task for of_system in tasks.values() for task in of_system))
    for number in tqdm(range(arguments.rounds + 1), desc="Rounds", leave=False):
        for task in all_tasks:
            for name in (name for name in names if task in tasks[name]):
                pipes[name].send(task)
                seconds, peak = pipes[name].recv()
                if seconds is None:
                    tasks[name].remove(task)
                elif number >= 1:
                    results[name]["seconds"][task].append(seconds)
                if peak is not None:
                    results[name]["task_memory"][task] = peak
    for name, pipe in pipes.items():
        pipe.send(None)
        results[name] |= pipe.recv()
    return results


def _work(make: Callable[[str, Namespace], System], name: str, arguments: Namespace, threads: int, pipe) -> None:
    torch.set_num_threads(threads)
    system = make(name, arguments)
    torch.cuda.empty_cache()  # what only the making took
    pipe.send(system.tasks)
    on_gpu = arguments.device == "cuda"
    peaks = [0]
    while (task := pipe.recv()) is not None:
        seconds, peak = None, None  # no seconds: the GPU has too little memory for it
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        with contextlib.suppress(torch.OutOfMemoryError):
            seconds = [_seconds(system, task, on_gpu) for _ in range(2)][1]
        if on_gpu:
            peak = torch.cuda.max_memory_allocated()
            peaks.append(peak)
            torch.cuda.empty_cache()
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)  # memory that this turn freed is for the next system
        pipe.send((seconds, peak))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    pipe.send({"memory": max(peaks) if on_gpu else memory, **system.facts()})


def _seconds(system: System, task: str, on_gpu: bool) -> float:
    begun = time.perf_counter()
    system.run(task)
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - begun
