"""Which language is spoken, over a data set: the numbers are those made by hand, and each row is heard once."""

import json
import math

import pytest
import soundfile
import torch
from helpers import speech, tiny
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, keep_scorable, read_folder
from modeling_distilwhisper.commands import evaluate
from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.data.features import speech_features
from modeling_distilwhisper.evaluation import detection
from modeling_distilwhisper.evaluation.detection import detect_rows, is_detected
from modeling_distilwhisper.evaluation.identification import accuracy_rows, confusion_rows
from modeling_distilwhisper.runs.detection import detectable_languages, detected_languages
from modeling_distilwhisper.runs.records import RecordFile

SECONDS = [0.3, 3.1, 1.0, 1.7, 0.6, 2.4, 1.3]  # of clips; some are longer than the window of 2 s


def write_speech(folder, language, seed):
    (folder / language / "test").mkdir(parents=True)
    lines = []
    for number, seconds in enumerate(SECONDS):
        soundfile.write(
            folder / language / f"test/{number}.flac", speech.clip(seconds, 300 + 90 * number + seed), speech.RATE
        )
        lines.append([f"{number}.flac", "la ri", language, ""])
    speech.write_metadata(folder / language / "test", lines)


@pytest.fixture(scope="module")
def place(whisper_dir, processor, tmp_path_factory):
    """Speech in gl, ca and ga, a plain Whisper, and one with experts of gl and ga, both with trained detection rows."""
    folder = tmp_path_factory.mktemp("identification")
    for seed, language in enumerate(("gl", "ca", "ga")):
        write_speech(folder / "speech", language, seed)
    torch.manual_seed(0)
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["gl", "ga"]).eval()
    tiny.unsettle(model)
    clips = [speech.clip(seconds, 300 + 90 * number)[: 2 * speech.RATE] for number, seconds in enumerate(SECONDS)]
    tiny.train_detection(model, ["gl", "ga"], speech_features(processor, clips).input_features)
    model.save_pretrained(folder / "trained")
    processor.save_pretrained(folder / "trained")
    return folder


@pytest.fixture
def trained(place):
    return DistilWhisperForConditionalGeneration.from_pretrained(place / "trained").eval()


@pytest.fixture
def plain(whisper_dir):
    return WhisperForConditionalGeneration.from_pretrained(whisper_dir).eval()


@pytest.fixture(scope="module")
def rows(place):
    return keep_scorable(read_folder(place / "speech/gl", "test"))[0]


def features_of(processor, path):
    return speech_features(processor, [read_audio(path)[: 2 * speech.RATE]]).input_features


def record(spoken, heard, seconds=1.0, **more):
    return {"data_set": "own", "split": "test", "language": spoken, "whisper": heard, "seconds": seconds, **more}


def wilson(correct, n, z=1.959963984540054):
    share = correct / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


HEARD = [
    record("gl", ["gl", "pt", "ca"], 1.0),
    record("gl", ["pt", "ca", "gl"], 2.0),
    record("gl", ["pt", "gl", "ca"], 3.9),
    record("ca", ["ca", "pt", "gl"], 4.0),
    record("ca", ["gl", "ca", "pt"], 8.0),
    record("ga", ["pt", "gl", "ca"], 9.0),
]


def test_accuracy_and_its_interval_are_those_made_by_hand():
    rows = accuracy_rows({"plain": HEARD}, ["gl", "ca", "ga"])
    found = {(row["among"], row["length"]): (row["correct"], row["n"]) for row in rows}
    lengths = ("any", "under 2 s", "2 to 4 s", "4 to 8 s", "8 s and more")
    expected = {"all": [(2, 6), (1, 1), (0, 2), (1, 1), (0, 2)]}
    expected["candidates"] = [(3, 6), (1, 1), (1, 2), (1, 1), (0, 2)]
    assert found == {
        (among, length): pair for among, pairs in expected.items() for length, pair in zip(lengths, pairs, strict=True)
    }
    for row in rows:
        assert row["accuracy"] == row["correct"] / row["n"] and row["undetectable"] == "ga"
        assert (row["low"], row["high"]) == pytest.approx(wilson(row["correct"], row["n"]), abs=1e-12)
    assert {row["detection"] for row in rows} == {"whisper"}, "a model without trained rows has no numbers of them"


def test_what_is_taken_for_what_is_counted_and_all_others_are_other():
    rows = confusion_rows({"plain": HEARD}, ["gl", "ca", "ga"])
    names = ("as gl", "as ca", "as ga", "as other")
    found = {(row["among"], row["spoken"]): [row[name] for name in names] for row in rows}
    assert found == {
        ("all", "gl"): [1, 0, 0, 2],
        ("all", "ca"): [1, 1, 0, 0],
        ("all", "ga"): [0, 0, 0, 1],
        ("candidates", "gl"): [2, 1, 0, 0],
        ("candidates", "ca"): [1, 1, 0, 0],
        ("candidates", "ga"): [1, 0, 0, 0],
    }
    assert [row["correct"] for row in rows] == [1, 1, 0, 2, 1, 0]


