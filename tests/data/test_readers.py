"""Every corpus is read as its makers released it, to the letter, and no odd row is merged, lost or fatal."""

import json
import os
import shutil
import unicodedata
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, ClassLabel, Features, Value, load_dataset, load_dataset_builder
from helpers import corpora, speech

from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.data.common_voice import read_common_voice
from modeling_distilwhisper.data.fleurs import CODES, read_fleurs
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.data.hub import read_hub
from modeling_distilwhisper.data.rows import FEATURES
from modeling_distilwhisper.data.sources import Source, parse_sources, read_sources
from modeling_distilwhisper.data.usable import keep_scorable, keep_usable
from modeling_distilwhisper.evaluation.translation import with_english

pytestmark = pytest.mark.usefixtures("cache")


TEXTS = ["la ri", "mo tu la", 'say "mo"']


@pytest.fixture(params=["folder", "archive"])
def common_voice(request, tmp_path):
    release = corpora.write_common_voice(tmp_path, "gl")
    return release if request.param == "folder" else corpora.pack(release)


@pytest.fixture
def parquet(tmp_path):
    """A data set as the Hub stores it."""
    sound = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "id": pa.array([7, 8], pa.int32()),
        "path": ["long/path/a.wav", None],
        "audio": pa.array([{"bytes": corpora.wav(speech.tone(500)), "path": "a.wav"}, {"bytes": b"?"}], sound),
        "transcription": ["la  ri", "mo"],
        "gender": pa.array([1, -1], pa.int64()),
    }
    genders = ClassLabel(names=["male", "female", "other"])
    strings = {"path": Value("string"), "transcription": Value("string")}
    features = Features({"id": Value("int32"), "audio": Audio(), "gender": genders, **strings})
    metadata = json.dumps({"info": {"features": features.to_dict()}})
    (tmp_path / "corpus").mkdir()
    table = pa.table(columns).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "corpus/test-00000-of-00001.parquet")
    return tmp_path / "corpus"


def test_common_voice_is_read_to_the_letter(common_voice):
    """Quotes, NA and null are text; ages and genders are spelt as everywhere."""
    rows = read_common_voice(common_voice, "test", "gl")
    assert rows.features == FEATURES
    assert list(rows["text"]) == [*corpora.SENTENCES, "no clip", "cut clip", ""]
    assert set(rows["age"]) == {"", "forties"} and set(rows["gender"]) == {"", "male"}
    assert set(rows["split"]) == {"test"} and set(rows["data_set"]) == {"common_voice"}
    assert rows["id"][1] == "common_voice_gl_test1.mp3"
    kept, left_out = keep_scorable(rows)
    assert list(kept["text"]) == corpora.SENTENCES
    assert left_out == {"missing audio file": 1, "unreadable audio": 1, "empty text": 1}


def test_newer_releases_name_genders_and_sentences_differently(tmp_path):
    rows = read_common_voice(corpora.write_common_voice(tmp_path, "gl", version=17), "train", "gl")
    assert set(rows["gender"]) == {"", "male"} and rows["sentence_id"][2] == "s2"


def test_a_release_is_named_by_its_folder_its_parent_or_its_language_folder(tmp_path):
    release = corpora.write_common_voice(tmp_path, "gl")
    for location in (tmp_path, release, release / "gl"):
        assert len(read_common_voice(location, "validation", "gl")) == 9
    with pytest.raises(FileNotFoundError, match="has no ca/test.tsv. Expected a Common Voice release"):
        read_common_voice(release / "gl", "test", "ca")


def test_the_sample_is_the_best_voted_with_ties_in_the_files_order(common_voice):
    """The report's: up-votes falling, then down-votes rising (section 5.1.1)."""
    rows = read_common_voice(common_voice, "train", "gl", count=5)
    assert [name[-5] for name in rows["id"]] == ["4", "6", "8", "5", "7"]
    assert len(read_common_voice(common_voice, "train", "gl", count=3000)) == 9


