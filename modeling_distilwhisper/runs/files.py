"""Files that are complete or absent, and safe file names from any text."""

import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to. At the end of the block it is renamed to `path`; if the block fails, it is deleted.

    So an interruption leaves the old file as it was.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_path(f"{folder}/a.txt") as temporary:
        ...         _ = temporary.write_text("complete")
        ...     Path(folder, "a.txt").read_text()
        'complete'
    """
    path = Path(path)
    # Short, since `path` may be as long as names can be. The suffix stays: some writers choose the format by it.
    temporary = path.with_name(f".{secrets.token_hex(8)}.partial{path.suffix[:12]}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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


@contextmanager
def files_written_together(folder: str | Path, last: str) -> Iterator[Path]:
    """A temporary folder to write several files to. They move to `folder` when the block ends, unless it fails.

    Args:
        folder: made if it does not exist.
        last: name of the file that moves last, so that it is never there without the others.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial") as temporary:
        yield Path(temporary)
        for path in sorted(Path(temporary).iterdir(), key=lambda path: path.name == last):
            path.replace(Path(folder, path.name))
