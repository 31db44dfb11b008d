"""Timed transcripts: those of a batch equal those of single recordings, players read the files, and a bad recording
does not stop the others."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.scripts import run_command
from helpers.speech import RATE, tone

from modeling_distilwhisper.transcription.recordings import Recording, batches, find_recordings
from modeling_distilwhisper.transcription.segments import Segment, Transcript, transcribe_clips
from modeling_distilwhisper.transcription.subtitles import to_json, to_srt, to_text, to_vtt

SHORT, LONG = {"max_new_tokens": 24}, {"max_new_tokens": 24, "condition_on_prev_tokens": False}
OF_THE_RUN = {"settings.json", "recordings.jsonl"}


def clip(seconds, pitch=500):
    noise = np.random.default_rng(int(pitch)).standard_normal(int(seconds * RATE)).astype(np.float32)
    return 0.1 * noise + tone(pitch, seconds)[: len(noise)]


def test_a_mixed_batch_gives_each_recording_its_transcript_alone(model, processor):
    clips, languages = [clip(2), clip(1.5, 300), clip(2, 800), clip(1, 1200)], ["gl", "fr", "ca", "gl"]
    together = transcribe_clips(model, processor, clips, languages, **SHORT)
    alone = [
        transcribe_clips(model, processor, [one], [language], **SHORT)[0]
        for one, language in zip(clips, languages, strict=True)
    ]
    assert together == alone
    assert [transcript.language for transcript in together] == languages
    assert sum(len(transcript.text) for transcript in together) > 20
    assert len({transcript.text for transcript in together}) > 1


def test_recordings_longer_than_a_window_are_transcribed_to_their_end_with_short_ones(model, processor):
    clips, languages = [clip(5), clip(1.5, 300), clip(4, 800)], ["gl", "fr", "ca"]
    together = transcribe_clips(model, processor, clips, languages, **LONG)
    for one, language, transcript in zip(clips, languages, together, strict=True):
        times = [time for segment in transcript.segments for time in (segment.start, segment.end)]
        assert times == sorted(times) and times[-1] <= transcript.seconds == len(one) / RATE
        assert transcript.segments[-1].end > len(one) / RATE - 2.01, f"{language}: the last window is missing"
    alone = transcribe_clips(model, processor, [clips[0]], ["gl"], **LONG)[0]
    assert together[0] == alone


def test_a_language_that_is_not_given_is_detected(model, whisper, processor):
    clips = [clip(2), clip(1.5, 300), clip(5, 800)]
    given = transcribe_clips(model, processor, clips[:1], ["gl"], **SHORT)[0]
    transcripts = transcribe_clips(model, processor, clips, [None, "gl", None], **LONG)
    assert transcripts[1].language == "gl" and given.language == "gl"
    names = {token: name.strip("<|>") for name, token in whisper.generation_config.lang_to_id.items()}
    for index in (0, 2):
        features = processor(clips[index][: 2 * RATE], sampling_rate=RATE, return_tensors="pt").input_features
        assert transcripts[index].language == names[whisper.detect_language(features).item()]


def test_segments_that_begin_in_the_padding_are_left_out(model, processor):
    """Clamped to the recording's end, they were cues of no length, which WebVTT forbids."""
    lengths, languages = [0.1, 0.3, 0.5, 2.3], ["gl", "fr", "ca", "gl"]
    transcripts = transcribe_clips(model, processor, [clip(length, 300) for length in lengths], languages, **SHORT)
    for transcript in transcripts:
        assert all(segment.start < segment.end <= transcript.seconds for segment in transcript.segments)
    assert transcripts[3].segments, "what begins within the recording stays"


@pytest.mark.parametrize("level", [0.0, 0.2])
def test_a_silent_recording_has_an_empty_transcript(model, processor, level):
    generator = np.random.default_rng(0)
    dither = (level + generator.integers(-2, 3, size=5 * RATE) / 2**15).astype(np.float32)
    still = np.full(RATE, level, dtype=np.float32)
    faint = (level + 0.001 * clip(1)).astype(np.float32)  # a peak of about -66 dB
    transcripts = transcribe_clips(model, processor, [dither, faint, still], ["gl", "gl", None], **LONG)
    assert transcripts[0] == Transcript("gl", 5.0, []) and transcripts[2] == Transcript("und", 1.0, [])
    assert transcripts[1] == transcribe_clips(model, processor, [faint], ["gl"], **SHORT)[0] and transcripts[1].segments
    assert transcribe_clips(model, processor, [still], ["ca"], **SHORT) == [Transcript("ca", 1.0, [])]


TRANSCRIPT = Transcript(
    language="gl",
    seconds=3725.5,
    segments=[
        Segment(0.0, 2.5, "Ola, <mundo> & todos"),
        Segment(59.9996, 61.04, "dous"),
        Segment(3661.07, 3725.5, "fin"),
    ],
)