def test_two_releases_in_one_folder_are_not_mistaken_for_each_other(tmp_path):
    release = corpora.write_common_voice(tmp_path, "gl")
    shutil.copytree(release, tmp_path / "cv-corpus-9.0")
    with pytest.raises(ValueError, match="Several releases have gl/test.tsv"):
        read_common_voice(tmp_path, "test", "gl")


def test_the_chinese_of_taiwan_is_read_only_where_it_is_meant(tmp_path):
    """Whisper has one code for both. Without a word, the one corpus would stand for the other."""
    release = corpora.write_common_voice(tmp_path / "one", "zh-TW")
    for location in (release, release / "zh-TW", corpora.pack(release)):
        rows = read_common_voice(location, "test", "Chinese")
        assert set(rows["language"]) == {"zh"} and "zh-TW" in rows["id"][0]
    both = corpora.write_common_voice(tmp_path / "both", "zh-TW")
    corpora.write_common_voice(tmp_path / "both", "zh-CN")
    assert "zh-CN" in read_common_voice(both, "test", "zh-CN")["id"][0]
    assert "zh-TW" in read_common_voice(both / "zh-TW", "test", "zh")["id"][0]
    for read in (read_common_voice, Source.parse(f"common_voice:{both}").read):
        with pytest.raises(ValueError, match=r"got 'zh-TW'. Write zh, and .* common_voice:<release>/zh-TW"):
            read(*[both][: read is read_common_voice], "test", "zh-TW")


@pytest.mark.parametrize("language", ["sv", "sv-SE", "Swedish", "swe", "SV_se"])
def test_a_language_is_read_under_whatever_code_the_release_has(tmp_path, language):
    for code in ("sv-SE", "sv"):
        release = corpora.write_common_voice(tmp_path / code, code)
        assert set(read_common_voice(release, "test", language)["language"]) == {"sv"}


@pytest.mark.parametrize("text", ["transcription", "raw_transcription"])
def test_fleurs_is_read_from_its_raw_files(tmp_path, text):
    rows = read_fleurs(corpora.write_fleurs(tmp_path, "gl_es", TEXTS), "validation", "gl", text=text)
    dot = "." if text == "raw_transcription" else ""
    assert list(rows["text"]) == [f"{text}{dot}" for text in TEXTS for _ in range(2)]
    assert list(rows["gender"]) == ["male", "female"] * 3 and rows["sentence_id"][3] == "101"
    kept, left_out = keep_scorable(rows)
    assert len(kept) == 5 and left_out == {"missing audio file": 1}
    assert len(read_audio(kept[0]["audio"])) == 8000


def test_fleurs_has_the_reports_languages_under_its_codes():
    theirs = "bg_bg ca_es cs_cz fi_fi gl_es hi_in hu_hu id_id pl_pl ro_ro sk_sk sl_si ta_in th_th uk_ua vi_vn"
    assert [CODES[code[:2]] for code in theirs.split()] == theirs.split()
    assert CODES["zh"] == "cmn_hans_cn" and CODES["no"] == "nb_no" and CODES["jw"] == "jv_id"
    with pytest.raises(ValueError, match="FLEURS has no language 'eu'"):
        read_fleurs("nowhere", "test", "eu")


def test_translation_pairs_are_joined_by_the_sentence(tmp_path):
    galician = read_fleurs(corpora.write_fleurs(tmp_path, "gl_es", TEXTS), "test", "gl")
    english = read_fleurs(corpora.write_fleurs(tmp_path / "en", "en_us", ["one", "two"]), "test", "en")
    pairs, without = with_english(galician, english)
    assert without == 2 and pairs.features == galician.features
    assert list(pairs["text"]) == ["one", "one", "two", "two"] and set(pairs["language"]) == {"gl"}
    with pytest.raises(ValueError, match="The corpus gave the same rows for English"):
        with_english(galician, galician)
    with pytest.raises(ValueError, match="None of 6 rows has a sentence_id"):
        with_english(galician, english.select([]))


