"""A save that is killed leaves a folder that loads, and the next one takes away what it left."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import tiny

from modeling_distilwhisper.files_distilwhisper import atomic_path, delete_leftovers, staged_folder

SCRIPT = Path(__file__).parents[1] / "helpers/killed_saves.py"


def require_that_each_moment_loads(model, tmp_path, settings: dict, kinds: str) -> None:
    model.save_pretrained(tmp_path / "old")
    model.save_pretrained(tmp_path / "target", **settings)
    tiny.unsettle(model, seed=7)
    model.save_pretrained(tmp_path / "new")
    folders = [tmp_path / name for name in ("old", "new", "target")]
    command = [sys.executable, SCRIPT, *folders, json.dumps(settings), kinds]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [json.loads(line) for line in printed.splitlines()]
    assert len(lines) >= 5 and [line["finished"] for line in lines] == [False] * (len(lines) - 1) + [True]
    for line in lines:
        assert line.get("loads") in ("old", "new"), line
        assert not line["empty"], line
        assert line["leftovers"] <= 1, "what the one before left is taken away"
    assert lines[0]["loads"] == "old" and lines[-1]["loads"] == "new" and lines[-1]["leftovers"] == 0


@pytest.mark.slow
def test_a_save_that_is_killed_before_any_move_of_a_file_leaves_a_folder_that_loads(model, tmp_path):
    require_that_each_moment_loads(model, tmp_path, {}, "moves")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"save_backbone": False}], ids=["with backbone", "experts alone"])
def test_a_save_that_is_killed_at_any_step_leaves_a_folder_that_loads(model, tmp_path, settings):
    require_that_each_moment_loads(model, tmp_path, settings, "all")


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_dead_writer_left_is_deleted_and_what_a_living_one_writes_stays(tmp_path):
    (tmp_path / "target").mkdir()
    with staged_folder(tmp_path / "target") as mine:
        names = {
            "of a dead process": mine.name.replace(f"-{os.getpid()}-", f"-{dead_process()}-"),
            "of this number's process before": mine.name[:-17] + "0" * 8 + mine.name[-9:],
            "of a living process": mine.name.replace(f"-{os.getpid()}-", f"-{os.getppid()}-"),
            "of another machine": ".partial-0a0a0a" + mine.name[15:],
            "of an earlier version": ".expert.gl.safetensors.123.partial",
            "of an earlier version, old": ".0123456789abcdef.partial.json",
            "of somebody else": ".partial-notes.txt",
        }
        for name in names.values():
            (tmp_path / "target" / name).write_text("x")
        os.utime(tmp_path / "target" / names["of an earlier version, old"], (0, time.time() - 2 * 24 * 3600))
        delete_leftovers(tmp_path / "target")
        stays = {what for what, name in names.items() if (tmp_path / "target" / name).exists()}
        assert mine.is_dir()
    assert stays == {"of a living process", "of another machine", "of an earlier version", "of somebody else"}


def test_a_block_that_fails_leaves_the_old_files_and_nothing_else(tmp_path):
    for path in ("config.json", "weights"):
        (tmp_path / path).write_text("old")

    def fail_in_a_folder():
        with staged_folder(tmp_path) as staged:
            (staged / "weights").write_text("new")
            raise RuntimeError("no more")

    def fail_in_a_file():
        with atomic_path(tmp_path / "config.json") as path:
            path.write_text("new")
            raise RuntimeError("no more")

    for fail in (fail_in_a_folder, fail_in_a_file):
        with pytest.raises(RuntimeError, match="no more"):
            fail()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"config.json": "old", "weights": "old"}


def test_older_weights_of_another_form_are_not_loaded_in_place_of_the_new_ones(model, tmp_path):
    for size in ("50GB", "100KB", "50GB"):
        model.save_pretrained(tmp_path, max_shard_size=size)
        names = {path.name for path in tmp_path.glob("model[.-]*")}
        assert ("model.safetensors" in names) == (size == "50GB"), names
        assert len(names) == 1 or "model.safetensors.index.json" in names
