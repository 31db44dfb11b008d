"""Several processes of one training: one of them prints what people read, and fewer than were asked for are noticed."""

import os
import sys

from transformers.utils import logging

logger = logging.get_logger(__name__)

# How many processes a launcher started, where accelerate may have joined none of them together.
SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
ADVICE = "To train in several processes, on CPUs too, start them with `torchrun --nproc_per_node=...`."


def quiet_but_errors() -> None:
    """Stops lines and bars of Transformers, datasets and this library in this process, but for errors."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if datasets := sys.modules.get("datasets"):
        datasets.utils.logging.set_verbosity_error()
        datasets.disable_progress_bars()


def notice_lost_processes(world_size: int) -> str | None:
    """Warns where a launcher was to start several processes, and this one trains alone.

    Args:
        world_size: how many processes train together.

    Returns:
        The warning, or `None`.
    """
    if world_size > 1:
        return None
    warning = None
    if "ACCELERATE_USE_CPU" in os.environ and "MASTER_PORT" in os.environ:
        # `accelerate launch` sets both; the second one only for several processes, of which it starts one on CPUs.
        warning = f"`accelerate launch` was to start several processes. It started one, which trains alone. {ADVICE}"
    for name in SIZES:
        size = os.environ.get(name, "1")
        if size.isdecimal() and int(size) > 1:
            warning = f"{name} is {size}, but this process trains alone, as each of the others would. {ADVICE}"
    if warning:
        logger.warning(warning)
    return warning