def test_a_data_set_of_the_hub_is_read_without_decoding(parquet):
    rows = read_hub(str(parquet), "test", "gl", sentence_id="id", id="path")
    assert rows.features == FEATURES
    assert list(rows["text"]) == ["la ri", "mo"] and list(rows["gender"]) == ["female", ""]
    assert list(rows["sentence_id"]) == ["7", "8"] and list(rows["id"]) == ["long/path/a.wav", ""]
    kept, left_out = keep_scorable(rows)
    assert len(read_audio(kept[0]["audio"])) == 8000 and left_out == {"unreadable audio": 1}
    with pytest.raises(ValueError, match="has no split train. It has test"):
        read_hub(str(parquet), "train", "gl")
    with pytest.raises(ValueError, match="has no column 'words'. It has id, path"):
        read_hub(str(parquet), "test", "gl", text="words")


def test_audio_of_the_hub_is_not_copied(parquet, cache):
    """A corpus of 100 GB must not become one of 300."""
    for _ in range(2):
        rows, _ = keep_scorable(Source.parse(f"hub:{parquet}").read("test", "gl"))
        (arrow,) = cache.rglob("*.arrow")  # of `datasets`: the split that was asked for, once
    corpus = load_dataset(str(parquet), split="test")
    assert arrow.stat().st_size == pytest.approx(corpus.data.nbytes, abs=10_000)
    assert rows[0]["audio"]["bytes"] == corpus.data.column("audio")[0].as_py()["bytes"]


def test_a_data_set_that_is_not_parquet_says_what_to_name(tmp_path):
    """datasets itself would ask for a package that does not import here."""
    speech.write_folder(tmp_path / "data", "gl")
    with pytest.raises(ValueError, match="Expected parquet files. .* revision=refs/convert/parquet"):
        read_hub(str(tmp_path / "data"), "test", "gl")


def test_fleurs_of_the_hub_is_asked_for_by_its_folder_and_revision(parquet, monkeypatch):
    """It cannot be loaded by the name of its configuration (datasets 5)."""
    asked, load = [], load_dataset_builder
    fetch = lambda *where, **how: (asked.append((where, how)), load(str(parquet)))[1]  # noqa: E731
    monkeypatch.setattr("modeling_distilwhisper.data.hub.load_dataset_builder", fetch)
    rows = Source.parse("fleurs:google/fleurs").read("test", "gl")
    assert asked == [(("google/fleurs", None), {"data_dir": "gl_es", "revision": "refs/convert/parquet"})]
    assert list(rows["sentence_id"]) == ["7", "8"] and set(rows["data_set"]) == {"fleurs"}


def test_a_hub_data_set_is_not_read_as_each_of_several_languages(parquet):
    with pytest.raises(ValueError, match="would give the same rows for gl and en"):
        parse_sources([f"hub:{parquet}"], ["gl", "en"])
    (source,) = parse_sources(["hub:org/corpus?config={language}"], ["gl", "en"])
    assert source._with_language("gl") == ("org/corpus", {"config": "gl"})
    with pytest.raises(ValueError, match="Two corpora have the same name"):
        parse_sources(["a/data", "b/data"], ["gl"])


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("on_disk", ["NFC", "NFD", "both"])
def test_a_file_name_is_found_in_any_normal_form(tmp_path, written, on_disk):
    form = unicodedata.normalize
    names = {"NFC": form("NFC", "été/à.flac"), "NFD": form("NFD", "été/à.flac"), "both": "été/a\u0300.flac"}
    folder = speech.write_folder(tmp_path / "data", "gl") / "test"
    (folder / names[on_disk]).parent.mkdir()
    (folder / "0.flac").rename(folder / names[on_disk])
    speech.write_metadata(folder, [[names[written], "la", "gl", ""], ["ü.flac", "la", "gl", ""]])
    kept, left_out = keep_scorable(read_folder(tmp_path / "data", "test", "gl"))
    assert kept["id"][:] == [names[written]] and left_out == {"missing audio file": 1}


