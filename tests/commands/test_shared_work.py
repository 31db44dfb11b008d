"""Commands that share their work among processes: two of them write what one writes, also after interruptions."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from helpers import corpora, speech, tiny
from helpers.processes import APART, ENDS_EARLY, run_together

from modeling_distilwhisper.training.cache_files import index_of, key_of, part_paths, read_table

pytestmark = pytest.mark.slow
TIMES = ("compute_seconds", "real_time_factor")  # which differ from run to run


@pytest.fixture(scope="module")
def place(processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    whisper = tiny.make_whisper(processor)
    whisper.generation_config.max_length = 16  # a random one never ends by itself
    whisper.save_pretrained(folder / "whisper")
    processor.save_pretrained(folder / "whisper")
    for seed, (language, rows) in enumerate({"gl": 6, "ca": 7}.items()):  # neither is a multiple of all processes
        speech.write_folder(folder / "speech" / language, language, rows=rows, seed=seed)
    for number in range(3):  # with lengths of their own, so that the order by length is another than that of the list
        path = folder / f"speech/gl/train/{number}.flac"
        soundfile.write(path, speech.clip(0.6 + 0.8 * number), speech.RATE)
    corpora.write_common_voice(folder, "gl")
    return folder


def eval_flags(place, output):
    flags = ["eval", "--models", f"tiny={place}/whisper", "--data", f"own={place}/speech/{{language}}"]
    flags += ["--splits", "train", "--languages", "gl", "ca", "--device", "cpu", "--batch_size", 2]
    return [*flags, "--identification", "--output_dir", output]


@pytest.fixture(scope="module")
def one(place):
    """The evaluation by one process."""
    ((status, _, errors),) = run_together(1, *eval_flags(place, place / "one"))
    assert status == 0, errors[-3000:]
    return contents(place / "one")


def contents(folder):
    """Each file of a folder by its path, without times."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {str(path.relative_to(folder)): path.read_text() if ".json" in path.name else "" for path in paths}
    return {
        name: [without_times(json.loads(part)) for part in (text.splitlines() if ".jsonl" in name else [text]) if part]
        for name, text in files.items()
    }


def without_times(value):
    if isinstance(value, dict):
        return {name: without_times(part) for name, part in value.items() if name not in TIMES}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def records(path):
    return {record["id"]: record for record in map(json.loads, path.read_text().splitlines())}


def test_two_processes_score_as_one_and_one_of_them_prints(place, one, tmp_path):
    (status, printed, errors), other = run_together(2, *eval_flags(place, tmp_path / "out"))
    assert status == 0, errors[-3000:]
    assert other == (0, "", "")
    assert printed.count("## scores") == 1 and "own train gl: 6 rows" in printed
    assert contents(tmp_path / "out") == one and len(one["tiny/own/gl.train.languages.jsonl"]) == 6
    again, other = run_together(2, *eval_flags(place, tmp_path / "out"))
    assert (again[0], other[0]) == (0, 0) and contents(tmp_path / "out") == one


def test_after_a_process_was_killed_another_number_of_processes_ends_the_run(place, one, tmp_path):
    flags = [*eval_flags(place, tmp_path / "out"), "--batch_size", 1]
    (status, _, errors), (killed, _, _) = run_together(2, 1, 2, "killed", *flags, script=ENDS_EARLY)
    assert killed < 0 and status == 1
    assert "Another process of this run has ended" in errors and "Traceback" not in errors
    folder = tmp_path / "out/tiny/own"
    left = {path.name: records(path) for path in folder.glob("gl.train.jsonl.process-*")}
    assert {name: len(part) for name, part in left.items()} == {
        "gl.train.jsonl.process-0": 3,
        "gl.train.jsonl.process-1": 1,
    }
    for status, _, errors in run_together(3, *flags):
        assert status == 0, errors[-3000:]
    assert contents(tmp_path / "out") == one, "each row once, in the same order, and no file of a process is left"
    complete = records(folder / "gl.train.jsonl")
    for part in left.values():
        assert all(complete[name] == record for name, record in part.items()), "what was there was not made again"


def test_an_error_of_one_process_is_said_and_ends_the_others(place, tmp_path):
    flags = eval_flags(place, tmp_path / "out")
    (status, _, errors), (failed, printed, said) = run_together(2, 1, 1, "a broken GPU", *flags, script=ENDS_EARLY)
    assert (status, failed) == (1, 1)
    assert said.strip() == "distilwhisper eval: error: process 1: a broken GPU" and not printed
    assert "Another process of this run has ended" in errors and "Traceback" not in errors

    for status, printed, said in run_together(2, *flags, "--batch_size", "none"):
        assert status == 2 and not printed and said.count("argument --batch_size") == 1


