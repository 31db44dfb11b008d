"""What a record of a run says of where it ran: commit, machine, versions. Without PyTorch: a process that forks others
must not touch the GPU."""

import os
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NO_GPU = "no GPU"
HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "peft", "tokenizers", "jiwer", "numpy", "soundfile")


def commit() -> str:
    try:
        command = ["git", "rev-parse", "HEAD"]
        answer = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def machine() -> str:
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        gpu = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        gpu = NO_GPU
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text()) if os.path.exists("/proc") else None
    return f"{gpu}; {os.cpu_count()} cores{f' of {model[1]}' if model else ''}"


def versions() -> dict[str, str]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "missing"
    return installed