def test_a_language_that_nothing_can_detect_counts_as_wrong_and_is_named():
    rows = accuracy_rows({"plain": [HEARD[-1]]}, ["ga"])
    assert [(row["correct"], row["n"], row["undetectable"]) for row in rows] == [(0, 1, "ga")] * 4
    (row,) = [row for row in confusion_rows({"plain": [HEARD[-1]]}, ["ga"]) if row["among"] == "candidates"]
    assert (row["as ga"], row["as other"]) == (0, 1)
    trained = record("ga", ["pt"], 1.0, trained=["ga", "pt"])
    found = {row["detection"]: row for row in accuracy_rows({"ours": [trained]}, ["ga"])}
    assert found["whisper"]["undetectable"] == "ga" and found["trained"]["undetectable"] is None
    assert found["trained"]["accuracy"] == 1


def test_each_corpus_and_system_has_its_own_numbers():
    other = {**HEARD[0], "data_set": "fleurs"}
    rows = accuracy_rows({"a": [HEARD[1], other], "b": [other]}, ["gl"])
    of_all = [row for row in rows if row["among"] == "all" and row["length"] == "any"]
    assert [(row["system"], row["data_set"], row["correct"]) for row in of_all] == [
        ("a", "own", 0),
        ("a", "fleurs", 1),
        ("b", "fleurs", 1),
    ]


@pytest.mark.parametrize("kind", ["plain", "trained"])
def test_the_languages_are_in_the_order_in_which_the_model_itself_chooses(kind, request, processor, rows, tmp_path):
    model = request.getfixturevalue(kind)
    names = {token: name for name, token in tiny_names(model).items()}
    for found in detect_rows(RecordFile(tmp_path / "gl.jsonl"), model, processor, rows, batch_size=3):
        (row,) = (row for row in rows if row["id"] == found["id"])
        features = features_of(processor, row["audio"])
        assert found["whisper"][0] == names[model.detect_language(features).item()]
        for how in ("whisper", "trained") if kind == "trained" else ("whisper",):
            order = found[how]
            assert sorted(order) == sorted(detectable_languages(model, how))
            for start in range(len(order)):  # without those before, the next is chosen
                assert detected_languages(model, features, order[start:], how) == [order[start]]
    assert found["seconds"] == min(SECONDS), "longest first"


def tiny_names(model):
    return {name.strip("<|>"): token for name, token in model.generation_config.lang_to_id.items()}


def test_a_mixed_batch_hears_what_each_row_is_alone(trained, processor, rows, tmp_path):
    """A row that is longer than the window, and a padded one, change nothing for the others."""
    found = [
        detect_rows(RecordFile(tmp_path / f"{size}.jsonl"), trained, processor, rows, batch_size=size)
        for size in (1, 4, 16)
    ]
    assert found[0] == found[1] == found[2] and len(found[0]) == len(SECONDS)
    assert len({str(record["trained"]) for record in found[0]}) > 1


