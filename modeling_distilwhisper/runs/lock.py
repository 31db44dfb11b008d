"""One run at a time in a folder: the process that writes there holds the folder, and says who it is."""

import atexit
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout, UnixFileLock

from .files import write_atomically
from .processes import is_main_process

# Their names begin with "_": the trainer of Transformers does not upload such files to the Hub.
LOCK, HOLDER = "_lock", "_lock.json"

_held: dict[Path, "FolderLock"] = {}  # of this process, by folder
_command = Path(sys.argv[0]).name if sys.argv else "python"


class FolderInUseError(OSError):
    """Another run writes into a folder. The message says which, and what to do."""


class FolderLock:
    """The lock on a folder. The system releases it when the process ends, however it ends.

    Raises:
        FolderInUseError: another process holds it.
    """

    def __init__(self, folder: Path):
        self.folder, self.process = folder, os.getpid()
        # A moment's wait: another that just begins has then said who it is, and one that just ends is gone.
        self.lock = FileLock(folder / LOCK, timeout=1, thread_local=False)
        try:
            self.lock.acquire()
        except Timeout:
            raise FolderInUseError(_in_use(folder)) from None
        holder = {"host": socket.gethostname(), "pid": self.process, "command": _command}
        write_atomically(folder / HOLDER, json.dumps(holder | {"since": time.strftime("%Y-%m-%d %H:%M:%S %z")}) + "\n")

    def release(self) -> None:
        """Ends it and deletes its files."""
        if self.process != os.getpid():  # of a parent process, which still works
            return
        with suppress(OSError):  # the folder may be gone, or full
            (self.folder / HOLDER).unlink(missing_ok=True)
            if isinstance(self.lock, UnixFileLock):  # deleted while it is held: who opened it sees that it is gone
                (self.folder / LOCK).unlink(missing_ok=True)
        self.lock.release()


def hold(folder: str | Path) -> None:
    """Makes this process the only one that writes into a folder, until `release` or the process's end.

    A process that holds it already goes on. Processes that `torchrun` started are one run: the main one holds the
    folder for all of them. A run that was killed holds nothing.

    Args:
        folder: made if it does not exist.

    Raises:
        FolderInUseError: another run holds it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     hold(folder)
        ...     hold(folder)  # the same process
        ...     release(folder)
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if is_main_process() and folder.resolve() not in _held:
        _held[folder.resolve()] = FolderLock(folder.resolve())


def release(folder: str | Path) -> None:
    """Lets other processes write into a folder again."""
    if lock := _held.pop(Path(folder).resolve(), None):
        lock.release()


def rename_held(folder: Path, new: Path) -> None:
    """Gives a folder that this process holds another name. At no moment can another process hold what is moved."""
    lock = _held.pop(folder.resolve(), None)
    folder.rename(new)
    if lock is not None:
        lock.folder = new.resolve()
        lock.release()


@contextmanager
def released_at_the_end(command: str) -> Iterator[None]:
    """Within it, folders are held in the name of a command; those that it took are free at its end."""
    global _command
    before, names = set(_held), _command
    _command = command
    try:
        yield
    finally:
        _command = names
        for folder in set(_held) - before:
            release(folder)


def _in_use(folder: Path) -> str:
    try:
        holder = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        who = f"process {holder['pid']} on {holder['host']} (`{holder['command']}`, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):  # it is just beginning or ending
        who = "another process"
    return (
        f"{folder} is in use: {who} writes into it. Wait until it has ended, or use another folder. If its machine has "
        f"crashed, delete {folder / LOCK}."
    )


@atexit.register
def _release_all() -> None:
    for folder in list(_held):
        release(folder)
