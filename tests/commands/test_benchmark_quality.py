"""WER, size, memory and time of models in one run: each number is that of the model that it stands beside."""

import json
import shutil
from argparse import Namespace

import pytest
import soundfile
import torch
from helpers import speech, tiny
from helpers.scripts import run_command
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, transcribe_rows
from modeling_distilwhisper.commands.benchmarks import quality
from modeling_distilwhisper.commands.benchmarks.recogniser import Clip, Recogniser, pack
from modeling_distilwhisper.data.selection import read_rows
from modeling_distilwhisper.data.sources import parse_sources
from modeling_distilwhisper.runs.download_size import DownloadSize
from modeling_distilwhisper.runs.records import RecordFile


@pytest.fixture(scope="module")
def place(whisper_dir, processor, tmp_path_factory):
    """A model of each kind, and short recordings in two languages."""
    folder = tmp_path_factory.mktemp("quality")
    for seed, language in enumerate(("gl", "ca")):
        speech.write_folder(folder / "speech" / language, language, seed=seed)
    soundfile.write(
        folder / "speech/gl/test/0.flac", speech.tone(500, 2.5), speech.RATE
    )  # longer than the window of 2 s
    routed = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl", "ca"])
    tiny.unsettle(routed)
    routed.save_pretrained(folder / "experts")
    processor.save_pretrained(folder / "experts")
    torch.manual_seed(0)
    plain = WhisperForConditionalGeneration.from_pretrained(whisper_dir)
    lora = get_peft_model(plain, LoraConfig(r=4, target_modules=["fc1", "fc2"], init_lora_weights=False))
    lora.save_pretrained(folder / "lora")
    return folder


def selections_of(place, *languages, max_rows=None):
    (source,) = parse_sources([f"{place}/speech/{{language}}"], list(languages))
    return [read_rows(source, "test", language, max_rows=max_rows) for language in languages]


def recogniser(location, selections, batch_sizes, languages=("gl", "ca")) -> Recogniser:
    clips = quality.clips_of(selections)
    settings = {"languages": list(languages), "batch_sizes": list(batch_sizes), "precision": "float32", "device": "cpu"}
    return Recogniser("it", Namespace(models={"it": str(location)}, clips=clips, **settings))


def test_the_transcripts_that_are_scored_are_those_of_an_evaluation(place, processor, tmp_path):
    selections = selections_of(place, "gl", "ca", max_rows=2)
    system = recogniser(place / "experts", selections, batch_sizes=[3])
    assert system.tasks == ["clips, batch 3", "packed, batch 3"]
    for task in system.tasks:
        system.run(task)
    model = DistilWhisperForConditionalGeneration.from_pretrained(place / "experts").eval()
    expected = []
    for selection in selections:
        records = transcribe_rows(
            RecordFile(tmp_path / f"{selection.language}.jsonl"), model, processor, selection.rows
        )
        texts = {record["id"]: record["hypothesis"] for record in records}
        expected += [texts[name] for name in selection.rows["id"]]
    assert system.facts()["transcripts"] == expected and len(set(expected)) == 4


def test_a_pass_transcribes_each_clip_once_in_batches_of_the_size_that_it_names(place):
    system = recogniser(place / "lora", selections_of(place, "gl", "ca"), batch_sizes=[1, 3])
    for task, batches in system.batches.items():
        assert sorted(number for batch in batches for part in batch for number in part) == [*range(8)], task
        assert max(map(len, batches)) == int(task[-1]), task
    assert [len(batch) for batch in system.batches["clips, batch 3"]] == [1, 3, 3, 1], "the long clip is alone"
    assert system.facts()["windows"] == sum(map(len, system.batches["packed, batch 1"])) == 5


clips = st.builds(Clip, st.just({}), st.sampled_from(["gl", "ca"]), st.integers(1, 400).map(lambda tenths: tenths / 10))


@given(st.lists(clips, min_size=1))
def test_packed_windows_hold_every_clip_in_order_one_language_and_no_more_than_their_length(chosen):
    parts = pack(chosen, 30)
    assert [number for part in parts for number in part] == [*range(len(chosen))]
    for part in parts:
        assert len({chosen[number].language for number in part}) == 1
        assert len(part) == 1 or sum(chosen[number].seconds for number in part) <= 30


def test_weights_in_memory_are_those_of_the_languages_that_are_measured(place, whisper):
    selections = selections_of(place, "ca", max_rows=1)
    alone, both = (
        recogniser(place / "experts", selections, [1], codes).facts()["weights"] for codes in (["gl"], ["gl", "ca"])
    )
    plain = sum(tensor.numel() * 4 for tensor in whisper.parameters())
    assert both - alone == alone - plain > 1000


MODELS = {"plain": "/home/me/whisper-base", "ours": "me/experts"}
SIZES = {"plain": DownloadSize("plain Whisper", 290, 0), "ours": DownloadSize("language experts", 390, 100)}


def measured_of(transcripts: dict[str, list[str]]) -> dict[str, dict]:
    common = {"weights": 4, "memory": 8, "memory_before": 2, "window": 30, "windows": 1}
    seconds = {"plain": {"clips, batch 1": [9.0, 1.0, 2.0]}, "ours": {"clips, batch 1": [4.0, 3.0, 90.0]}}
    return {name: {**common, "seconds": seconds[name], "transcripts": texts} for name, texts in transcripts.items()}