def test_a_run_that_was_killed_goes_on_and_ends_as_an_unbroken_one(trained, processor, rows, tmp_path, monkeypatch):
    unbroken, file = (RecordFile(tmp_path / f"{name}.jsonl") for name in ("unbroken", "killed"))
    detect_rows(unbroken, trained, processor, rows, batch_size=2)
    rank, batches = detection.rank_batch, []

    def killed_at_the_third(*arguments):
        batches.append(len(arguments[2]))
        if len(batches) == 3:
            raise KeyboardInterrupt
        return rank(*arguments)

    monkeypatch.setattr(detection, "rank_batch", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        detect_rows(file, trained, processor, rows, batch_size=2)
    assert len(file.read()) == 4 and not is_detected(file, rows)
    detect_rows(file, trained, processor, rows, batch_size=2)
    assert file.path.read_bytes() == unbroken.path.read_bytes() and is_detected(file, rows)
    assert sum(batches[3:]) == len(SECONDS) - 4, "what was there was not made again"
    detect_rows(file, None, processor, rows)  # nothing is left to do: no model is needed


def test_a_row_whose_language_was_corrected_is_made_again(trained, processor, rows, tmp_path):
    file = RecordFile(tmp_path / "gl.jsonl")
    detect_rows(file, trained, processor, rows)
    corrected = rows.map(lambda row: {"language": "ca"} if row["id"] == "0.flac" else {})
    found = detect_rows(file, trained, processor, corrected)
    assert {record["language"] for record in found} == {"gl", "ca"} and len(file.read()) == len(SECONDS)


@pytest.fixture(scope="module")
def scored(place, whisper_dir):
    command = ["--models", f"plain={whisper_dir}", f"ours={place}/trained", "--data", f"{place}/speech/{{language}}"]
    command += ["--languages", "gl", "ca", "ga", "--device", "cpu", "--batch_size", "4", "--output_dir"]
    assert evaluate.main([*command, str(place / "out"), "--identification", "only"]) == 0
    return command, place / "out"


def test_eval_scores_each_model_among_all_languages_and_among_those_asked_for(scored, place):
    _, output = scored
    summary = json.loads((output / "summary.json").read_text())
    rows = [row for row in summary["identification"] if row["length"] == "any"]
    keys = [(row["system"], row["detection"], row["among"]) for row in rows]
    ways = [("plain", "whisper"), ("ours", "whisper"), ("ours", "trained")]
    assert keys == [(*way, among) for way in ways for among in ("all", "candidates")]
    assert {row["n"] for row in rows} == {3 * len(SECONDS)} and {row["data_set"] for row in rows} == {"speech"}
    numbers = [{**row, "system": ""} for row in rows]
    assert numbers[:2] == numbers[2:4], "Whisper's own detection is that of the plain Whisper"
    assert {row["detection"]: row["undetectable"] for row in rows} == {"whisper": "ga", "trained": None}
    found = [record for path in (output / "ours/speech").glob("*.languages.jsonl") for record in records(path)]
    assert len(found) == 3 * len(SECONDS) and {record["language"] for record in found} == {"gl", "ca", "ga"}
    asked = {"gl", "ca", "ga"}
    chosen = [(record["language"], next(name for name in record["trained"] if name in asked)) for record in found]
    assert rows[-1]["correct"] == sum(spoken == heard for spoken, heard in chosen)
    confusion = [row for row in summary["confusion"] if (row["system"], row["detection"]) == ("ours", "trained")]
    (row,) = (row for row in confusion if row["among"] == "candidates" and row["spoken"] == "ga")
    assert row["as gl"] == chosen.count(("ga", "gl")) and row["as ga"] == chosen.count(("ga", "ga")) == row["correct"]
    text = (output / "summary.md").read_text()
    assert "## identification" in text and "## confusion" in text and "without a trained detection row" in text
    assert summary["scores"] == [] and not list(output.glob("*/*/gl.test.jsonl")), "no transcripts were asked for"


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_with_another_language_no_row_is_heard_again_and_transcripts_are_added(scored, place, monkeypatch):
    """The candidates change, so an answer that was kept alone would be one among the languages of before."""
    command, output = scored
    few = [*command[: command.index("ga")], *command[command.index("ga") + 1 :], str(output)]
    before = {path: path.read_bytes() for path in output.glob("*/*/*.languages.jsonl")}
    monkeypatch.setattr(evaluate, "load_model", lambda *_: pytest.fail("it was loaded"))
    assert evaluate.main([*few, "--identification", "only"]) == 0
    summary = json.loads((output / "summary.json").read_text())
    assert {row["spoken"] for row in summary["confusion"]} == {"gl", "ca"}
    assert "as ga" not in summary["confusion"][0]
    monkeypatch.undo()
    few.remove(few[2])  # the model with experts
    assert evaluate.main([*few, "--max_rows", "1", "--identification"]) == 0
    summary = json.loads((output / "summary.json").read_text())
    assert {row["n"] for row in summary["identification"] if row["length"] == "any"} == {2}
    assert len(summary["scores"]) == 2 and {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--identification", "often"], "--identification must be also or only, got 'often'"),
        (["--identification", "only", "--compare", "a", "b"], "--compare and --gap need transcripts"),
    ],
)
def test_settings_of_it_that_make_no_sense_are_told_at_once(whisper_dir, tmp_path, wrong, message, capsys):
    settings = ["--models", f"a={whisper_dir}", f"b={whisper_dir}", "--data", "x", "--languages", "gl"]
    assert evaluate.main([*settings, "--output_dir", str(tmp_path / "out"), *wrong]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_candidates_are_the_only_answers_and_all_of_them_are_whispers_own(plain, trained, processor):
    audio = tiny.make_audio(processor, [1.0, 2.0, 0.5, 1.4, 1.8, 0.8])["input_features"]
    for model in (plain, trained):
        own = detected_languages(model, audio)
        assert own == detected_languages(model, audio, list(tiny.LANGUAGES))
        assert own == [name for features in audio for name in detected_languages(model, features[None])]
        for candidates in (["gl"], ["ca", "ru"], ["fr", "gl", "en"]):
            assert set(detected_languages(model, audio, candidates)) <= set(candidates)
        assert detected_languages(model, audio) == own, "no call leaves anything behind"
    assert set(detected_languages(trained, audio, ["ga", "gl"], "trained")) <= {"ga", "gl"}


@pytest.mark.parametrize(
    ("kind", "candidates", "how", "message"),
    [
        ("plain", ["gl", "ga"], "whisper", "ga cannot be detected. Expected some of ca, en, fr, gl, ru"),
        ("trained", ["ga"], "whisper", "needs a trained row"),
        ("trained", [], "trained", "at least one candidate"),
        ("plain", None, "trained", "no trained detection rows. Expected a model with some (`distilwhisper fit-det"),
        ("plain", None, "guess", "must be one of whisper, trained, got 'guess'"),
    ],
)
def test_what_a_model_cannot_detect_is_refused_with_what_to_do(kind, candidates, how, message, request, processor):
    audio = tiny.make_audio(processor, [1.0])["input_features"]
    with pytest.raises(ValueError) as error:
        detected_languages(request.getfixturevalue(kind), audio, candidates, how)
    assert message in str(error.value)
