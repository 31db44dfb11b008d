"""Folders of recordings are read as they are; odd rows are counted and left out; odd folders are refused."""

from collections import Counter

import numpy as np
import pytest
import soundfile
from helpers import speech, tiny

from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.data.labels import label_ids
from modeling_distilwhisper.data.usable import keep_scorable, keep_usable


@pytest.fixture
def folder(tmp_path):
    return speech.write_folder(tmp_path / "data", "gl")


def test_rows_are_those_of_the_folder(folder):
    rows = read_folder(folder, "train")
    assert len(rows) == 12 and set(rows["language"]) == {"gl"} and set(rows["gender"]) == {"female"}
    assert rows[0]["audio"]["path"] == str(folder / "train/0.flac") and len(rows[0]["text"].split()) == 2
    assert len(read_folder(folder, "test", "gl")) == 4 and len(read_folder(folder, "test", "ca")) == 0


def test_text_is_read_to_the_letter(folder):
    texts = ['say "yes", then', "NA", "null", "42", "a; b, c", "l'aigua\u0301"]
    speech.write_metadata(folder / "train", [[f"{i}.flac", text, "gl", ""] for i, text in enumerate(texts)])
    assert list(read_folder(folder, "train")["text"]) == texts


def test_every_unusable_row_is_counted_by_its_reason(folder, processor):
    train = folder / "train"
    soundfile.write(train / "long.wav", np.zeros(8000 * tiny.WINDOW_SECONDS + 1, dtype=np.float32), 8000)
    soundfile.write(train / "nothing.wav", np.zeros(0, dtype=np.float32), 16000)
    (train / "broken.flac").write_bytes((train / "0.flac").read_bytes()[:100])
    (train / "text.wav").write_text("this is no audio")
    lines = [
        ["0.flac", "la ri", "gl", ""],
        ["long.wav", "la", "gl", ""],
        ["nothing.wav", "la", "gl", ""],
        ["broken.flac", "la", "gl", ""],
        ["text.wav", "la", "gl", ""],
        ["missing.wav", "la", "gl", ""],
        ["1.flac", "  ", "gl", ""],
        ["2.flac", "very " * 20, "gl", ""],
        ["3.flac", "la <|endoftext|>", "gl", ""],
        ["4.flac", "la", "xx", ""],
        ["noise.wav", "la", "gl", ""],
        ["", "la", "gl", ""],
        ["../test/0.flac", "la", "gl", ""],
        ["/etc/passwd", "la", "gl", ""],
        ["a%00b.wav", "la", "gl", ""],
        ["x" * 300, "la", "gl", ""],
    ]
    soundfile.write(train / "noise.wav", np.full(8000, np.nan, dtype=np.float32), 16000, subtype="FLOAT")
    speech.write_metadata(train, lines)
    table = train / "metadata.csv"
    table.write_bytes(table.read_bytes().replace(b"%00", b"\0"))  # Python 3.10 cannot write it as CSV
    refused = Counter()
    rows, left_out = keep_usable(read_folder(folder, "train", left_out=refused), processor, max_tokens=64)
    assert refused == {"unknown language": 1, "file outside the folder": 2, "NUL sign": 1}
    assert list(rows["text"]) == ["la ri"] and rows[0]["seconds"] == 1.0
    assert left_out == {
        "audio over 2 s": 1,
        "empty audio": 1,
        "unreadable audio": 3,
        "missing audio file": 3,
        "control token in the text": 1,
        "empty text": 1,
        "text over 64 tokens": 1,
    }


def test_the_longest_text_that_is_kept_fits_the_model(folder, processor, model):
    """A row at the bound, padded to its length, must not be refused by the model's check."""
    bound = model.config.max_target_positions
    for letters in range(bound - 10, bound + 1):
        speech.write_metadata(folder / "train", [["0.flac", "x" * letters, "gl", ""]])
        rows, _ = keep_usable(read_folder(folder, "train"), processor, bound)
        if len(rows):
            longest = SpeechCollator(processor)([rows[0]])["labels"]
    assert longest.shape[1] == bound


def test_links_lead_only_to_files_of_the_corpus(folder, tmp_path):
    (folder / "train/0.flac").rename(tmp_path / "elsewhere.flac")
    (folder / "train/0.flac").symlink_to(tmp_path / "elsewhere.flac")
    (tmp_path / "clips").mkdir()
    (folder / "train/clips").symlink_to(tmp_path / "clips")
    (folder / "train/inside.flac").symlink_to(folder / "test/1.flac")
    (folder / "train/loop.flac").symlink_to(folder / "train/loop.flac")
    names = ["0.flac", "clips/a.flac", "inside.flac", "loop.flac", "1.flac"]
    speech.write_metadata(folder / "train", [[name, "la", "gl", ""] for name in names])
    (tmp_path / "linked").symlink_to(folder)
    for location in (folder, tmp_path / "linked"):  # what the user names may be a link
        refused = Counter()
        kept, left_out = keep_scorable(read_folder(location, "train", "gl", left_out=refused))
        assert kept["id"][:] == ["inside.flac", "1.flac"] and left_out == {"missing audio file": 1}
        assert refused == {"file outside the folder": 2}
    (folder / "test/metadata.csv").rename(tmp_path / "metadata.csv")
    (folder / "test/metadata.csv").symlink_to(tmp_path / "metadata.csv")
    with pytest.raises(ValueError, match="test/metadata.csv is a link that leads out of .*Put the file itself there"):
        read_folder(folder, "test", "gl")


