"""The command that labels speech: what it writes is what a training reads, and nothing is labelled twice."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from helpers import speech, tiny
from helpers.processes import ENDS_EARLY, run_together

import distilwhisper_cli
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.transcription.batched import BatchTranscriber
from modeling_distilwhisper.transcription.pseudo_labels import PseudoLabeller

LENGTHS = {"talk": 5.0, "one": 1.0, "two": 1.5, "three": 0.8, "four": 1.8}
VAD = "helpers.speech:loud_spans"


@pytest.fixture(scope="module")
def place(processor, tmp_path_factory):
    """A tiny Whisper, and recordings: of one a text has letters of a path, one is silent, two cannot be read."""
    folder = tmp_path_factory.mktemp("labels")
    whisper = tiny.make_whisper(processor)
    whisper.generation_config.max_length = 16  # a random one never ends by itself
    whisper.save_pretrained(folder / "whisper")
    processor.save_pretrained(folder / "whisper")
    (folder / "in/gl").mkdir(parents=True)
    for name, seconds in LENGTHS.items():
        soundfile.write(folder / f"in/gl/{name}.wav", speech.clip(seconds, 300 + 100 * len(name)), speech.RATE)
    soundfile.write(folder / "in/gl/silent.wav", np.zeros(speech.RATE), speech.RATE)
    (folder / "in/gl/torn.wav").write_bytes(b"RIFF no audio")
    (folder / "in/gl/empty.flac").write_bytes(b"")
    return folder


def flags_of(place, output, *more):
    flags = ["pseudo-label", place / "in", "--model", place / "whisper", "--language", "folder", "--vad", VAD]
    flags += ["--device", "cpu", "--at_least", "--keep_doubtful", "--batch_size", 2, "--output_dir", output]
    return [str(flag) for flag in (*flags, *more)]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def run(capsys):
    def run(*flags, code=0):
        assert distilwhisper_cli.main([str(flag) for flag in flags]) == code
        return capsys.readouterr()

    return run


def test_what_is_labelled_is_what_a_training_reads_and_bad_recordings_stop_nothing(place, run, whisper_dir, tmp_path):
    printed = run(*flags_of(place, tmp_path / "out", "--weight", 0.3, "--second_num_beams", 2))
    assert "Without speech: gl/silent" in printed.err
    assert "Left out: gl/torn" in printed.err and "Left out: gl/empty" in printed.err
    rows = read_folder(tmp_path / "out", "train", "gl")
    assert len(rows) == 3 + 4, "the talk has three windows of at most 2 s"
    assert set(rows["loss_weight"]) == {0.3} and set(rows["language"]) == {"gl"} and all(rows["text"])
    for row, listed in zip(rows, lines(tmp_path / "out/train/metadata.jsonl"), strict=True):
        samples, rate = soundfile.read(row["audio"]["path"])
        assert rate == speech.RATE and len(samples) == round(listed["seconds"] * rate) <= 2 * rate
        assert listed["mean_logprob"] < 0 and listed["disagreement"] >= 0 and "/tmp" not in str(listed)
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["recordings"] == {"all": 8, "without speech": 1, "not labelled": 2}
    assert report["labels"] == [report["labels"][0] | {"labels": 7, "kept": 7, "language": "gl"}]
    assert sum(bin["kept"] for bin in report["scores"]["mean_logprob"]) == 7
    assert (tmp_path / "out/scores.png").is_file() and "## disagreement" in (tmp_path / "out/report.md").read_text()

    # Round by round: the folder is data of a training, and the trained model labels again.
    speech.write_folder(tmp_path / "transcribed", "gl", rows=2)
    train = ["train", "--student", whisper_dir, "--languages", "gl", "--data", tmp_path / "transcribed"]
    train += ["--train_data", tmp_path / "out", "--train_data_weight", 2, "--output_dir", tmp_path / "trained"]
    train += ["--max_steps", 1, "--use_cpu", "true", "--report_to", "none", "--generation_max_length", 8]
    printed = run(*train)
    assert "out train gl: 7 rows; left out: none" in printed.out and "out test" not in printed.out
    weights = json.loads((tmp_path / "trained/rows.json").read_text())["weights"]
    assert weights == {"out train gl": [0.6] * 7}
    again = flags_of(place, tmp_path / "second", "--model", tmp_path / "trained", "--max_rows", 2)
    run(*again)
    assert len(read_folder(tmp_path / "second", "train", "gl")) > 0


def test_other_filters_label_nothing_again_and_other_settings_are_refused(place, run, tmp_path, monkeypatch):
    run(*flags_of(place, tmp_path / "out"))
    shutil.copy(tmp_path / "out/labels.jsonl", tmp_path / "before")
    monkeypatch.setattr(PseudoLabeller, "_label_batch", lambda self, pieces: pytest.fail("it labels again"))
    run(*flags_of(place, tmp_path / "out", "--best", "mean_logprob=0.5"))
    every = [label for record in lines(tmp_path / "before") for label in record["utterances"]]
    best = sorted((label["scores"]["mean_logprob"] for label in every), reverse=True)[:4]
    kept = lines(tmp_path / "out/train/metadata.jsonl")
    assert sorted((row["mean_logprob"] for row in kept), reverse=True) == best
    printed = run(*flags_of(place, tmp_path / "out", "--at_least", "mean_logprob=0"), code=1)
    assert "No label is kept, of 7" in printed.err and not lines(tmp_path / "out/train/metadata.jsonl")
    run(*flags_of(place, tmp_path / "out"))
    assert (tmp_path / "out/labels.jsonl").read_bytes() == (tmp_path / "before").read_bytes()
    assert len(lines(tmp_path / "out/train/metadata.jsonl")) == 7
    printed = run(*flags_of(place, tmp_path / "out", "--num_beams", 2), code=1)
    assert "holds a run with other settings: num_beams 1, now 2" in printed.err


def test_a_corpus_is_labelled_without_its_texts_and_its_texts_are_those_of_transcribe(place, run, processor, tmp_path):
    speech.write_folder(tmp_path / "corpus", "gl", rows=4)
    soundfile.write(tmp_path / "corpus/train/1.flac", np.zeros(speech.RATE), speech.RATE)
    (tmp_path / "corpus/train/2.flac").write_bytes(b"none")
    flags = ["pseudo-label", "--data", f"own={tmp_path}/corpus", "--language", "gl", "--model", place / "whisper"]
    flags += ["--device", "cpu", "--at_least", "--keep_doubtful", "--output_dir", tmp_path / "out"]
    printed = run(*flags)
    assert "Without speech: own/train/gl/1.flac" in printed.err and "Left out: own/train/gl/2.flac" in printed.err
    rows = lines(tmp_path / "out/train/metadata.jsonl")
    assert [row["id"] for row in rows] == ["own/train/gl/0.flac", "own/train/gl/3.flac"]
    texts = {row["transcription"] for row in lines_of_corpus(tmp_path / "corpus/train/metadata.csv")}
    assert not texts & {row["transcription"] for row in rows} and rows[0]["gender"] == "female"
    from modeling_distilwhisper import load_model, load_processor, read_audio

    model = load_model(str(place / "whisper"), "float32", "cpu")
    clips = [(name, read_audio(tmp_path / f"corpus/train/{name}.flac"), "gl") for name in ("0", "3")]
    transcripts = dict(BatchTranscriber(model, load_processor(str(place / "whisper")), None)(clips))
    assert [row["transcription"] for row in rows] == [
        " ".join(" ".join([*(part.text for part in (one.segments or one.dropped))]).split())
        for one in (transcripts["0"], transcripts["3"])
    ]


def lines_of_corpus(path):
    header, *rows = path.read_text().splitlines()
    return [dict(zip(header.split(","), row.split(","), strict=True)) for row in rows]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--best", "mean_logprob=70"], "expected a score and a share above 0, at most 1, got 'mean_logprob=70'"),
        (["--at_least", "logprob=1"], "the scores are mean_logprob, lowest_logprob"),
        (["--at_most", "no_speech=nan"], "expected a score and a number"),
        (["--at_most", "disagreement=0.3"], "there is no second text. Give --second_model"),
        (["--best", "characters_per_second=0.5"], "no end of characters_per_second is the better one"),
        (["--second_num_beams", "1"], "expected another width than that of the labels, got 1"),
        (["--second_num_beams", "2", "--second_temperature", "0.4"], "are two decodings"),
        (["--weight", "-1"], "expected a number from 0 to 1000, got '-1'"),
        (["--candidate_languages", "gl"], "need --language detect"),
        (["--language", "gl", "--detection", "trained"], "need --language detect"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_before_anything_is_loaded(place, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit):
        distilwhisper_cli.main(flags_of(place, tmp_path / "out", *flags))
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "x"], "one of the two"),
        (["--language", "gl", "ca"], "Expected one --language for recordings"),
        (["--language", "de"], "'de' is no language of this Whisper"),
    ],
)
def test_speech_that_is_not_clear_is_refused(place, run, tmp_path, flags, message):
    assert message in run(*flags_of(place, tmp_path / "out"), *flags, code=1).err


def test_a_detected_language_is_among_the_candidates_and_others_are_refused(place, run, tmp_path):
    flags = [*flags_of(place, tmp_path / "out"), "--language", "detect", "--candidate_languages"]
    run(*flags, "Catalan")
    assert {row["language"] for row in lines(tmp_path / "out/train/metadata.jsonl")} == {"ca"}
    changed = run(*flags, "Catalan", "gl", code=1).err
    assert "candidate_languages ['Catalan'], now ['Catalan', 'gl']" in changed
    other = [*flags_of(place, tmp_path / "other"), "--language", "detect", "--candidate_languages"]
    assert "de cannot be detected" in run(*other, "de", code=1).err
    assert "has no trained detection rows" in run(*other, "ca", "--detection", "trained", code=1).err


def contents(folder):
    """Each file by its path; numbers of the scores as digits that no batch changes."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".png"):
        content = path.read_bytes()
        if path.suffix in (".json", ".jsonl"):
            content = [
                rounded(json.loads(line)) for line in (content.splitlines() if path.suffix == ".jsonl" else [content])
            ]
        elif path.suffix == ".md":
            content = None
        files[str(path.relative_to(folder))] = content
    return files