def test_subrip_counts_from_one_and_has_commas():
    assert to_srt(TRANSCRIPT) == (
        "1\n00:00:00,000 --> 00:00:02,500\nOla, <mundo> & todos\n\n"
        "2\n00:01:00,000 --> 00:01:01,040\ndous\n\n"
        "3\n01:01:01,070 --> 01:02:05,500\nfin\n"
    )


def test_webvtt_has_its_header_points_and_no_tags_from_the_text():
    assert to_vtt(TRANSCRIPT) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:02.500\nOla, &lt;mundo&gt; &amp; todos\n\n"
        "00:01:00.000 --> 00:01:01.040\ndous\n\n"
        "01:01:01.070 --> 01:02:05.500\nfin\n"
    )


def test_json_holds_all_of_it_and_text_a_line_a_segment():
    content = json.loads(to_json(TRANSCRIPT))
    assert content["text"] == "Ola, <mundo> & todos dous fin" and content["language"] == "gl"
    assert content["segments"][1] == {"start": 59.9996, "end": 61.04, "text": "dous"}
    assert to_text(TRANSCRIPT) == "Ola, <mundo> & todos\ndous\nfin\n"


def test_no_text_ends_its_cue_or_begins_another():
    """A blank line and an arrow are what players know cues by."""
    odd = Transcript("gl", 9.0, [Segment(0.0, 1.0, "un\n\n2\r\n00:00 --> 00:09\u2028dous"), Segment(1.0, 2.0, "tres")])
    srt, vtt = to_srt(odd), to_vtt(odd)
    assert srt == (
        "1\n00:00:00,000 --> 00:00:01,000\nun 2 00:00 → 00:09 dous\n\n2\n00:00:01,000 --> 00:00:02,000\ntres\n"
    )
    assert vtt.count("-->") == 2 and "\nun 2 00:00 --&gt; 00:09 dous\n\n00:00:01.000" in vtt
    assert to_text(odd) == "un 2 00:00 --> 00:09 dous\ntres\n"


def test_an_empty_transcript_is_an_empty_file_of_each_format():
    silence = Transcript("gl", 1.0, [])
    assert to_srt(silence) == "" and to_vtt(silence) == "WEBVTT\n" and to_text(silence) == ""
    assert json.loads(to_json(silence))["segments"] == []


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
    settings["lang_to_id"]["<|fr|>"] = 10**6  # after the end of the vocabulary: this language makes its batch fail
    path.write_text(json.dumps(settings))
    for name in ("gl/a", "fr/b", "ca/c"):
        record(tmp_path / "in" / f"{name}.wav")
    flags = [*saved, "--formats", "txt", "--language", "folder"]
    status, _, errors = run_command("transcribe", tmp_path / "in", *flags)
    assert status == 1 and "Traceback" not in errors, errors
    assert written_in(tmp_path / "out") == {"gl/a.txt", "ca/c.txt"}
    assert errors.count("Left out:") == 1 and "b.wav: IndexError: index out of range" in errors


def lengths_of_batches(lengths, size):
    recordings = [Recording(Path(f"{number}.wav"), Path(str(number)), "gl", s) for number, s in enumerate(lengths)]
    return [[recording.seconds for recording in batch] for batch in batches(recordings, size)]


def test_no_short_recording_is_padded_to_the_length_of_a_long_talk():
    """Eight rows as long as three hours are more than a machine's memory, and a day's work in one piece."""
    three_hours = 10_800.0
    assert lengths_of_batches([20.0, three_hours, 30.0, 10.0], 8) == [[three_hours], [30.0, 20.0, 10.0]]
    assert lengths_of_batches([0.0] * 5, 4) == [[0.0] * 4, [0.0]]
    batch_lengths = lengths_of_batches([float(length) for length in range(0, 4000, 7)], 8)
    assert [length for batch in batch_lengths for length in batch] == sorted(range(0, 4000, 7), reverse=True)
    assert all(len(batch) == 1 or len(batch) * batch[0] <= 1800 for batch in batch_lengths)
    assert max(map(len, batch_lengths)) == 8


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
    assert status == 1 and "holds a run with other settings: language 'gl', now 'ca'. Use another folder" in errors
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
    status, _, errors = run_command("transcribe", tmp_path / "in", tmp_path / "single.webm", *flags)
    assert status == 1 and written_in(tmp_path / "out") == {"plain.txt"}
    assert "a talk.m4a: .m4a cannot be read here. Convert it: ffmpeg -i 'a talk.m4a' 'a talk.flac'" in errors
    assert "film.MKV: .MKV cannot be read" in errors and "single.webm: .webm cannot be read" in errors
    assert errors.count("Left out:") == 3, "plain.mp4 has been converted"


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