def test_a_folder_in_the_cache_of_the_hub_is_read(folder, tmp_path):
    """There, every file is a link into a folder next to that of the snapshots."""
    (tmp_path / "datasets--me--speech/snapshots/1a").mkdir(parents=True)
    folder.rename(tmp_path / "datasets--me--speech/blobs")
    for path in sorted((tmp_path / "datasets--me--speech/blobs").rglob("*.*")):
        link = (
            tmp_path / "datasets--me--speech/snapshots/1a" / path.relative_to(tmp_path / "datasets--me--speech/blobs")
        )
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(path)
    rows = read_folder(tmp_path / "datasets--me--speech/snapshots/1a", "test", "gl")
    assert len(keep_scorable(rows)[0]) == 4


def test_a_folder_without_metadata_names_what_was_expected(folder, tmp_path):
    (folder / "validation/metadata.csv").unlink()
    with pytest.raises(FileNotFoundError, match="Expected a folder with one of them .* has test, train"):
        read_folder(folder, "validation")
    with pytest.raises(FileNotFoundError, match="has none of them"):
        read_folder(tmp_path / "nowhere", "train")


def test_an_empty_listing_is_named(folder):
    (folder / "train/metadata.csv").write_bytes(b"")
    with pytest.raises(ValueError, match=r"metadata.csv has columns \[\]. Expected file_name"):
        read_folder(folder, "train")


def test_missing_columns_are_named(folder):
    speech.write_metadata(folder / "train", [["0.flac", "la"]], header=("file_name", "words"))
    with pytest.raises(
        ValueError, match=r"has columns \['file_name', 'words'\]. Expected file_name, one of transcription"
    ):
        read_folder(folder, "train", "gl")
    speech.write_metadata(folder / "train", [["0.flac", "la"]], header=("file_name", "sentence"))
    with pytest.raises(ValueError, match="and language unless the language is given"):
        read_folder(folder, "train")
    assert read_folder(folder, "train", "gl")["language"] == ["gl"]


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_audio_is_mono_at_16_khz_from_path_or_bytes(tmp_path, suffix, rate):
    seconds = 1.0
    time = np.arange(int(rate * seconds)) / rate
    stereo = np.stack([0.5 * np.sin(2 * np.pi * 440 * time), np.zeros_like(time)], axis=1)
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, stereo, rate)
    samples = read_audio(path)
    assert samples.dtype == np.float32 and samples.ndim == 1 and abs(len(samples) - 16000) < 1500
    assert np.array_equal(read_audio(path.read_bytes()), samples)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) * 16000 / len(samples) == pytest.approx(440, abs=3)
    assert np.abs(samples).max() == pytest.approx(0.25, abs=0.03), "the mean of the channels"


def test_unreadable_audio_says_what_was_expected(tmp_path):
    (tmp_path / "page.wav").write_text("<html>")
    with pytest.raises(ValueError, match="page.wav is not readable audio .* Expected wav, flac, mp3, ogg or opus"):
        read_audio(tmp_path / "page.wav")


def test_labels_hold_language_task_and_text_and_no_start_token(folder, processor, model):
    rows = [{**read_folder(folder, "train")[0], "text": "la ri"}, {**read_folder(folder, "train")[1], "text": "la"}]
    rows[1]["language"] = "ca"
    batch = SpeechCollator(processor)(rows)
    tokens = processor.tokenizer.convert_ids_to_tokens
    assert tokens(batch["labels"][0].tolist()) == [
        *("<|gl|>", "<|transcribe|>", "<|notimestamps|>", "Ġ", "l", "a", "Ġ", "r", "i", "<|endoftext|>")
    ]
    assert tokens(batch["labels"][1, :7].tolist())[0] == "<|ca|>" and batch["labels"][1, 7:].tolist() == [-100] * 3
    assert batch["input_features"].shape == (2, 8, 200) and batch["attention_mask"].sum(dim=1).tolist() == [100, 100]
    shifted = model(**batch, output_gates=True)
    assert shifted.language_ids.tolist() == processor.tokenizer.convert_tokens_to_ids(["<|gl|>", "<|ca|>"])


def test_a_language_without_a_token_is_refused(folder, processor):
    with pytest.raises(ValueError, match=r"no <\|xx\|>"):
        label_ids(processor.tokenizer, "la", "xx")
