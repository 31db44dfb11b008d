"""Timing systems against each other: each is a process of its own, and they take turns, one piece of work each.

What else the machine does at a moment meets them all, and none has the memory that another leaves behind.
"""

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
    """One of those that are compared."""

    tasks: list[str]

    def run(self, task: str) -> None:
        """Does the work whose time is taken."""

    def facts(self) -> dict:
        """What else there is to say, asked for at the end."""


def take_turns(make: Callable[[str, Namespace], System], names: list[str], args: Namespace) -> dict[str, dict]:
    """Times every task of every system `args.rounds` times, after a round that does not count.

    A turn is the task twice, of which the second counts: the first has memory to ask for that the last turn gave back.

    Args:
        make: makes a system by its name, in the system's own process: a function that can be imported.
        args: also for `make`; with `device` and `rounds`.

    Returns:
        By system: `seconds` by task, `memory`, the most it ever held in bytes, and its `facts`.
    """
    context = multiprocessing.get_context("spawn")
    pipes, tasks = {}, {}
    for name in tqdm(names, desc="Starting", leave=False):
        pipes[name], theirs = context.Pipe()
        told = (make, name, args, torch.get_num_threads(), theirs)
        context.Process(target=_work, args=told, daemon=True).start()
        theirs.close()
        tasks[name] = pipes[name].recv()
    results = {name: {"seconds": {task: [] for task in tasks[name]}} for name in names}
    every = list(dict.fromkeys(task for own in tasks.values() for task in own))
    for number in tqdm(range(args.rounds + 1), desc="Rounds", leave=False):
        for task in every:
            for name in (name for name in names if task in tasks[name]):
                pipes[name].send(task)
                seconds = pipes[name].recv()
                if number >= 1:
                    results[name]["seconds"][task].append(seconds)
    for name, pipe in pipes.items():
        pipe.send(None)
        results[name] |= pipe.recv()
    return results


def _work(make: Callable[[str, Namespace], System], name: str, args: Namespace, threads: int, pipe) -> None:
    torch.set_num_threads(threads)
    system = make(name, args)
    pipe.send(system.tasks)
    on_gpu = args.device == "cuda"
    while (task := pipe.recv()) is not None:
        for _ in range(2):
            begun = time.perf_counter()
            system.run(task)
            if on_gpu:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - begun
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)  # what a turn left free goes to the next system's
        pipe.send(seconds)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    pipe.send({"memory": torch.cuda.max_memory_allocated() if on_gpu else memory, **system.facts()})
