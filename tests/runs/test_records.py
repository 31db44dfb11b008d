"""Records are unique by id, and neither a full disk nor a damaged line costs more than the records it hit."""

import json
import resource
import signal

import pytest

from modeling_distilwhisper.runs.numbers import AT_LEAST_0
from modeling_distilwhisper.runs.records import RecordFile


def text_of(*records) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_of_two_records_with_one_id_the_later_one_counts_when_read_and_when_written(tmp_path):
    path = tmp_path / "gl.jsonl"
    path.write_text(text_of({"id": "1", "x": 1}, {"id": "2", "x": 2}, {"id": "1", "x": 3}))
    assert RecordFile(path).read() == [{"id": "1", "x": 3}, {"id": "2", "x": 2}]
    RecordFile(path).add([{"id": "3", "x": 4}])
    assert path.read_text() == text_of({"id": "1", "x": 3}, {"id": "2", "x": 2}, {"id": "3", "x": 4})
    file = RecordFile(path)
    file.add([{"id": "4"}])
    file.add([{"id": "4", "x": 5}, {"id": "4", "x": 6}])
    file.keep([*file.read(), {"id": "3", "x": 7}])
    assert path.read_text() == text_of(
        {"id": "1", "x": 3}, {"id": "2", "x": 2}, {"id": "3", "x": 7}, {"id": "4", "x": 6}
    )


def test_records_without_an_id_are_all_kept(tmp_path):
    file = RecordFile(tmp_path / "recordings.jsonl")
    file.add([{"recording": "a"}, {"recording": "a"}])
    file.add([{"recording": "b"}])
    assert len(file.read()) == 3


def test_a_reader_does_not_cut_the_record_that_a_writer_is_just_writing(tmp_path):
    path = tmp_path / "gl.jsonl"
    path.write_text(text_of({"id": "1"}) + '{"id": "2"')
    assert RecordFile(path).read() == [{"id": "1"}]
    assert path.read_text().endswith('{"id": "2"'), "it is not whole yet"
    RecordFile(path).add([{"id": "3"}])
    assert path.read_text() == text_of({"id": "1"}, {"id": "3"})


@pytest.mark.parametrize(
    "line", ["", "\0\0\0", "[]", '"1"', "null", "{", '{"id": [1]}', '{"id": "2", "s": NaN}', "[" * 100_000, "\udcff"]
)
def test_a_damaged_record_is_left_out_with_a_warning_that_names_file_and_line(tmp_path, line, caplog):
    path = tmp_path / "gl.jsonl"
    good = {"id": "1", "s": 1}
    path.write_bytes((text_of(good) + line + "\n").encode("utf-8", "surrogateescape"))
    caplog.set_level("WARNING")
    from transformers.utils import logging

    logging.enable_propagation()
    try:
        assert RecordFile(path).read({"id": str, "s": AT_LEAST_0}) == [good]
    finally:
        logging.disable_propagation()
    assert f"{path}: 1 damaged records are left out, the first in line 2:" in caplog.text
    RecordFile(path).add([{"id": "3", "s": 2.5}])
    assert [record["id"] for record in RecordFile(path).read({"id": str, "s": AT_LEAST_0})] == ["1", "3"]


def test_a_full_disk_leaves_no_part_of_a_record(tmp_path):
    file, limits = RecordFile(tmp_path / "gl.jsonl"), resource.getrlimit(resource.RLIMIT_FSIZE)
    file.add([{"id": "1"}])
    before = file.path.read_bytes()
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
    try:
        with pytest.raises(OSError):
            file.add([{"id": "2", "text": "x" * 100}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert file.path.read_bytes() == before
    file.add([{"id": "2"}])
    assert len(file.read()) == 2


def test_what_an_interrupted_run_of_several_processes_left_is_read_and_taken_in(tmp_path):
    """By a run of any number of processes, and by one of a single process."""
    file, beside = RecordFile(tmp_path / "gl[1].jsonl"), tmp_path / "gl[1].jsonl.process-{}"
    file.path.write_text(text_of({"id": "1", "x": 1}, {"id": "2", "x": 2}))
    (tmp_path / "gl.jsonl.process-0").write_text(text_of({"id": "of another file"}))
    for number, lines in {0: text_of({"id": "2", "x": 3}), 11: text_of({"id": "4"}) + '{"id": "5'}.items():
        (tmp_path / str(beside).format(number)).write_text(lines)
    expected = [{"id": "1", "x": 1}, {"id": "2", "x": 3}, {"id": "4"}]
    assert file.read() == expected and file.is_in_parts()
    file.add([{"id": "3"}])
    assert file.path.read_text() == text_of(*expected, {"id": "3"})
    assert {path.name for path in tmp_path.glob("*.process-*")} == {"gl.jsonl.process-0"}
    assert file.of_this_process() is file and not file.is_in_parts()


def test_a_process_of_several_writes_beside_the_file_until_all_are_done(tmp_path, monkeypatch):
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    RecordFile(tmp_path / "gl.jsonl").of_this_process().add([{"id": "1"}])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"gl.jsonl.process-1": text_of({"id": "1"})}