def test_scores_are_counts_on_the_same_clips_and_times_are_medians_for_an_hour_of_speech(place):
    selections = selections_of(place, "gl", "ca")
    references = [text for selection in selections for text in selection.rows["text"]]
    measured = measured_of({"plain": ["mo"] * 8, "ours": [*references[:4], *["no"] * 4]})
    records = quality.records_of(selections, {name: result["transcripts"] for name, result in measured.items()})
    content = quality.results_of(MODELS, SIZES, measured, records, selections, "marks")
    plain, ours = content["systems"]
    assert ours["words"] == plain["words"] == 16 and ours["hits"] == 8 and ours["wer"] == 0.5
    assert ours["wer_low"] < 0.5 < ours["wer_high"] and "less first" not in plain
    assert ours["less first"]["difference"] == pytest.approx(0.5 - plain["wer"])
    assert [(row["system"], row["language"], row["wer"]) for row in content["by language"]][2:] == [
        ("ours", "gl", 0),
        ("ours", "ca", 1),
    ]
    seconds = sum(sum(selection.rows["seconds"]) for selection in selections)
    assert ours["seconds per hour"]["clips, batch 1"] == pytest.approx(4 * 3600 / seconds)
    assert (ours["download"], ours["another language"], ours["kind"]) == (390, 100, "language experts")
    assert content["data"][0] | {"hours": 0} == {
        **{"data_set": "speech", "split": "test", "language": "gl", "rows": 4, "hours": 0, "left_out": {}}
    }


def test_what_others_get_names_no_folder_of_this_machine(place):
    arguments = quality.QualityArguments(["x"], f"{place}/speech", ["gl"], "/home/me/out")
    settings = quality.public_settings(arguments, MODELS)
    assert settings["models"] == {"plain": "whisper-base", "ours": "me/experts"}
    assert "/home" not in json.dumps(settings) and str(place) not in json.dumps(settings)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"normalizer": "x"}, "--normalizer must be one of marks, report, got 'x'"),
        ({"precision": "int3"}, "--precision must be one of .*, got 'int3'"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(wrong, message, tmp_path):
    arguments = quality.QualityArguments(["x"], "speech", ["gl"], str(tmp_path), **wrong)
    with pytest.raises(ValueError, match=message):
        quality.check(arguments)


def test_an_hour_of_measuring_is_not_overwritten(tmp_path):
    (tmp_path / "quality.json").write_text("{}")
    with pytest.raises(ValueError, match="holds the results of a measurement already. Name another folder"):
        quality.check(quality.QualityArguments(["x"], "speech", ["gl"], str(tmp_path)))


@pytest.mark.slow
def test_the_command_measures_models_of_every_kind_in_turns_and_writes_what_can_be_published(place, whisper_dir):
    """As people do it: experts, the same in 8 bits, LoRA, and an export."""
    data = ["--data", f"tones={place}/speech/{{language}}"]
    few = ["--max_rows", "2"]
    code, _, errors = run_command("compress", place / "experts", "--int8", "--output_dir", place / "int8")
    assert code == 0, errors[-3000:]
    code, _, errors = run_command(
        "export", place / "experts", "--language", "gl", *data, *few, "--output_dir", place / "plain"
    )
    assert code == 0, errors[-3000:]
    models = {"plain": whisper_dir, "ours": place / "experts", "int8": place / "int8", "LoRA": place / "lora"}
    models["exported"] = place / "plain"
    (place / "run.yaml").write_text("languages: [gl]\nrounds: 2\nbatch_sizes: [2]\ndevice: cpu\n")
    named = [f"{name}={location}" for name, location in models.items()]
    command = ["quality", place / "run.yaml", "--models", *named, *data, *few, "--output_dir", place / "out"]
    code, printed, errors = run_command("benchmark", *command)
    assert code == 0, errors[-3000:]
    content = json.loads((place / "out/quality.json").read_text())
    systems = {row["system"]: row for row in content["systems"]}
    assert [*systems] == [*models] and {row["words"] for row in systems.values()} == {4}
    assert [row["kind"] for row in systems.values()] == [
        *("plain Whisper", "language experts", "language experts", "LoRA", "one language"),
    ]
    assert (
        systems["int8"]["download"] < systems["ours"]["download"]
        and systems["int8"]["weights"] == systems["ours"]["weights"]
    )
    assert all(len(seconds) == 2 for row in systems.values() for seconds in row["seconds"].values())
    assert all(row["weights"] < row["memory"] > row["memory_before"] > 1e7 for row in systems.values())
    assert content["packages"]["torch"] and content["minutes"] > 0 and content["machine"] and content["threads"]
    assert str(place.parent) not in json.dumps(content)
    transcripts = [json.loads(line) for line in (place / "out/transcripts.jsonl").read_text().splitlines()]
    assert len(transcripts) == 2 * len(models) and str(place.parent) not in json.dumps(transcripts)
    page = (place / "out/quality.md").read_text()
    assert page.strip() in printed and "| exported" in page and (place / "out/quality.png").is_file()

    code, _, errors = run_command("benchmark", *command)
    assert code == 1 and "holds the results of a measurement already" in errors


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_ends_the_run_with_its_name(place, whisper_dir, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(whisper_dir, broken)
    (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:-100])
    command = [
        "--models",
        f"plain={whisper_dir}",
        broken,
        "--data",
        f"{place}/speech/{{language}}",
        "--languages",
        "gl",
    ]
    code, _, errors = run_command("benchmark", "quality", *command, "--device", "cpu", "--output_dir", tmp_path / "out")
    assert code == 1 and "error: The process of 'broken' ended before its work was done (see above)." in errors
