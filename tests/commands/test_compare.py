"""The comparison, run as people run it: every system on the same rows, each scored as its own folder loads."""

import json

import pytest
import yaml
from helpers import speech
from helpers.scripts import run_script


@pytest.mark.slow
def test_systems_are_trained_and_scored_side_by_side(whisper_dir, tmp_path):
    for seed, language in enumerate(("gl", "en")):
        speech.write_folder(tmp_path / "data" / language, language, rows=4, seed=seed)
    settings = {
        **{"student": str(whisper_dir), "teacher": str(whisper_dir), "languages": "gl", "test_languages": ["en"]},
        **{"data": [f"{tmp_path}/data/{{language}}"], "output_dir": "nowhere", "num_train_epochs": 1},
        **{"report_to": "none", "use_cpu": True, "learning_rate": 0.01},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    systems = {"full fine-tuning": {"method": "finetune", "teacher": ""}, "ours": {}}
    comparison = {"settings": str(tmp_path / "run.yaml"), "shared": {"eval_strategy": "no", "save_strategy": "no"}}
    comparison["shared"]["load_best_model_at_end"] = False
    comparison |= {"output_dir": str(tmp_path / "out"), "systems": systems}
    (tmp_path / "compare.yaml").write_text(yaml.safe_dump(comparison))
    code, printed, errors = run_script("compare.py", tmp_path / "compare.yaml")
    assert code == 0, errors[-3000:]

    out = tmp_path / "out"
    summary = json.loads((out / "scores/summary.json").read_text())
    scores = {(row["system"], row["language"]): row for row in summary["scores"]}
    assert {system for system, _ in scores} == {"student", "full fine-tuning", "ours"}, "the teacher is the student"
    for system, name in {"full fine-tuning": "full-fine-tuning", "ours": "ours"}.items():
        results = json.loads((out / name / "results.json").read_text())["scores"]
        for language in ("gl", "en"):
            assert scores[system, language]["wer"] == pytest.approx(results["after"]["data"][language]["wer"])
            assert scores["student", language]["wer"] == pytest.approx(results["before"]["data"][language]["wer"])
    assert scores["ours", "en"]["wer"] == scores["student", "en"]["wer"], "no expert for it"
    assert {row["less that of"] for row in summary["differences"]} == {"student", "full fine-tuning"}
    lines = [line.split("|") for line in (out / "means.md").read_text().splitlines()]
    assert [cell.strip() for cell in lines[0][1:5]] == [
        *("WER (marks-2), mean over languages", "trained, data", "other languages, data", "training, minutes")
    ]
    ours = next(line for line in lines if line[1].strip() == "ours")
    assert float(ours[2]) == pytest.approx(scores["ours", "gl"]["wer"], abs=5e-4)
    assert (out / "wer.png").is_file() and "full fine-tuning" in printed

    comparison["systems"] = {"r=32": {}}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(comparison))
    _, _, errors = run_script("compare.py", tmp_path / "wrong.yaml")
    assert "Systems need different names" in errors


@pytest.mark.slow
def test_what_was_taught_in_8_bits_is_scored_in_8_bits(whisper_dir, tmp_path):
    """Scored on a whole backbone, it would be another model than the one that was trained, and than its students'."""
    speech.write_folder(tmp_path / "gl", "gl", rows=4)
    settings = {
        **{"student": str(whisper_dir), "languages": "gl", "data": [f"{tmp_path}/{{language}}"], "max_steps": 1},
        **{"report_to": "none", "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False},
        "teacher": str(whisper_dir),
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    comparison = {"settings": str(tmp_path / "run.yaml"), "output_dir": str(tmp_path / "out"), "systems": {"ours": {}}}
    comparison["shared"] = {"teacher": ""}  # as in the files that compare experts without one
    (tmp_path / "compare.yaml").write_text(yaml.safe_dump(comparison))
    code, _, errors = run_script("compare.py", tmp_path / "compare.yaml", "--student_precision", "int8")
    assert code == 0, errors[-3000:]
    for folder in ("student", "ours"):
        (told,) = (tmp_path / "out/scores" / folder).glob("*/settings.json")
        assert json.loads(told.read_text())["run"]["precision"] == "int8"
    (scores,) = json.loads((tmp_path / "out/ours/results.json").read_text())["scores"]["after"].values()
    found = json.loads((tmp_path / "out/scores/summary.json").read_text())["scores"]
    wers = {row["system"]: row["wer"] for row in found}
    assert set(wers) == {"student", "ours"} and wers["ours"] == pytest.approx(scores["gl"]["wer"])
