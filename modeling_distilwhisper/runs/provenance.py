"""Where a measurement comes from: the code's commit, the machine, the versions of libraries."""

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "torchao", "tokenizers", "numpy", "jiwer")


def commit() -> str | None:
    """The commit of the checkout that this package runs from, with "+" if its files were changed since; `None` where
    the package is installed without a checkout."""
    package = Path(__file__).parents[1]
    # An installed package may lie in the checkout of something else, which does not know its files.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{_git(package, 'rev-parse', 'HEAD')}{'+' if changed else ''}"


def machine(device: str = "cpu") -> str:
    """Processor, cores that this process may use, memory, and the GPU if `device` is one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    parts = [f"{count} cores of {_processor()}", f"{memory:.0f} GB of memory"]
    if device.startswith("cuda"):
        parts.insert(0, torch.cuda.get_device_name(device))
    return ", ".join(parts)


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that are installed, by name."""
    installed = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def _processor() -> str:
    try:
        names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    """What git answers; `None` if it fails or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
