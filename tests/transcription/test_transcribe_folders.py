"""A folder of recordings is transcribed whatever is in it: a bad one stops no other, and no work is done twice."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.scripts import run_command
from helpers.speech import RATE, clip

from modeling_distilwhisper.transcription.recordings import (
    OutputClaims,
    Recording,
    batches,
    count_unused,
    find_recordings,
)

OF_THE_RUN = {"settings.json", "recordings.jsonl"}


@pytest.fixture
def folder(model, processor, tmp_path):
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    for name, seconds in {
        "gl/a.wav": 1.0,
        "gl/long.flac": 3.0,
        "fr/a.ogg": 1.5,
        "fr/b.wav": 0.5,
        "fr/b.flac": 0.7,
    }.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, clip(seconds), RATE)
    (tmp_path / "in/gl/cut.wav").write_bytes(b"RIFF no audio")
    soundfile.write(tmp_path / "in/gl/empty.wav", np.zeros(0), RATE)
    (tmp_path / "in/gl/notes.txt").write_text("not a recording")
    return tmp_path


def test_a_folder_is_transcribed_without_its_bad_files_and_a_second_run_continues(folder):
    flags = [folder / "in", "--model", folder / "model", "--output_dir", folder / "out", "--language", "folder"]
    flags += ["--batch_size", 2]
    status, printed, errors = run_command("transcribe", *flags)
    assert status == 1, "something was left out"
    assert "cut.wav: not readable audio" in errors and "empty.wav: the recording is empty" in errors
    assert "notes.txt" not in errors and "Traceback" not in errors
    suffixes = ("srt", "vtt", "json", "txt")
    stems = ("gl/a", "gl/long", "fr/a", "fr/b.wav", "fr/b.flac")
    written = {str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*") if path.is_file()}
    assert written == {f"{stem}.{suffix}" for stem in stems for suffix in suffixes} | OF_THE_RUN
    contents = {stem: json.loads((folder / f"out/{stem}.json").read_text()) for stem in stems}
    assert [contents[stem]["language"] for stem in stems] == ["gl", "gl", "fr", "fr", "fr"]
    assert contents["gl/long"]["seconds"] == 3.0 and "gl/long.flac" in printed.replace(str(folder), "")

    (folder / "out/gl/a.srt").unlink()
    for name in ("gl/a.vtt", "gl/long.json"):
        (folder / "out" / name).write_text("corrected")
    status, printed, errors = run_command("transcribe", *flags)
    assert (folder / "out/gl/a.srt").is_file(), "missing transcripts are written"
    for name in ("gl/a.vtt", "gl/long.json"):
        assert (folder / "out" / name).read_text() == "corrected", "existing transcripts are not overwritten"
    assert "a.wav" in printed and "long.flac" not in printed, "complete recordings are not transcribed again"
    assert "4 of 7 recordings had their transcripts already" in printed


@pytest.fixture
def saved(model, processor, tmp_path):
    """Flags of a model and an output folder."""
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    return ["--model", tmp_path / "model", "--output_dir", tmp_path / "out"]


def record(path, seconds=0.3, pitch=500):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        soundfile.write(file, clip(seconds, pitch), RATE, format="WAV")
    return path


def written_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - OF_THE_RUN


def test_no_name_and_no_raw_file_stops_the_rest(saved, tmp_path):
    """A name that is no UTF-8, one of the greatest length, one too long with the suffix; samples without a rate."""
    letters, too_long = "ш" * 120, "x" * 251
    for name in ("plain", os.fsdecode(b"caf\xe9"), letters, too_long):
        record(tmp_path / "in" / f"{name}.wav")
    (tmp_path / "in/samples.raw").write_bytes(bytes(1000))
    status, printed, errors = run_command(
        "transcribe", tmp_path / "in", *saved, "--formats", "json", "--language", "gl"
    )
    assert status == 1 and "Traceback" not in errors, errors
    assert written_in(tmp_path / "out") == {"plain.json", os.fsdecode(b"caf\xe9.json"), f"{letters}.json"}
    assert "caf\\udce9.wav" in printed
    assert errors.count("Left out:") == 1 and f"{too_long}.wav: " in errors and "too long" in errors


def test_a_recording_that_breaks_its_batch_is_left_out_alone(saved, tmp_path):
    path = tmp_path / "model/generation_config.json"
    settings = json.loads(path.read_text())
    settings["lang_to_id"]["<|fr|>"] = -5  # no token has this id: this language makes its batch fail
    path.write_text(json.dumps(settings))
    for name in ("gl/a", "fr/b", "ca/c"):
        record(tmp_path / "in" / f"{name}.wav")
    flags = [*saved, "--formats", "txt", "--language", "folder", "--vad", "none"]
    status, _, errors = run_command("transcribe", tmp_path / "in", *flags)
    assert status == 1 and "Traceback" not in errors, errors
    assert written_in(tmp_path / "out") == {"gl/a.txt", "ca/c.txt"}
    assert errors.count("Left out:") == 1 and "b.wav: IndexError: index out of range" in errors


def lengths_of_batches(lengths, size, window=30):
    recordings = (Recording(Path(f"{number}.wav"), Path(str(number)), "gl") for number in range(len(lengths)))
    decoded = zip(recordings, (np.broadcast_to(np.float32(0), length * RATE) for length in lengths), strict=True)
    return [[len(samples) // RATE for _, samples in batch] for batch in batches(decoded, size, window * RATE)]


def test_a_recording_longer_than_a_window_is_a_batch_alone():
    """Eight rows as long as three hours are more than a machine's memory, and a day's work in one piece."""
    assert lengths_of_batches([20, 10_800, 30, 31, 10], 2) == [[10_800], [20, 30], [31], [10]]
    assert lengths_of_batches([0] * 5, 4) == [[0] * 4, [0]]
    many = lengths_of_batches([30] * 200, 500)
    assert [len(batch) for batch in many] == [60, 60, 60, 20], "half an hour of padded audio at most"


def test_the_lengths_of_headers_decide_nothing(saved, tmp_path):
    """They made batches, and a progress bar of 1,800,006 s; a MemoryError ended the run."""
    for number in range(3):
        record(tmp_path / f"in/{number}.wav", 0.5)
    lying = bytearray((tmp_path / "in/0.wav").read_bytes())
    lying[40:44] = bytes(4)
    (tmp_path / "in/0.wav").write_bytes(lying)
    content = (tmp_path / "in/1.wav").read_bytes()
    (tmp_path / "in/1.wav").write_bytes(content[: len(content) // 2])
    os.mkfifo(tmp_path / "in/pipe.wav")
    status, printed, errors = run_command(
        "transcribe", tmp_path / "in", *saved, "--formats", "json", "--language", "gl"
    )
    assert status == 1 and written_in(tmp_path / "out") == {"0.json", "2.json"}
    assert json.loads((tmp_path / "out/0.json").read_text())["seconds"] == 0.5
    assert "1.wav: not readable audio (its header promises 16000 bytes, but 7978 are there: it was cut off)" in errors
    assert "3/3" in errors.replace("\r", "\n") and "1 pipe, device or broken link" in printed


def transcript_paths(given, output_dir):
    recordings = find_recordings(given, output_dir, "gl", {"gl"})
    return {str(recording.target.relative_to(output_dir)) for recording in recordings}


def test_recordings_of_one_name_have_different_paths_of_transcripts(tmp_path):
    talks = [record(tmp_path / "two" / name / "talk.wav") for name in ("a", "b")]
    out = tmp_path / "out"
    assert transcript_paths([tmp_path / "two"], out) == {"a/talk", "b/talk"}
    assert transcript_paths(talks, out) == {"a/talk", "b/talk"}, "as files"
    assert transcript_paths([talk.parent for talk in talks], out) == {"a/talk", "b/talk"}, "as folders"
    assert transcript_paths(talks[:1], out) == transcript_paths([talks[0].parent], out) == {"talk"}
    record(tmp_path / "two/a/talk.flac")
    assert transcript_paths([talks[0].parent], out) == {"talk.wav", "talk.flac"}
    assert transcript_paths([record(tmp_path / "settings.wav")], out) == {"settings.wav"}, "settings.json is the run's"
    further = record(tmp_path / "three/a/talk.wav")
    with pytest.raises(ValueError, match="three/a/talk.wav would both have .* Give the folder above both"):
        transcript_paths([talks[0], further], out)


def test_the_path_of_transcripts_that_were_never_written_is_free_for_another_recording(tmp_path):
    """Paths are claimed before the work begins, also for a recording that turns out to be damaged."""
    target = tmp_path / "out/talk"
    first, second = (Recording(tmp_path / name / "talk.wav", target, "gl") for name in "ab")
    OutputClaims(tmp_path / "out").claim([first])
    OutputClaims(tmp_path / "out").check(second)
    OutputClaims(tmp_path / "out").claim([second])
    (tmp_path / "out/talk.vtt").write_text("")
    OutputClaims(tmp_path / "out").check(second)
    with pytest.raises(ValueError, match=f"are the transcripts of {second.path}. Use another"):
        OutputClaims(tmp_path / "out").check(first)


@pytest.mark.slow
def test_transcripts_of_another_recording_or_with_other_settings_do_not_count_as_done(saved, tmp_path):
    first, second = (
        record(tmp_path / "two" / name / "talk.wav", pitch=pitch) for name, pitch in (("a", 300), ("b", 800))
    )
    flags = [*saved, "--formats", "txt", "--language"]
    assert run_command("transcribe", first, *flags, "gl")[0] == 0
    before = (tmp_path / "out/talk.txt").read_text()

    status, printed, errors = run_command("transcribe", second, *flags, "gl", "--formats", "txt", "srt")
    assert status == 1 and "Nothing was transcribed" in printed
    assert f"Left out: {second}" in errors and f"are the transcripts of {first}. Use another --output_dir" in errors
    assert written_in(tmp_path / "out") == {"talk.txt"} and (tmp_path / "out/talk.txt").read_text() == before

    status, _, errors = run_command("transcribe", first, *flags, "ca")
    assert status == 1 and "holds a run with other settings: language 'gl', now 'ca'. Use its settings" in errors
    status, _, errors = run_command("transcribe", first, *flags, "gl", "--task", "translate")
    assert status == 1 and "task 'transcribe', now 'translate'" in errors

    status, printed, errors = run_command("transcribe", tmp_path / "two", *flags, "gl")
    assert status == 0 and written_in(tmp_path / "out") == {"talk.txt", "a/talk.txt", "b/talk.txt"}, errors
    status, printed, _ = run_command("transcribe", tmp_path / "two", *flags, "gl")
    assert status == 0 and "2 of 2 recordings had their transcripts already" in printed


def test_recordings_that_cannot_be_read_are_named(saved, tmp_path):
    record(tmp_path / "in/plain.wav")
    for name in ("in/a talk.m4a", "in/film.MKV", "in/plain.mp4", "single.webm"):
        (tmp_path / name).write_bytes(b"something")
    flags = [*saved, "--formats", "txt", "--language", "gl"]
    status, printed, errors = run_command("transcribe", tmp_path / "in", tmp_path / "single.webm", *flags, PATH="")
    assert status == 1 and written_in(tmp_path / "out") == {"plain.txt"}
    reason = "cannot be read without the ffmpeg program, which is not installed. Install it, or convert the file"
    assert f"a talk.m4a: .m4a {reason} elsewhere: ffmpeg -i 'a talk.m4a' 'a talk.flac'" in errors
    assert f"film.MKV: .MKV {reason}" in errors and f"single.webm: .webm {reason}" in errors
    assert errors.count("Left out:") == 3 and "Files not used: 1 .mp4" in printed, "plain.mp4 has been converted"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is not installed")
def test_recordings_that_ffmpeg_can_decode_are_transcribed(saved, tmp_path):
    samples = record(tmp_path / "in/plain.wav", 1.5)
    for name in ("-f.m4a", "http:a.mka", "plain.mp4", "b.3gp"):
        options = ["-c:a", "aac", f"file:{tmp_path / 'in' / name}"]
        subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "error", "-i", samples, *options], check=True)
    (tmp_path / "in/broken.amr").write_bytes(b"#!AMR\n" + bytes(3))
    flags = [*saved, "--formats", "json", "--language", "gl"]
    status, printed, errors = run_command("transcribe", tmp_path / "in", *flags)
    assert status == 1 and written_in(tmp_path / "out") == {"-f.json", "http:a.json", "b.json", "plain.json"}, errors
    assert json.loads((tmp_path / "out/http:a.json").read_text())["seconds"] == pytest.approx(1.5, abs=0.2)
    assert errors.count("Left out:") == 1 and "broken.amr: not readable audio (ffmpeg: " in errors
    assert "Files not used: 1 .mp4." in printed, "it has been converted"


def test_files_that_are_not_used_are_counted_by_suffix(tmp_path):
    record(tmp_path / "in/a/talk.wav")
    for name in ("a/one.dat", "two.DAT", "README", "notes.txt", "x.vox", "out/talk.json"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/gone.wav").symlink_to(tmp_path / "nothing.wav")
    os.mkfifo(tmp_path / "in/pipe.wav")
    given, out = [tmp_path / "in"], tmp_path / "in/out"
    used = [recording.path for recording in find_recordings(given, out, "gl", {"gl"})]
    assert used == [tmp_path / "in/a/talk.wav"]
    assert count_unused(given, used, out) == {
        ".dat": 2, "without suffix": 1, ".txt": 1, ".vox": 1, "linked folder": 1, "pipe, device or broken link": 2
    }  # fmt: skip
    with pytest.raises(ValueError, match="pipe.wav is a pipe or a device. Expected a recording"):
        find_recordings([tmp_path / "in/pipe.wav"], out, "gl", {"gl"})


def test_a_device_a_folder_or_a_name_that_cannot_be_is_a_sentence(saved, tmp_path):
    talk = record(tmp_path / "talk.wav")
    model = saved[:2]
    for device in ("gpu", "cuda:99", "meta", "cpu:x", ""):
        status, _, errors = run_command("transcribe", talk, *saved, "--device", device)
        assert status == 2 and "Traceback" not in errors
        assert f"expected a device of this machine, such as cpu, got '{device}'" in " ".join(errors.split())
    for out in (talk, talk / "out", tmp_path / ("x" * 256), "/proc/none"):
        status, _, errors = run_command("transcribe", talk, *model, "--output_dir", out, "--language", "gl")
        assert status == 1 and "Traceback" not in errors and errors.strip().splitlines()[-1].startswith("distil")
    status, _, errors = run_command("transcribe", tmp_path / ("x" * 256), *saved)
    assert status == 1 and "Traceback" not in errors and "too long" in errors


def test_thousands_of_recordings_are_found_in_a_second(tmp_path):
    for number in range(5_000):
        (tmp_path / f"{number}.wav").touch()
    begun = time.process_time()
    assert len(transcript_paths([tmp_path], tmp_path / "out")) == 5_000
    assert time.process_time() - begun < 3, "the time per recording grows if each is compared with all others"


def test_an_unknown_language_or_a_missing_file_is_an_error_before_anything_is_transcribed(folder):
    start = ["--model", folder / "model", "--output_dir", folder / "out"]
    status, _, errors = run_command("transcribe", folder / "in", *start, "--language", "gal")
    assert status == 1 and "'gal' is no language of this Whisper" in errors and "gl" in errors
    assert not (folder / "out").exists()
    status, _, errors = run_command("transcribe", folder / "nothing.wav", *start)
    assert status == 1 and "does not exist" in errors
