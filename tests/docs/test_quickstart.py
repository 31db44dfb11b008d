"""The quickstart as a newcomer runs it, but shorter: one language of real (synthetic) speech is really learned."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from helpers.speech import make_pipeline
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.evaluation.metrics import error_rates

REPOSITORY = Path(__file__).parents[2]
QUICKSTART = REPOSITORY / "examples/quickstart"
LEARNED, OTHER = "ca", "es"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a short run for one language."""
    output = tmp_path_factory.mktemp("quickstart") / "run"
    one = ["--languages", LEARNED, "--test_languages", OTHER, "--score_teacher", "false", "--use_cpu", "true"]
    quick = [
        "--num_train_epochs",
        "5",
        "--eval_strategy",
        "no",
        "--save_strategy",
        "no",
        "--load_best_model_at_end",
        "false",
    ]
    script = [sys.executable, "examples/run_distil.py", "examples/quickstart/quickstart.yaml"]
    done = subprocess.run(
        [*script, *one, *quick, "--output_dir", str(output)],
        cwd=REPOSITORY,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return output


def transcripts(model, language):
    """Hypotheses and references of the test clips of a language."""
    rows = read_folder(QUICKSTART / "in_domain" / language, "test")
    speech = make_pipeline(model, WhisperProcessor.from_pretrained(QUICKSTART / "student"))
    clips = [read_audio(audio) for audio in rows["audio"]]
    settings = {"language": language, "task": "transcribe", "num_beams": 1}  # greedy, as scores are made
    return [out["text"] for out in speech(clips, generate_kwargs=settings, batch_size=40)], rows["text"]


@pytest.mark.slow
def test_the_language_is_learned_and_nothing_else_changes(trained):
    student = WhisperForConditionalGeneration.from_pretrained(QUICKSTART / "student", dtype=torch.float32)
    model = DistilWhisperForConditionalGeneration.from_pretrained(trained)
    results = json.loads((trained / "results.json").read_text())
    scores, example = results["scores"], results["example"]

    hypotheses, references = transcripts(student, LEARNED)
    before = error_rates(references, hypotheses)["wer"]
    hypotheses, references = transcripts(model, LEARNED)
    after = error_rates(references, hypotheses)["wer"]
    assert scores["before"]["in-domain"][LEARNED]["wer"] == pytest.approx(before)
    assert scores["after"]["in-domain"][LEARNED]["wer"] == pytest.approx(after), (
        "a reloaded model gives the same transcripts"
    )
    assert before >= 0.4
    hypotheses, references = transcripts(student, OTHER)
    assert error_rates(references, hypotheses)["wer"] < 0.25, "a language that the student knows"
    assert after <= before / 2, f"WER {before:.3f} -> {after:.3f} on clips it never saw"

    clip = read_audio(REPOSITORY / example["clip"])
    for loaded, name in {student: "transcript, languages=[]", model: f"transcript, languages={[LEARNED]}"}.items():
        speech = make_pipeline(loaded, WhisperProcessor.from_pretrained(trained))
        assert speech(clip, generate_kwargs={"language": LEARNED})["text"].strip() == example[name]
    assert {path.name for path in trained.glob("*.png")} == {"wer.png", "expert_usage.png"}

    for language in (OTHER, "hu"):
        assert transcripts(model, language) == transcripts(student, language)
    plain = DistilWhisperForConditionalGeneration.from_pretrained(trained, languages=[])
    assert transcripts(plain, LEARNED) == transcripts(student, LEARNED), "without its experts it is the student"


def test_the_assets_are_small_and_complete():
    files = [path for path in QUICKSTART.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 8e6
    spoken: dict[str, set[str]] = {"train": set(), "test": set()}
    for listing in QUICKSTART.glob("*_domain/*/*/metadata.csv"):
        with open(listing, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert {row["file_name"] for row in rows} == {path.name for path in listing.parent.glob("*.ogg")}
        assert {row["language"] for row in rows} == {listing.parent.parent.name}
        assert len(rows) == {"train": 420, "validation": 20, "test": 40}[listing.parent.name]
        for row in rows:
            assert soundfile.info(listing.parent / row["file_name"]).duration <= 3
            spoken.setdefault(listing.parent.name, set()).add(f"{row['language']} {row['transcription']}")
    assert len(spoken["train"]) == 3 * 420
    assert not spoken["test"] & (spoken["train"] | spoken["validation"]), "a test sentence was trained on"
    assert not spoken["train"] & spoken["validation"]