def rounded(value):
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items() if name not in ("from", "to")}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 2) if isinstance(value, float) else value


@pytest.mark.slow
def test_two_processes_and_an_interruption_write_what_one_unbroken_process_writes(place, tmp_path):
    ((status, _, errors),) = run_together(1, *flags_of(place, tmp_path / "one"))
    assert status == 0, errors[-3000:]
    one = contents(tmp_path / "one")
    assert len([name for name in one if name.endswith(".flac")]) == 7

    (status, printed, errors), other = run_together(2, *flags_of(place, tmp_path / "two"))
    assert status == 0 and other == (0, "", ""), errors[-3000:]
    assert printed.count("## labels") == 1 and errors.count("Left out: gl/torn") == 1
    assert contents(tmp_path / "two") == one

    # Killed in its second group of recordings; groups of one window.
    flags = flags_of(place, tmp_path / "broken", "--batch_size", 1)
    _, (killed, _, _) = run_together(2, 1, 3, "killed", *flags, script=ENDS_EARLY)
    assert killed < 0 and not (tmp_path / "broken/train/metadata.jsonl").exists()
    left = [record for path in (tmp_path / "broken").glob("labels.jsonl*") for record in lines(path)]
    assert 0 < len(left) < 6
    ((status, _, errors),) = run_together(1, *flags)
    assert status == 0, errors[-3000:]
    assert contents(tmp_path / "broken") == one
    made = {record["id"]: record for record in lines(tmp_path / "broken/labels.jsonl")}
    assert all(made[record["id"]] == record for record in left), "what was there was not made again"


