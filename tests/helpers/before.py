"""Files of an earlier version of the library (`tests/files_of_before/make.py`), unpacked for a test."""

import platform
import tarfile
from pathlib import Path

import torch

from . import tiny

ROOT = Path(__file__).parents[2]
ARCHIVE = ROOT / "tests/files_of_before/files.tar.xz"
FOLDER = "/tmp/files_of_before"  # where they were made: configurations name it as the place of their backbone
LETTERS = 64  # tokens of the stored logits: the rest are special ones, and would take megabytes


def unpack(folder: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for config in folder.rglob("config.json"):
        config.write_text(config.read_text().replace(FOLDER, str(folder)))
    return folder


def inputs(processor) -> dict[str, torch.Tensor]:
    """An utterance of noise in gl, ca and fr, which has no expert, each with four letters behind its prompt."""
    batch = tiny.make_audio(processor, [1.0, 1.5, 2.0])
    prompt = ["<|startoftranscript|>", "", "<|transcribe|>", "<|notimestamps|>", *"abcd"]
    rows = [[*prompt[:1], f"<|{language}|>", *prompt[2:]] for language in ("gl", "ca", "fr")]
    return batch | {"decoder_input_ids": torch.tensor([processor.tokenizer.convert_tokens_to_ids(row) for row in rows])}


def cpu() -> str:
    """The kind of CPU: on another one sums are rounded elsewhere."""
    listing = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip() for line in listing.read_text().splitlines() if line.startswith("model name")
    ]
    return names[0] if listing.is_file() and names else platform.processor()
