"""Times and scores of engines in one run: each is that of the engine and the recordings that it stands beside."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from helpers.real import required
from helpers.scripts import run_command

from modeling_distilwhisper import (
    BatchTranscriber,
    DistilWhisperForConditionalGeneration,
    Silero,
    error_rates,
    load_model,
    load_processor,
    read_folder,
)
from modeling_distilwhisper.commands.benchmarks.engines import INT8, ON_CPU
from modeling_distilwhisper.commands.benchmarks.transcribing import check, convert, joined
from modeling_distilwhisper.commands.benchmarks.whisper_cpp import check_ggml, write_ggml
from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.runs.any_whisper import load_config

QUICKSTART = Path(__file__).parents[2] / "examples/quickstart"


def test_a_long_recording_is_made_of_clips_in_their_order_with_pauses():
    rows = [(np.full(16_000, number, np.float32), f"text {number}") for number in range(1, 9)]
    samples, text = joined(rows, 10)
    assert 10 <= len(samples) / 16_000 < 14.1
    spoken = [int(value) for value in samples[samples > 0][::16_000]]
    assert spoken == [*range(1, len(spoken) + 1)] and text == " ".join(f"text {number}" for number in spoken)
    assert (samples == 0).mean() > 0.1


def test_a_long_recording_is_as_long_as_it_is_said_to_be_with_few_clips():
    """Ten minutes of a page were four."""
    samples, text = joined([(np.ones(16_000, np.float32), "one"), (np.ones(32_000, np.float32), "two")], 60)
    assert 60 <= len(samples) / 16_000 < 65
    assert text.split()[:4] == ["one", "two", "one", "two"]
    assert (samples == 1).sum() == sum({"one": 16_000, "two": 32_000}[word] for word in text.split())


def test_faster_whisper_gets_a_whisper_whose_folder_names_its_files_as_transformers_does_today(tmp_path):
    """Without preprocessor_config.json, faster-whisper would take 80 mel bins for any model."""
    pytest.importorskip("ctranslate2")
    folder = shutil.copytree(QUICKSTART / "student", tmp_path / "plain")
    processor = load_processor(str(folder))
    for old in ("preprocessor_config.json", "processor_config.json"):
        (folder / old).unlink(missing_ok=True)
    processor.save_pretrained(folder)
    assert not (folder / "preprocessor_config.json").exists(), "Transformers writes processor_config.json"
    convert(str(folder), str(tmp_path / "converted"))
    read = json.loads((tmp_path / "converted/preprocessor_config.json").read_text(encoding="utf-8"))
    assert read["feature_size"] == processor.feature_extractor.feature_size
    assert (tmp_path / "converted/tokenizer.json").is_file() and (tmp_path / "converted/model.bin").is_file()


@pytest.mark.real
def test_whisper_cpp_reads_the_whisper_that_is_written_for_it(tmp_path):
    """A name or a shape that it does not expect ends its process; wrong words or filters give other text."""
    cpp = pytest.importorskip("pywhispercpp.model")
    checkpoint, prompts = required("DISTILWHISPER_TEST_CHECKPOINT"), required("DISTILWHISPER_TEST_PROMPTS")
    model, processor = load_model(checkpoint, "float32", "cpu"), load_processor(checkpoint)
    write_ggml(model, processor, tmp_path / "whisper.ggml")
    row = read_folder(Path(prompts) / "ru", "test")[0]
    engine = cpp.Model(str(tmp_path / "whisper.ggml"), params_sampling_strategy=0, redirect_whispercpp_logs_to=None)
    (segment,) = engine.transcribe(read_audio(row["audio"]), language="ru", print_progress=False)
    assert error_rates([row["text"]], [segment.text], languages="ru")["wer"] < 0.5


def test_engines_that_cannot_run_are_refused_before_anything_is_loaded(tmp_path):
    """The default ones failed on a GPU, after minutes."""
    settings = {"plain": str(QUICKSTART / "student"), "output_dir": str(tmp_path), "device": "cuda"}
    with pytest.raises(ValueError, match="'experts, int8' runs on a CPU alone, got --device cuda"):
        check(Namespace(**settings, engines=[INT8]))
    chosen = Namespace(**settings, engines=[])
    check(chosen)
    assert "experts" in chosen.engines and not {*ON_CPU} & {*chosen.engines}
    with pytest.raises(ValueError, match="have 51865 or 51866 tokens. Got a whisper model with 959"):
        check_ggml(load_config(str(QUICKSTART / "student")))


@pytest.mark.slow
def test_the_command_measures_engines_in_turns_and_scores_what_each_transcribed(tmp_path):
    model = DistilWhisperForConditionalGeneration.from_whisper(QUICKSTART / "student", languages=["ca"])
    processor = load_processor(str(QUICKSTART / "student"))
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    engines = ["experts", "plain", "experts, sequential", "pipeline of Transformers"]
    flags = ["--model", tmp_path / "model", "--plain", QUICKSTART / "teacher", "--language", "ca"]
    flags += ["--data", f"{QUICKSTART}/in_domain/{{language}}", "--output_dir", tmp_path / "out", "--device", "cpu"]
    flags += ["--max_rows", 3, "--long_seconds", 12, "--rounds", 1, "--batch_size", 2, "--engines", *engines]
    status, printed, errors = run_command("benchmark", "transcribe", *flags)
    assert status == 0, errors
    assert all(name in printed for name in engines)
    content = json.loads((tmp_path / "out/transcribing.json").read_text())
    rows = {row["engine"]: row for row in content["engines"]}
    assert list(rows) == engines and str(tmp_path) not in json.dumps(content)
    assert rows["experts"]["clips"]["ratio"] == 1 and content["clips"] == 3
    assert rows["plain"]["clips"]["wer"] < rows["experts"]["clips"]["wer"], "the teacher has learned Catalan"
    for row in rows.values():
        assert len(row["clips"]["seconds"]) == len(row["long recording"]["seconds"]) == 1
    clips = read_folder(QUICKSTART / "in_domain/ca", "test").select(range(3))
    transcriber = BatchTranscriber(model.eval(), processor, Silero(), batch_size=2)
    given = ((number, read_audio(audio), "ca") for number, audio in enumerate(clips["audio"]))
    texts = dict(transcriber(given))
    expected = error_rates(clips["text"][:], [texts[number].text for number in range(3)], languages="ca")
    assert rows["experts"]["clips"]["wer"] == expected["wer"]

    status, _, errors = run_command("benchmark", "transcribe", *flags)
    assert status != 0 and "holds the results of a measurement already" in errors
    wrong = [*flags[:-4], "nothing"]
    status, _, errors = run_command("benchmark", "transcribe", *wrong)
    assert status != 0 and "--engines must be of experts" in errors