def test_torchrun_ends_a_run_that_lost_a_process(place, tmp_path):
    """The other process waits for it, and its launcher would wait for that."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    command = [*launcher, ENDS_EARLY, 0, 3, "killed", *eval_flags(place, tmp_path / "out")]
    begun = time.monotonic()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ, timeout=120)
    assert done.returncode == 1 and "SIGKILL" in done.stderr
    assert time.monotonic() - begun < 100 and not (tmp_path / "out/summary.json").exists()
    assert len(records(tmp_path / "out/tiny/own/gl.train.jsonl")) == 6, "before, they shared the rows of gl"


def test_processes_without_a_common_folder_or_with_other_data_are_refused(place, tmp_path):
    for number in range(2):
        (tmp_path / f"{number}").mkdir()
    flags = eval_flags(place, "out")
    (status, _, errors), _ = run_together(2, tmp_path, *flags, script=APART)
    assert status == 1 and "out is not one folder for all processes: process 1 does not see" in errors
    assert not list(tmp_path.glob("*/out/*"))

    for number in range(2):
        shutil.copytree(place / "speech", tmp_path / f"{number}/speech")
    listing = tmp_path / "1/speech/gl/train/metadata.csv"
    listing.write_text("\n".join(listing.read_text().splitlines()[:-1]))
    flags = [*eval_flags(place, tmp_path / "out"), "--data", "own=speech/{language}", "--languages", "gl"]
    (status, _, errors), _ = run_together(2, tmp_path, *flags, script=APART)
    assert status == 1 and "The processes have different rows for gl.train.jsonl. Give all machines" in errors


def test_two_processes_store_each_prediction_of_a_teacher_once(place, tmp_path):
    flags = ["cache-teacher", "--student", place / "whisper", "--teacher", place / "whisper", "--languages", "gl", "ca"]
    flags += ["--data", f"own={place}/speech/{{language}}", "--device", "cpu", "--k", 8, "--part_size", 2]
    tables = []
    for processes in (1, 2):
        folder = tmp_path / f"{processes}"
        (status, printed, errors), *others = run_together(processes, *flags, "--output_dir", folder, "--batch_size", 2)
        assert status == 0, errors[-3000:]
        assert others == [(0, "", "")] * (processes - 1)
        assert [line.split()[-3:] for line in printed.splitlines()[2:4]] == [["5", "5", "1"], ["7", "7", "0"]]
        tables.append(read_table(folder, 8))
    alone, together = ({key_of(row): row for row in table.to_pylist()} for table in tables)
    assert len(alone) == len(tables[0]) == len(tables[1]) == 12 and alone.keys() == together.keys()
    for key, row in alone.items():
        other = together[key]
        for name in ("logits", "rest"):
            np.testing.assert_allclose(other.pop(name), row.pop(name), rtol=1e-4, atol=1e-4)
        assert other == row

    for part in part_paths(folder)[1:4]:  # as of a run that was killed
        part.unlink()
    for status, _, errors in run_together(3, *flags, "--output_dir", folder):
        assert status == 0, errors[-3000:]
    table = read_table(folder, 8)
    assert len(table) == 12 and index_of(table).keys() == alone.keys()


def test_two_processes_make_the_study_of_bias_that_one_makes(place, tmp_path):
    flags = ["bias", "--models", f"tiny={place}/whisper", "--precision", "float32", "--languages", "gl", "fr"]
    flags += ["--data", f"common_voice:{place}/cv-corpus-13.0-2023-03-09", "--figures", "figure3", "--device", "cpu"]
    flags += ["--batch_size", 2]
    made = []
    for processes in (1, 2):
        folder = tmp_path / f"{processes}"
        (status, _, errors), *others = run_together(processes, *flags, "--output_dir", folder)
        assert status == 0, errors[-3000:]
        assert others == [(0, "", "")] * (processes - 1)
        assert errors.count("common_voice fr is left out") == 1
        checked = folder / "checked/common_voice/gl.jsonl"
        tables = {path.name: path.read_text() for path in (folder / "tables").glob("*.csv")}
        made.append((contents(folder) | {"checked/common_voice/gl.jsonl": records(checked)}, tables))
    assert made[0] == made[1] and len(made[0][1]) > 3


def test_two_processes_transcribe_a_folder_as_one_does(place, tmp_path):
    """Also what is said in the end: a process that had no bad recording must not hide that of another."""
    for name, seconds in {"a": 0.5, "b": 1.5, "c": 2.5, "d": 1.0, "e": 0.7}.items():
        path = tmp_path / f"in/gl/{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, speech.clip(seconds), speech.RATE)
    for name in ("cut", "torn", "broken"):
        (tmp_path / f"in/gl/{name}.wav").write_bytes(b"RIFF no audio")
    flags = ["transcribe", tmp_path / "in", "--model", place / "whisper", "--language", "folder", "--device", "cpu"]
    made = []
    for processes in (1, 2):
        folder = tmp_path / f"{processes}"
        (status, printed, errors), *others = run_together(processes, *flags, "--output_dir", folder)
        assert status == 1 and others == [(0, "", "")] * (processes - 1), errors[-3000:]
        left_out = sorted(line.rpartition("/")[2] for line in errors.splitlines() if line.startswith("Left out"))
        table = [line.split()[0] for line in printed.splitlines() if ".wav" in line]
        files = {path.relative_to(folder): path.read_text() for path in folder.rglob("*") if path.is_file()}
        made.append((left_out, table, files))
    assert made[0] == made[1]
    assert len(made[0][0]) == 3 and [name.rpartition("/")[2] for name in made[0][1]] == [f"{x}.wav" for x in "abcde"]
    assert len(made[0][2]) == 5 * 4 + 2
