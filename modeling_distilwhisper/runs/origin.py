"""Where numbers come from: the commit of the code, the machine, the versions of packages, and the day."""

import os
import platform
import re
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

CODE = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "peft", "tokenizers", "jiwer", "numpy", "soundfile")


def origin(device: torch.device | str = "cpu") -> dict[str, Any]:
    """What made the results that a run writes now.

    Args:
        device: on which the run computes.

    Returns:
        `commit` of the code and the files that were `modified` since, where it is a checkout of git; else the
        `version` of the package. `machine`, `threads`, `packages` with their versions, and the `date` (UTC).

    Example:
        >>> sorted({"machine", "threads", "packages", "date"} & origin().keys())
        ['date', 'machine', 'packages', 'threads']
    """
    return {
        **code(),
        "machine": machine(device),
        "threads": torch.get_num_threads(),
        "packages": versions(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def code(folder: Path = CODE) -> dict[str, Any]:
    """`commit` and `modified` of a checkout; `version` of a package that is installed without one.

    Args:
        folder: of the package.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    # A package that is installed in the checkout of another project is no part of it: git does not know its files.
    if commit is None or not _git(folder, "ls-files", "__init__.py"):
        return {"version": _version("modeling_distilwhisper") or "unknown"}
    changes = (_git(folder, "status", "--porcelain", ".") or "").splitlines()
    modified = sorted(change.split()[-1].rpartition(f"{folder.name}/")[2] for change in changes)
    return {"commit": commit.strip(), **({"modified": modified} if modified else {})}


def machine(device: torch.device | str = "cpu") -> str:
    """The processor and its cores that this process may use; and the GPU, if the device is one."""
    listing = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*:\s*(.*)", listing.read_text()) if listing.is_file() else None
    name = named[1].strip() if named else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpu = f", {torch.cuda.get_device_name(device)}" if torch.device(device).type == "cuda" else ""
    return f"{cores} core{'s' if cores > 1 else ''} of {name}{gpu}"


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide over numbers. Missing packages are left out."""
    installed = {name: number for name in PACKAGES if (number := _version(name))}
    return {"python": platform.python_version(), **installed}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(folder: Path, *command: str) -> str | None:
    """What git prints; `None` without git, or where the folder is in no checkout."""
    try:
        done = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout
