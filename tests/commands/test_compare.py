"""The comparison, run as people run it: every system on the same rows, each scored as its own folder loads."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from helpers import speech
from helpers.scripts import run_script

from modeling_distilwhisper.commands import compare
from modeling_distilwhisper.commands.comparison import runs, tables
from modeling_distilwhisper.commands.comparison.content import without_absolute_paths
from modeling_distilwhisper.commands.comparison.plan import read_plan


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


def write_comparison(folder, whisper, **comparison):
    """A comparison of two systems on two corpora of four clips in each of two languages; returns its file."""
    for seed, (corpus, language) in enumerate([("near", "gl"), ("near", "en"), ("far", "gl"), ("far", "en")]):
        speech.write_folder(folder / corpus / language, language, rows=4, seed=seed)
    settings = {
        **{"student": str(whisper), "languages": "gl", "test_languages": ["en"], "output_dir": "nowhere"},
        **{"data": [f"{folder}/near/{{language}}"], "test_data": [f"{folder}/far/{{language}}"], "max_steps": 1},
        **{"report_to": "none", "use_cpu": True, "learning_rate": 0.01, "eval_strategy": "no", "save_strategy": "no"},
        "load_best_model_at_end": False,
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    systems = {"tuned": {"method": "finetune"}, "ours": {"gate_budget": 0.5}}
    comparison = {
        "settings": str(folder / "run.yaml"),
        "output_dir": str(folder / "out"),
        "systems": systems,
        **comparison,
    }
    (folder / "compare.yaml").write_text(yaml.safe_dump(comparison, sort_keys=False))
    return folder / "compare.yaml"


@pytest.mark.slow
def test_a_comparison_of_seeds_goes_on_where_it_was_stopped_and_is_published_as_one_file(
    whisper_dir, tmp_path, monkeypatch
):
    file = write_comparison(
        tmp_path,
        whisper_dir,
        seeds=[0, 1],
        forced_gates=True,
        compare={"ours": ["student", "tuned"], "tuned": ["student"]},
    )
    out = tmp_path / "out"
    (out / "tuned-seed-1").mkdir(parents=True)
    (out / "tuned-seed-1/settings.json").write_text('{"model": {"method": "lora"}}')  # a run with other settings
    code, _, errors = run_script("compare.py", file)
    assert code == 1 and "holds a run with other settings" in errors
    finished = {name: (out / name / "results.json") for name in ("tuned-seed-0", "ours-seed-0")}
    written = {name: path.stat().st_mtime_ns for name, path in finished.items()}
    assert not (out / "ours-seed-1").exists() and not (out / "comparison.json").exists()

    shutil.rmtree(out / "tuned-seed-1")
    code, printed, errors = run_script("compare.py", file)
    assert code == 0, errors[-3000:]
    assert "ours, seed 0: trained before" in printed and "ours, seed 1: trained before" not in printed
    assert {name: path.stat().st_mtime_ns for name, path in finished.items()} == written, "they were not trained again"
    content = json.loads((out / "comparison.json").read_text())
    started = []
    monkeypatch.setattr(runs, "start", lambda name, *_: started.append(name))
    assert compare.main([str(file)]) == 0 and started == ["eval"], "nothing is trained a second time"
    assert json.loads((out / "comparison.json").read_text()) == content | {
        "command": f"distilwhisper compare {file.name}"
    }

    assert str(tmp_path) not in json.dumps(content) and "near/{language}" in json.dumps(content)
    assert [(run["system"], run["seed"]) for run in content["runs"]] == [
        *(("tuned", 0), ("ours", 0), ("tuned", 1), ("ours", 1))
    ]
    for run in content["runs"]:
        assert run["minutes"] > 0 and run["minutes of"] == "all starts" and run["saved weights"] > 0
        assert run["machine"] and run["packages"]["torch"] and run["date"] and ("commit" in run or "version" in run)
    kept = [json.loads(line) for line in Path(out / "scores/ours-seed-1/far/en.test.jsonl").read_text().splitlines()]
    names = {"system": "ours", "seed": 1, "data_set": "far", "language": "en"}
    (score,) = [row for row in content["scores"] if names.items() <= row.items() and "gates" not in row]
    summary = json.loads((out / "scores/summary.json").read_text())["scores"]
    (same,) = [
        row
        for row in summary
        if row["system"] == "ours, seed 1" and (row["data_set"], row["language"]) == ("far", "en")
    ]
    assert score["utterances"] == len(kept) == 4 and score["wer"] == same["wer"] == score["errors"] / score["words"]
    assert score["errors"] == score["substitutions"] + score["deletions"] + score["insertions"]
    forced = [row for row in content["scores"] if "gates" in row]
    student = {
        (row["data_set"], row["language"]): row["wer"] for row in content["scores"] if row["system"] == "student"
    }
    assert {(row["gates"], row["data_set"]) for row in forced} == {
        (g, d) for g in ("open", "closed") for d in ("near", "far")
    }
    assert all(student[row["data_set"], row["language"]] == row["wer"] for row in forced if row["gates"] == "closed")
    pairs = {(row["of"], row["less that of"]): row for row in content["differences"]}
    assert set(pairs) == {("ours", "student"), ("ours", "tuned"), ("tuned", "student")}
    others = [row for row in content["differences"] if row["languages"] == "other languages" and row["of"] == "ours"]
    assert others[0]["difference"] == 0 and others[0]["runs"] == 2, "the student stands beside each seed"
    assert others[0]["clips"] == 4 and others[0]["words"] == 2 * score["words"]

    shutil.rmtree(out / "scores")  # nothing but comparison.json is needed
    means = (out / "means.md").read_text()
    assert means == f"{tables.means(content)}\n"
    header, _, _, _, ours = [[cell.strip() for cell in line.split("|")[1:-1]] for line in means.splitlines()]
    row = dict(zip(header, ours, strict=True))
    own = [one for one in content["scores"] if one["system"] == "ours" and "gates" not in one]
    wers = [one["wer"] for one in own if (one["data_set"], one["language"]) == ("near", "gl")]
    assert len(wers) == 2 and row["trained, near"].startswith(f"{sum(wers) / 2:.3f} ± ")
    assert row["gates closed, near"].startswith(f"{student['near', 'gl']:.3f}") and row["loops"].endswith(" of 32")
    assert 0 <= float(row["usage, encoder"]) <= 1

    header, _, plain, _, ours = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in (out / "languages.md").read_text().splitlines()
    ]
    assert header == ["WER (marks-2)", "gl, near", "en, near", "gl, far", "en, far"]
    (single,) = [one for one in content["scores"] if one["system"] == "student" and one["data_set"] == "far"][1:]
    interval = f"{single['wer_low']:.3f} to {single['wer_high']:.3f}"
    assert plain[4] == f"{single['wer']:.3f} ({interval})", "of a system that was scored once, with its interval"
    assert ours[1].startswith(f"{sum(wers) / 2:.3f} ± "), "of several seeds, the mean and their spread"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": 3}, "seed, which a comparison does not know"),
        ({"seeds": "3"}, "different whole numbers"),
        ({"seeds": [0, 0]}, "different whole numbers"),
        ({"seeds": [0, "x"]}, "different whole numbers"),
        ({"seeds": [0], "shared": {"seed": 1}}, "a seed in shared"),
        ({"seeds": [1], "systems": {"a": {}, "a, seed 1": {}}}, None),
        ({"seeds": [0, 1], "systems": {"a": {}, "a-seed 1": {}, "a, seed": {"seed": 2}}}, "a seed in a, seed"),
        ({"compare": ["ours", "LoRA"]}, "expected names of student, tuned, ours"),
        ({"compare": ["ours"]}, "expected names of student, tuned, ours"),
        ({"compare": {"ours": []}}, "expected names of student, tuned, ours"),
        ({"compare": "ours"}, "expected names of student, tuned, ours"),
        ({"forced_gates": "perhaps"}, "expected true or false"),
        ({"shared": {"do_train": True}}, "do_train: a comparison trains and scores every system"),
        ({"systems": {"a": {"do_predict": True}}}, "do_predict: a comparison trains and scores every system"),
        ({"systems": {"scores": {}}}, "Systems need different names"),
        ({"systems": {"comparison.json": {}}}, "Systems need different names"),
    ],
)
def test_what_a_comparison_cannot_do_is_said_before_anything_is_trained(whisper_dir, tmp_path, wrong, message):
    file = write_comparison(tmp_path, whisper_dir, **wrong)
    if message is None:
        assert [run.name for run in read_plan(file, None, {}).runs] == ["a-seed-1", "a-seed-1-seed-1"]
        return
    with pytest.raises(ValueError, match=message):
        read_plan(file, None, {})


def test_no_path_of_a_machine_is_published_in_whatever_form_it_was_given():
    given = [
        "/a/b/c",
        "x=/a/b/{language}?train=1",
        "folder:/a/b/{language}",
        "~/me/w",
        "C:\\a\\b",
        "go --to /a/b --x=/c/d",
    ]
    expected = ["c", "x=b/{language}?train=1", "folder:b/{language}", "w", "b", "go --to b --x=d"]
    assert without_absolute_paths(given) == expected
    kept = ["openai/whisper-base", "prompts/{language}", "x=prompts/{language}", "https://hub.org/a/b", "1/2"]
    assert without_absolute_paths({"a": kept}) == {"a": kept}