def test_a_path_with_backslashes_is_a_path_of_windows_unless_a_file_has_that_name(tmp_path):
    folder = speech.write_folder(tmp_path / "data", "gl") / "test"
    (folder / "clips").mkdir()
    (folder / "0.flac").rename(folder / "clips/0.flac")
    (folder / "1.flac").rename(folder / r"one\flac")
    names = [r"clips\0.flac", r".\clips\..\2.flac", r"one\flac"]
    speech.write_metadata(folder, [[name, "la", "gl", ""] for name in names])
    kept, left_out = keep_scorable(read_folder(tmp_path / "data", "test", "gl"))
    assert kept["id"][:] == names and not left_out


def test_a_pipe_in_place_of_a_recording_or_a_listing_does_not_hang(tmp_path):
    folder = speech.write_folder(tmp_path / "data", "gl")
    (folder / "test/0.flac").unlink()
    os.mkfifo(folder / "test/0.flac")
    (folder / "test/1.flac").unlink()
    (folder / "test/1.flac").symlink_to("/dev/zero")
    refused = Counter()
    assert keep_scorable(read_folder(folder, "test", "gl", left_out=refused))[1] == {"missing audio file": 1}
    assert refused == {"file outside the folder": 1}
    (folder / "test/metadata.csv").unlink()
    os.mkfifo(folder / "test/metadata.csv")
    with pytest.raises(FileNotFoundError, match="There is no .*metadata.csv"):
        read_folder(folder, "test", "gl")


def test_rows_of_one_name_get_different_ids(tmp_path):
    """Or the record of one would stand for both."""
    speech.write_folder(tmp_path / "data", "gl")
    speech.write_metadata(tmp_path / "data/test", [["0.flac", "la", "gl", ""], ["0.flac", "ri", "gl", ""]])
    assert list(Source.parse(f"{tmp_path}/data").read("test", "gl")["id"]) == ["0 0.flac", "1 0.flac"]


def test_a_folder_lists_its_clips_as_csv_or_json_lines(tmp_path):
    folder = speech.write_folder(tmp_path / "data", "gl")
    expected = list(read_folder(folder, "test")["text"])
    listing = folder / "test/metadata.csv"
    lines = [line.split(",") for line in listing.read_text().splitlines()[1:]]
    rows = [{"file_name": line[0], "text": line[1], "language": line[2], "age": 34} for line in lines]
    listing.unlink()
    listing.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")
    assert list(read_folder(folder, "test")["text"]) == expected
    assert set(read_folder(folder, "test")["age"]) == {"34"}


def test_corpora_of_every_kind_stand_in_one_data_set(tmp_path, parquet, processor):
    """`cv13+fleurs`, section 5.8."""
    release = corpora.write_common_voice(tmp_path, "gl")
    corpora.write_common_voice(tmp_path, "ca")
    fleurs = corpora.write_fleurs(tmp_path, "gl_es", TEXTS)
    speech.write_folder(tmp_path / "recordings/gl", "gl")
    written = [
        f"cv13=common_voice:{release}?test=4",
        f"fleurs:{fleurs}?test=3&seed=5",
        f"mine={tmp_path}/recordings/{{language}}",
        f"hub:{parquet}",
    ]
    sources = [Source.parse(one) for one in written]
    rows = read_sources(sources, "test", ["gl"])
    names = list(rows["data_set"])
    assert [names.count(name) for name in ("cv13", "fleurs", "mine", "corpus")] == [4, 3, 4, 2]
    kept, _ = keep_usable(rows, processor)
    batch = SpeechCollator(processor)([kept[0], kept[-1]])
    assert batch["input_features"].shape[0] == 2, "from a file and from bytes"
    again = read_sources(sources, "test", ["gl"])
    assert again["id"] == rows["id"], "the same rows are chosen each time"
    assert len(read_sources(sources[:1], "test", ["gl", "ca"])) == 8
