"""Every command selects its rows alike: read, cut, check, and an error where no row is usable."""

import pytest
from helpers import speech

from modeling_distilwhisper.data.selection import read_rows
from modeling_distilwhisper.data.sources import parse_sources


@pytest.fixture
def source(tmp_path):
    folder = speech.write_folder(tmp_path / "data", "gl")
    train = folder / "train"
    (train / "0.flac").write_bytes(b"no audio")
    (train / "1.flac").unlink()
    (source,) = parse_sources([f"corpus={folder}"], ["gl"])
    return source


def test_rows_and_the_number_left_out_by_reason(source, processor):
    for selection in (read_rows(source, "train", "gl"), read_rows(source, "train", "gl", processor=processor)):
        assert selection.left_out == {"unreadable audio": 1, "missing audio file": 1}
        assert list(selection.rows["id"]) == [f"{number}.flac" for number in range(2, 12)]
        assert selection.title == "corpus train gl"
        assert selection.hours == pytest.approx(sum(selection.rows["seconds"]) / 3600) and selection.hours > 0
        assert str(selection) == "corpus train gl: 10 rows; left out: 1 unreadable audio, 1 missing audio file"
    assert str(read_rows(source, "test", "gl")) == "corpus test gl: 4 rows; left out: none"


def test_with_a_processor_rows_must_fit_the_model(source, processor):
    selection = read_rows(source, "test", "gl", processor=processor, max_tokens=4)
    assert len(selection.rows) == 0 and selection.left_out == {"text over 4 tokens": 4}
    assert len(read_rows(source, "test", "gl", max_tokens=4).rows) == 4, "they can be scored all the same"


def test_the_cut_comes_before_the_check(source):
    selection = read_rows(source, "train", "gl", max_rows=3)
    assert list(selection.rows["id"]) == ["2.flac"] and selection.left_out.total() == 2
    assert len(read_rows(source, "train", "gl", max_rows=100).rows) == 10


def test_rows_are_filtered_before_the_cut(source):
    def filter_rows(rows):
        return rows.select(range(4, 12)), {"of the first four": 4, "of the others": 0}

    selection = read_rows(source, "train", "gl", max_rows=2, filter_rows=filter_rows)
    assert list(selection.rows["id"]) == ["4.flac", "5.flac"]
    assert selection.left_out == {"of the first four": 4} and selection.reasons == "4 of the first four"


def test_a_selection_without_rows_is_an_error_where_rows_are_needed(source):
    assert len(read_rows(source, "train", "gl", max_rows=2).rows) == 0
    with pytest.raises(ValueError) as error:
        read_rows(source, "train", "gl", max_rows=2, purpose="train on")
    message = str(error.value)
    assert "No usable row in corpus train gl: nothing to train on." in message
    assert "Left out: 1 unreadable audio, 1 missing audio file." in message and source.spec in message


@pytest.mark.parametrize("max_rows", [0, -1])
def test_fewer_rows_than_one_cannot_be_asked_for(source, max_rows):
    with pytest.raises(ValueError, match=f"max_rows must be 1 or more, got {max_rows}"):
        read_rows(source, "train", "gl", max_rows=max_rows)
