"""One input, tried in a process of its own: with a limit on time and memory, and with a look at what it left behind."""

import contextlib
import io
import logging
import multiprocessing
import os
import re
import resource
import shutil
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from helpers.progress import own_lock_of_bars
from huggingface_hub.errors import StrictDataclassError

CLASSES = ("right", "clear error", "bare", "silently wrong", "hang", "leak")
SECONDS = 30.0  # after which a trial hangs
MEMORY = 2_000_000_000  # bytes above those of the libraries
SHORTEST = 5  # words of an error that says something
LEFTOVER = re.compile(r"\.(tmp|partial|unfinished|incomplete)\b")
# What a command prints for an exception that no message was written for.
UNEXPECTED = re.compile(r"error: (?:[A-Za-z]+(?:Error|Exception|Warning)|Exception)\b:?")


class Wrong(Exception):
    """The library accepted the input and gave a wrong result, without a word."""


class Leak(Exception):
    """The library wrote, read or told what it must not."""


@dataclass(frozen=True)
class Trial:
    """An input and what is done with it.

    Attributes:
        family: the kind of input.
        name: of the input, unique in its family.
        act: gets an empty folder. It returns when the result is right, raises `Wrong` or `Leak`, or lets through what
            the library raises.
    """

    family: str
    name: str
    act: Callable[[Path], None]


@dataclass(frozen=True)
class Verdict:
    """One of `CLASSES`, and the message or the place that led to it."""

    outcome: str
    reason: str = ""


def judge(trial: Trial) -> Verdict:
    """Runs a trial in a forked process; it is killed after `SECONDS`."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    folder = Path(tempfile.mkdtemp(prefix="hostile"))
    process = context.Process(target=_run, args=(trial, folder, sender), daemon=True)
    try:
        process.start()
        sender.close()
        if not receiver.poll(SECONDS):
            return Verdict("hang", f"no end after {SECONDS:.0f} s")
        try:
            return receiver.recv()
        except EOFError:
            process.join()
            return Verdict("leak", f"the process died ({process.exitcode}), as for want of memory")
    finally:
        process.kill()
        process.join()
        shutil.rmtree(folder, ignore_errors=True)


def _run(trial: Trial, folder: Path, sender) -> None:
    os.setsid()
    own_lock_of_bars()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    logging.disable(logging.NOTSET)
    inside = folder / "work"
    inside.mkdir()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        verdict = _verdict(trial, inside)
    outside = sorted(path.name for path in folder.iterdir() if path != inside)
    left = sorted(path.name for path in inside.rglob("*") if LEFTOVER.search(path.name))
    if verdict.outcome in ("right", "clear error") and (outside or left):
        verdict = Verdict("leak", f"files left: {outside + left}")
    sender.send(verdict)


def _verdict(trial: Trial, folder: Path) -> Verdict:
    try:
        trial.act(folder)
    except Wrong as error:
        return Verdict("silently wrong", str(error))
    except Leak as error:
        return Verdict("leak", str(error))
    except (MemoryError, RecursionError) as error:
        return Verdict("leak" if isinstance(error, MemoryError) else "bare", type(error).__name__)
    except BaseException as error:
        return _of_error(error)
    return Verdict("right")


def _of_error(error: BaseException) -> Verdict:
    text = f"{type(error).__name__}: {error}"
    if re.search(r"alloc|out of memory|std::bad_alloc", str(error), re.IGNORECASE):
        return Verdict("leak", text[:300])
    is_clear = type(error) in (ValueError, ImportError, Refused) or isinstance(error, OSError | StrictDataclassError)
    if is_clear and len(str(error).split()) >= SHORTEST and not UNEXPECTED.search(str(error)):
        return Verdict("clear error", str(error)[:300])
    place = traceback.extract_tb(error.__traceback__)[-1]
    return Verdict("bare", f"{text[:300]} ({Path(place.filename).name}:{place.lineno})")


class Refused(Exception):
    """A command ended with an exit status other than 0; the message is its last line."""


def run_command(main: Callable, *arguments) -> str:
    """What a command prints; `Refused` if it fails, with the line that says why."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            status = main([str(argument) for argument in arguments], prog="distilwhisper")
        except SystemExit as error:
            status = error.code
    lines = errors.getvalue().strip().splitlines() or [""]
    if status:
        failed = [line for line in lines if "error:" in line or "Left out:" in line]
        raise Refused((failed or lines)[-1])
    return output.getvalue() + errors.getvalue()


class Warnings(logging.Handler):
    """The warnings of the library while a block runs, as one text: rows that are left out must be counted there."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record):
        self.text += record.getMessage() + "\n"

    def __enter__(self):
        self.loggers = [logging.getLogger(name) for name in ("modeling_distilwhisper", "transformers", None)]
        for logger in self.loggers:
            logger.addHandler(self)
        return self

    def __exit__(self, *_):
        for logger in self.loggers:
            logger.removeHandler(self)
