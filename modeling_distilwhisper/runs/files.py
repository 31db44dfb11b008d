"""Files that are complete or absent, and safe file names from any text."""

import re
from pathlib import Path

from ..files_distilwhisper import atomic_path, staged_folder


def write_atomically(path: str | Path, text: str) -> None:
    """Writes a text file under a temporary name and renames it: an interruption leaves the old file as it was."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_name(name: str) -> str:
    """The name with hyphens for characters that could lead out of a folder or that a file system refuses.

    Raises:
        ValueError: no letter or digit remains.

    Example:
        >>> file_name("openai/whisper: small")
        'openai-whisper-small'
    """
    safe = re.sub(r"[^\w.-]+", "-", name).strip(".-")
    if not safe:
        raise ValueError(f"{name!r} cannot name a file. Expected letters or digits in it.")
    return safe


def is_taken(folder: str | Path) -> bool:
    """Whether a folder that is to be new is there already, with more in it than an interrupted command left."""
    folder = Path(folder)
    is_left = folder.is_dir() and all(path.name.startswith(".partial") for path in folder.iterdir())
    return folder.exists() and not is_left


__all__ = ["atomic_path", "file_name", "is_taken", "staged_folder", "write_atomically"]
