"""The processes that `torchrun` or `accelerate launch` started for one run: each takes its share of the work.

The main process writes what there is once, and alone prints. In a run of one process nothing here waits, or needs
`torch.distributed`.
"""

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers.utils import logging

logger = logging.get_logger(__name__)
T = TypeVar("T")

# How many processes a launcher started, where accelerate may have joined none of them together.
SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
ADVICE = "To work in several processes, on CPUs too, start them with `torchrun --nproc_per_node=...`."
# How long a process waits for the others: shares of long work may end far apart. A process that dies is noticed at
# once, by its launcher and by its closed connections, so a shorter time would only end runs that are well.
PATIENCE = timedelta(days=7)
UNTIL_VISIBLE = 5  # seconds in which a new file is there on other machines too


class LostProcessError(OSError):
    """Another process of this run has ended before its work was done."""


def number_of_processes() -> int:
    """How many processes work together."""
    return _from_environment("WORLD_SIZE", 1) if "LOCAL_RANK" in os.environ else 1


def process_index() -> int:
    """The number of this process, from 0."""
    return _from_environment("RANK", 0) if number_of_processes() > 1 else 0


def is_main_process() -> bool:
    """Whether this is the process that writes what there is once, and that prints."""
    return process_index() == 0


def share(items: Sequence[T]) -> list[T]:
    """What this process does of a list that all processes have: every n-th item, so that sorted work is shared evenly.

    Example:
        >>> share(["a", "b", "c"])  # one process
        ['a', 'b', 'c']
    """
    return list(items[process_index() :: number_of_processes()])


def gather(items: list[T]) -> list[T]:
    """The items of all processes, in each of them. All processes call it, and wait for each other."""
    if number_of_processes() == 1:
        return items
    from accelerate.utils import gather_object

    return _together(gather_object, items)


def on_main(function: Callable[..., T], *arguments: Any) -> T:
    """What a function returns in the main process, in every process. All call it, and wait for the main one."""
    if number_of_processes() == 1:
        return function(*arguments)
    from accelerate.utils import broadcast_object_list

    _join()
    return _together(broadcast_object_list, [function(*arguments) if is_main_process() else None])[0]


def require_same(name: str, value: object) -> None:
    """Makes sure that all processes have the same: else their shares would not fit together.

    Raises:
        ValueError: they differ, in every process.
    """
    if number_of_processes() > 1:
        digests = gather([hashlib.sha256(repr(value).encode("utf-8", "backslashreplace")).hexdigest()])
        if len(set(digests)) > 1:
            raise ValueError(
                f"The processes have different {name}. Give all machines the same files and the same flags."
            )


def begin(folder: str | Path) -> None:
    """Prepares a command whose work processes share. All of them call it, before they write into the folder.

    Raises:
        ValueError: a process does not see what the main process writes into the folder.
    """
    notice_lost_processes(number_of_processes())
    if number_of_processes() == 1:
        return
    probe = Path(folder, on_main(_write_probe, Path(folder)))
    sees = gather([_appears(probe)])
    if is_main_process():
        probe.unlink(missing_ok=True)
    if not all(sees):
        raise ValueError(
            f"{folder} is not one folder for all processes: process {sees.index(False)} does not see what process 0 "
            "wrote there. Name a folder on a disk that all machines share, by the same path."
        )


def own_device(name: str) -> str:
    """The device of this process: if several share a machine, "cuda" is another GPU for each of them."""
    kind = torch.device(name)
    if number_of_processes() == 1 or kind.index is not None or kind.type not in ("cuda", "xpu"):
        return name
    module = getattr(torch, kind.type)
    index = _from_environment("LOCAL_RANK", 0) % max(module.device_count(), 1)
    module.set_device(index)  # some libraries take the current one
    return f"{kind.type}:{index}"


def quiet_but_errors() -> None:
    """Stops lines and bars of Transformers, datasets and this library in this process, but for errors."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if datasets := sys.modules.get("datasets"):
        datasets.utils.logging.set_verbosity_error()
        datasets.disable_progress_bars()


def notice_lost_processes(world_size: int) -> str | None:
    """Warns where a launcher was to start several processes, and this one works alone.

    Args:
        world_size: how many processes work together.

    Returns:
        The warning, or `None`.
    """
    if world_size > 1:
        return None
    warning = None
    if "ACCELERATE_USE_CPU" in os.environ and "MASTER_PORT" in os.environ:
        # `accelerate launch` sets both; the second one only for several processes, of which it starts one on CPUs.
        warning = f"`accelerate launch` was to start several processes. It started one, which works alone. {ADVICE}"
    for name in SIZES:
        size = _from_environment(name, 1)
        if size > 1:
            warning = f"{name} is {size}, but this process works alone, as each of the others would. {ADVICE}"
    if warning:
        logger.warning(warning)
    return warning


@cache
def _join() -> None:
    """Connects the processes by their CPUs: they exchange little, and a GPU would compute while it waits."""
    from accelerate import PartialState  # here alone: one process needs none of it

    PartialState(cpu=True, timeout=PATIENCE)


def _together(exchange: Callable[[list], list], items: list) -> list:
    _join()
    try:
        return exchange(items)
    except RuntimeError as error:
        raise LostProcessError(
            "Another process of this run has ended; its message says why. Start the run again: it continues."
        ) from error


def _write_probe(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    number, path = tempfile.mkstemp(prefix=".partial", dir=folder)  # a name that is cleared away if this run dies
    os.close(number)
    return Path(path).name


def _appears(path: Path) -> bool:
    end = time.monotonic() + UNTIL_VISIBLE
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def _from_environment(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default
