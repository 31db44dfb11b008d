"""Corpora of the Hub: no more is fetched than what is wanted."""

import pyarrow
import pyarrow.parquet
import pytest

from modeling_distilwhisper import parse_sources
from modeling_distilwhisper.data.hub import read_hub


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def corpus(tmp_path):
    """Of the split train there is only damage: whoever opens it fails."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    sounds = [{"bytes": f"sound {number}".encode(), "path": f"{number}.wav"} for number in range(6)]
    columns = {"audio": sounds, "sentence": [f" sentence  {number}" for number in range(6)], "sex": ["female"] * 6}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "test-00000-of-00001.parquet")
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "dev-00000-of-00001.parquet")
    (folder / "train-00000-of-00001.parquet").write_bytes(b"damaged")
    return folder


def test_one_split_is_read_without_the_files_of_the_others(corpus):
    rows = read_hub(str(corpus), "test", "gl", gender="sex")
    assert rows["text"][:2] == ["sentence 0", "sentence 1"] and rows["gender"][0] == "female"
    assert len(read_hub(str(corpus), "validation", "gl")) == 6, "called dev or validation"
    with pytest.raises(ValueError, match="cannot be read"):
        read_hub(str(corpus), "train", "gl")
    (corpus / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(ValueError, match="has no split test. It has"):
        read_hub(str(corpus), "test", "gl")


def test_streamed_rows_are_those_that_a_download_gives_and_no_more_than_wanted(corpus):
    complete = read_hub(str(corpus), "test", "gl", gender="sex")
    (source,) = parse_sources([f"hub:{corpus}?streaming=true&gender=sex&test=3"], ["gl"])
    streamed = source.read("test", "gl")
    for column in ("audio", "text", "language", "split", "gender"):
        assert list(streamed[column]) == list(complete[column])[:3]
    assert list(read_hub(str(corpus), "test", "gl", gender="sex", streaming="true")) == list(complete)
    with pytest.raises(ValueError, match="streaming must be true or false"):
        read_hub(str(corpus), "test", "gl", streaming="yes")


def test_streaming_reads_no_rows_after_the_last_that_is_wanted(corpus):
    """For `--max_rows` too: a try on a few rows of a large corpus fetches few."""
    first = corpus / "test-00000-of-00001.parquet"
    content = first.read_bytes()
    first.unlink()
    for number in range(2):  # `datasets` reads one file ahead
        (corpus / f"test-0000{number}-of-00003.parquet").write_bytes(content)
    damaged = content[:4] + b"\xff" * 76 + content[80:]  # its rows; the list of its columns, at the end, stays
    (corpus / "test-00002-of-00003.parquet").write_bytes(damaged)
    assert len(read_hub(str(corpus), "test", "gl", streaming="true", count=4)) == 4
    for setting, expected in {"": 4, "&test=2": 2, "&test=9": 4}.items():
        (source,) = parse_sources([f"hub:{corpus}?streaming=true{setting}"], ["gl"])
        assert len(source.read("test", "gl", at_most=4)) == expected
    for streaming in ("true", "false"):
        with pytest.raises(ValueError, match="cannot be read"):
            read_hub(str(corpus), "test", "gl", streaming=streaming)


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_rows_of_the_hub_weigh_in_a_loss_what_their_column_says(corpus, streaming):
    """A labelled corpus that was pushed would else train with full weight."""
    path = corpus / "test-00000-of-00001.parquet"
    table = pyarrow.parquet.read_table(path)
    weights = [0.5, None, 0.0, 2.0, 1.0, 0.25]
    pyarrow.parquet.write_table(table.append_column("loss_weight", pyarrow.array(weights)), path)
    rows = read_hub(str(corpus), "test", "gl", streaming=streaming)
    assert rows["loss_weight"][:] == [1.0 if weight is None else weight for weight in weights]
    assert read_hub(str(corpus), "validation", "gl", streaming=streaming)["loss_weight"][:] == [1.0] * 6
    bad = pyarrow.array([float("nan")] * 6)
    pyarrow.parquet.write_table(table.append_column("loss_weight", bad), path)
    with pytest.raises(ValueError, match="A loss_weight in .* is nan. Expected a number from 0 to 1000"):
        read_hub(str(corpus), "test", "gl", streaming=streaming)
