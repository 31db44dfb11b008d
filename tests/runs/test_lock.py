"""One run at a time in a folder: a second one is refused and told who is there, and a dead one stops nobody."""

import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from helpers import speech
from helpers.scripts import run_command

from modeling_distilwhisper import keep_scorable, read_folder, transcribe_rows
from modeling_distilwhisper.runs.lock import (
    HOLDER,
    LOCK,
    FolderInUseError,
    hold,
    release,
    released_at_the_end,
    rename_held,
)
from modeling_distilwhisper.runs.records import RecordFile
from modeling_distilwhisper.runs.run_folder import RunFolder


class Child:
    """A forked process that calls a function and then waits. `status` is 0, or 7 where a folder is in use."""

    def __init__(self, function):
        waits, self.end = os.pipe()
        done, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.end)
            status = 1
            try:
                function()
                status = 0
            except FolderInUseError:
                status = 7
            os.write(tell, bytes([status]))
            os.read(waits, 1)
            os._exit(status)
        os.close(waits)
        self.status = os.read(done, 1)[0]

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def child():
    """Makes a `Child` that ends with the test."""
    children = []
    yield lambda function: children.append(Child(function)) or children[-1]
    for one in children:
        with suppress(ProcessLookupError, ChildProcessError):
            one.kill()


@pytest.fixture
def holder(child, tmp_path):
    """A process in which a command holds the folder `run`."""

    entered = ExitStack()

    def command():
        entered.enter_context(released_at_the_end("distilwhisper eval"))
        hold(tmp_path / "run")

    return child(command)


def test_a_second_run_is_refused_and_told_who_works_in_the_folder(holder, tmp_path):
    for refused in (
        lambda: RunFolder(tmp_path / "run", {}),
        lambda: hold(tmp_path / "run"),
        lambda: RecordFile(tmp_path / "run/gl.jsonl").add([{"id": "1"}]),
        lambda: RecordFile(tmp_path / "run/gl.jsonl").keep([]),
    ):
        with pytest.raises(FolderInUseError) as error:
            refused()
        who = f"process {holder.pid} on {socket.gethostname()} (`distilwhisper eval`, since 2"
        assert who in str(error.value) and "use another folder" in str(error.value)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {LOCK, HOLDER}, "it wrote nothing"
    hold(tmp_path / "another")
    release(tmp_path / "another")


def test_a_run_that_was_killed_holds_nothing(holder, tmp_path):
    holder.kill()
    assert (tmp_path / "run" / HOLDER).is_file(), "what it left does not matter"
    hold(tmp_path / "run")
    assert json.loads((tmp_path / "run" / HOLDER).read_text())["pid"] == os.getpid()
    release(tmp_path / "run")
    assert not list((tmp_path / "run").iterdir()), "no file of the lock stays, which may be uploaded later"


def test_what_another_machine_left_when_it_crashed_stops_nobody(tmp_path):
    (tmp_path / LOCK).write_text("")
    (tmp_path / HOLDER).write_text('{"host": "elsewhere", "pid": 1, "command": "x", "since": "y"}')
    hold(tmp_path)
    release(tmp_path)


def test_a_run_that_ends_frees_its_folders_and_one_process_may_open_them_twice(tmp_path, child):
    with released_at_the_end("distilwhisper eval"):
        RunFolder(tmp_path, {})
        RunFolder(tmp_path, {})
        assert json.loads((tmp_path / HOLDER).read_text())["command"] == "distilwhisper eval"
    assert {path.name for path in tmp_path.iterdir()} == {"settings.json"}
    assert child(lambda: hold(tmp_path)).status == 0


def test_the_processes_of_one_run_share_its_folder(holder, tmp_path, monkeypatch):
    """As `torchrun` starts them: the main process holds the folder for all."""
    for name, value in {"WORLD_SIZE": "2", "LOCAL_RANK": "1", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    run = RunFolder(tmp_path / "run", {"run": {"a": 1}})
    assert run.read("settings.json") is None, "the main process writes them"
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(FolderInUseError):
        RunFolder(tmp_path / "run", {})


def test_a_forked_worker_does_not_free_the_folder_of_its_parent(tmp_path, child):
    hold(tmp_path)
    worker = child(lambda: release(tmp_path))
    assert worker.status == 0 and (tmp_path / LOCK).is_file()
    release(tmp_path)


def test_a_folder_that_is_renamed_takes_its_lock_along_and_is_free_afterwards(tmp_path, child):
    hold(tmp_path / "old")
    (tmp_path / "old/a").write_text("")
    rename_held(tmp_path / "old", tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]
    assert child(lambda: [hold(tmp_path / name) for name in ("old", "new")]).status == 0


def test_two_runs_at_once_do_not_transcribe_an_utterance_twice(whisper, processor, tmp_path, child):
    speech.write_folder(tmp_path / "speech", "gl")
    rows, _ = keep_scorable(read_folder(tmp_path / "speech", "test", "gl"))
    file = RecordFile(tmp_path / "run/gl.jsonl")

    def transcribe():
        transcribe_rows(file, whisper, processor, rows, batch_size=1, max_new_tokens=2)

    first = child(transcribe)  # it has ended, but holds the folder as long as it lives
    assert (first.status, child(transcribe).status) == (0, 7)
    ids = [json.loads(line)["id"] for line in file.path.read_text().splitlines()]
    assert sorted(ids) == sorted(rows["id"])
    first.kill()
    assert child(transcribe).status == 0
    assert len(file.path.read_text().splitlines()) == len(rows)


@pytest.mark.slow
def test_two_evaluations_at_once_do_not_count_an_utterance_twice(whisper_dir, tmp_path):
    speech.write_folder(tmp_path / "speech/gl", "gl")
    command = ["eval", "--models", f"a={whisper_dir}", "--data", f"{tmp_path}/speech/{{language}}"]
    command += ["--languages", "gl", "--output_dir", tmp_path / "out", "--device", "cpu", "--batch_size", "1"]
    with ThreadPoolExecutor(2) as pool:
        ended = [*pool.map(lambda _: run_command(*command), range(2))]
    statuses, errors = sorted(code for code, _, _ in ended), [errors for _, _, errors in ended]
    lines = (tmp_path / "out/a/speech/gl.test.jsonl").read_text().splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    assert len(set(ids)) == len(ids) == 4
    assert statuses in ([0, 1], [0, 0]), errors  # the second may begin when the first has ended
    if statuses == [0, 1]:
        (refused,) = [error for error in errors if "is in use: " in error]
        assert "eval" in refused and "Traceback" not in refused
