"""What other libraries say about themselves is not said to users of ours, and everything else is."""

import io
import logging
import os
import platform
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile

from modeling_distilwhisper.workarounds import without_notes_of_mpg123

DEPRECATED = (
    "Passing `generation_config` together with generation-related arguments=({%s}) is deprecated and will be removed."
)


@pytest.mark.parametrize(
    ("logger", "message", "is_said"),
    [
        ("transformers.generation.utils", DEPRECATED % "'begin_suppress_tokens', 'suppress_tokens'", False),
        ("transformers.generation.utils", DEPRECATED % "'suppress_tokens', 'begin_suppress_tokens'", False),
        ("transformers.generation.utils", DEPRECATED % "'suppress_tokens', 'num_beams'", True),
        ("transformers.generation.utils", "The attention mask is not set.", True),
        ("torchao", "Failed to load /x/_C_mxfp8.so: no such file", False),
        ("torchao", "Quantisation failed", True),
        (
            "torch.utils._pytree",
            "<enum 'X'> is an Enum subclass and is now natively supported by torch.compile as",
            False,
        ),
    ],
)
def test_only_messages_that_a_user_can_do_nothing_about_are_silent(logger, message, is_said):
    record = logging.LogRecord(logger, logging.WARNING, "", 0, message, None, None)
    assert bool(logging.getLogger(logger).filter(record)) == is_said


def damaged_mp3() -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, (np.sin(np.arange(48_000) / 10) / 3).astype("float32"), 16_000, format="MP3")
    content = file.getvalue()
    return io.BytesIO(content[:3000] + bytes(range(200)) * 3 + content[3000:])


def test_a_damaged_mp3_is_read_without_notes_between_the_lines(capfd):
    soundfile.read(damaged_mp3())
    assert "Trying to resync" in capfd.readouterr().err, "or this entry can go"
    with without_notes_of_mpg123():
        soundfile.read(damaged_mp3())
        os.write(2, b"another line\n")
    assert capfd.readouterr().err == "another line\n"


def test_threads_that_read_at_once_leave_stderr_as_it_was(capfd):
    def read() -> None:
        for _ in range(20):
            with without_notes_of_mpg123():
                soundfile.read(damaged_mp3())

    threads = [threading.Thread(target=read) for _ in range(4)]
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"the end\n")
    assert capfd.readouterr().err == "the end\n"
    assert not before or len(os.listdir("/proc/self/fd")) <= before + 1, "no descriptor is left open"


def test_without_a_stderr_all_is_read_too():
    code = """
import os
os.close(2)
from modeling_distilwhisper.workarounds import without_notes_of_mpg123
with without_notes_of_mpg123():
    print("read")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "read\n"


FREED_IN_PIECES = """
import psutil, torch
from modeling_distilwhisper.workarounds import return_freed_memory
def megabytes():
    return psutil.Process().memory_info().rss >> 20
pieces = [torch.ones(12_000) for _ in range(6_000)]  # 48 kB each: below what glibc maps by itself
kept, full = pieces[::100], megabytes()
del pieces
freed = megabytes()
return_freed_memory()
print(full - freed, full - megabytes(), sum(float(piece.sum()) for piece in kept))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no malloc_trim")
def test_memory_freed_in_pieces_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", FREED_IN_PIECES], capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr
    before, after, kept = map(float, done.stdout.split())
    assert before < 100, "or this entry can go"
    assert after > 200 and kept == 60 * 12_000