@pytest.mark.slow
def test_two_processes_train_on_weighted_rows_as_one_with_twice_the_accumulation(place, tmp_path):
    from safetensors.torch import load_file
    from torch.testing import assert_close

    speech.write_folder(tmp_path / "gl", "gl", rows=7)
    rows = [[f"{number}.flac", "la ri" * (1 + number % 3), [0.5, 2, 1, 0.1][number % 4]] for number in range(7)]
    speech.write_metadata(tmp_path / "gl/train", rows, header=("file_name", "transcription", "loss_weight"))
    experts = []
    for processes in (1, 2):
        folder = tmp_path / f"{processes}"
        flags = ["train", "--student", place / "whisper", "--teacher", place / "whisper", "--languages", "gl"]
        flags += ["--data", tmp_path / "gl", "--use_cpu", "true", "--report_to", "none", "--output_dir", folder]
        flags += ["--per_device_train_batch_size", 1, "--gradient_accumulation_steps", 4 // processes, "--optim", "sgd"]
        flags += ["--num_train_epochs", 2, "--learning_rate", 0.03, "--warmup_epochs", 0, "--max_grad_norm", 0]
        flags += ["--do_train", "true", "--skip_gate_prob", 0, "--logging_steps", 1]
        done = run_together(processes, *flags)
        assert all(status == 0 for status, _, _ in done), done[0][2][-3000:]
        log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
        experts.append((load_file(folder / "expert.gl.safetensors"), [line for line in log if "ce_loss" in line]))
    (one, lines_of_one), (two, lines_of_two) = experts
    assert len(lines_of_one) == 4
    for single, double in zip(lines_of_one, lines_of_two, strict=True):
        for part in ("loss", "ce_loss", "kd_loss", "gate_loss", "grad_norm"):
            assert double[part] == pytest.approx(single[part], rel=1e-3, abs=1e-5), part
    for name, tensor in one.items():
        assert_close(two[name], tensor, atol=1e-5, rtol=1e-3, msg=name)
