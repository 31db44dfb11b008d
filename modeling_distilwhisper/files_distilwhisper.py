"""Files that are complete or absent, and folders that are replaced file by file with complete files only."""

import errno
import filecmp
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from safetensors import SafetensorError
from transformers.utils import CONFIG_NAME

# A temporary name says who writes, so that what a dead writer left is known: `.partial-<host>-<process>-<start>-<any>`.
# The start tells apart two processes that have one number, as those of a container that is started again have.
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
START = secrets.token_hex(4)
WRITER = re.compile(r"\.partial-([0-9a-f]{6})-(\d+)-([0-9a-f]{8})-[0-9a-f]{8}(\..*)?")
EARLIER = re.compile(r"\.[0-9a-f]{16}\.partial(\..*)?|\.expert\..*\.partial|\.partial\w{8}")  # of earlier versions
DAY = 24 * 3600
SMALL = 1_000_000  # bytes of a file that is compared with the one it would replace
UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # of file systems that cannot be told to write at once


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path to write to. At the end of the block it is renamed to `path`; if the block fails, it is deleted.

    So an interruption leaves the old file as it was.

    Raises:
        OSError: it could not be written; the message says why, and what to do.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_path(f"{folder}/a.txt") as temporary:
        ...         _ = temporary.write_text("complete")
        ...     Path(folder, "a.txt").read_text()
        'complete'
    """
    path = Path(path)
    _delete_leftovers_once(path.parent)
    temporary = path.with_name(_temporary_name(path.suffix[:12]))  # some writers choose the format by the suffix
    try:
        with explained_write(path):
            yield temporary
            _to_disk(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def staged_folder(folder: str | os.PathLike, last: str = CONFIG_NAME) -> Iterator[Path]:
    """A temporary folder to write files to. When the block ends, they replace those of `folder`, unless it fails.

    All files are complete and on the disk before the first one moves, so a stop at any moment leaves only complete
    files. Other files of `folder` stay. What dead writers left there is deleted.

    Args:
        folder: made if it does not exist.
        last: name of the file that moves last: the one that refers to the others. Without a `config.json` a folder is
            no model, and with an old one it is the old model until the new one is complete.

    Raises:
        OSError: it could not be written; the message says why, and what to do.
    """
    folder = Path(folder)
    with explained_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
        delete_leftovers(folder)
        temporary = folder / _temporary_name("")
        temporary.mkdir()
        try:
            yield temporary
            names = [path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file()]
            for name in names:
                _to_disk(temporary / name)
            for name in sorted(names, key=lambda name: (name.name == last, name)):
                if not _same(temporary / name, folder / name):
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(temporary / name, folder / name)
            _to_disk(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def delete_leftovers(folder: Path) -> None:
    """Deletes the temporary files of writers that are dead. Those of another machine count as dead after a day."""
    for path in folder.glob(".*partial*"):
        with suppress(OSError):  # another process may delete it at the same time
            writer = WRITER.fullmatch(path.name)
            if writer is None and not EARLIER.fullmatch(path.name):
                continue
            is_old = time.time() - path.stat().st_mtime > DAY
            if _is_alive(writer[1], writer[2], writer[3], is_old) if writer else not is_old:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def explained_write(path: str | os.PathLike) -> Iterator[None]:
    """Within it, a failure to write `path`, a file or a folder, becomes an `OSError` with a sentence."""
    path = Path(path)
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = getattr(error, "errno", None)
        if isinstance(error, SafetensorError):  # it has the number in its text alone
            number = int(match[1]) if (match := re.search(r"(?:os error|Os \{ code:) (\d+)", str(error))) else None
        name = getattr(error, "filename", None)
        if number is None or (isinstance(name, (str, bytes)) and not _is_near(Path(os.fsdecode(name)), path)):
            raise
        kind = type(error) if isinstance(error, OSError) else OSError
        final = Path(*(part for part in path.parts if not WRITER.fullmatch(part)))  # where it would have moved to
        raise kind(f"{final} could not be written: {_reason(number, path)}") from error


def _reason(number: int, path: Path) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
        free = shutil.disk_usage(there).free / 1e6
        return (
            f"{os.strerror(number)} ({free:.0f} MB are free there). Free some space, or name a folder on another disk."
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{os.strerror(number)}. Name a folder that you may write to."
    if number in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return "a file is where a folder is expected, or a folder where a file is. Name another folder."
    return f"{os.strerror(number)}. Name another folder."


def _is_near(name: Path, path: Path) -> bool:
    """Whether a file that an error names has to do with writing `path`."""
    name, path = name.absolute(), path.absolute()
    return name == path or name in path.parents or path in name.parents or name.parent == path.parent


def _temporary_name(suffix: str) -> str:
    return f".partial-{HOST}-{os.getpid()}-{START}-{secrets.token_hex(4)}{suffix}"


def _is_alive(host: str, process: str, start: str, is_old: bool) -> bool:
    if host != HOST or os.name == "nt":  # nothing asks there whether a process lives without a risk to it
        return not is_old
    if int(process) == os.getpid():
        return start == START
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it lives, and belongs to somebody else
        pass
    return not is_old  # an old one's number may be another process's by now


@cache
def _delete_leftovers_once(folder: Path) -> None:
    """Once in a process: some folders get a file at a time, thousands of them."""
    delete_leftovers(folder)


def _same(new: Path, old: Path) -> bool:
    return old.is_file() and new.stat().st_size <= SMALL and filecmp.cmp(new, old, shallow=False)


def _to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk: else a power cut could leave an empty file."""
    if path.is_dir() and os.name == "nt":
        return
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(number)


__all__ = ["atomic_path", "delete_leftovers", "explained_write", "staged_folder"]
