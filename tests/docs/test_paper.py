"""The report's tables: every row can be made, and no number stands where it does not belong."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from modeling_distilwhisper.commands.training_run.arguments import ModelArguments
from modeling_distilwhisper.runs.settings import defaults_of
from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments

PAPER = Path(__file__).parents[2] / "examples/paper"
sys.path.insert(0, str(PAPER))

import reproduce  # noqa: E402


def lines():
    with open(PAPER / "report.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_trained_row_has_settings_that_say_what_it_is():
    sizes = {"cv3k": "train=3000&", "cv10k": "train=10000&", "cv28k": "train=28000&"}
    wanted = {}
    for table in range(6, 13):
        for name, language in reproduce.needed(reproduce.read_report(table)):
            wanted.setdefault(name, set()).add(language)
    assert {path.stem for path in PAPER.glob("*.yaml")} == set(wanted)
    for name, languages in wanted.items():
        settings = yaml.safe_load((PAPER / f"{name}.yaml").read_text())
        corpora = settings["data"] + settings.get("test_data", [])
        assert set(settings["languages"]) >= languages
        assert sizes[name.split("-")[0].split("+")[0]] in corpora[0]
        # As many as the authors' published lists have.
        assert ("validation=500" if name.startswith("cv3k") else "validation=1000") in corpora[0]
        assert [corpus.split("=")[0] for corpus in corpora] == ["cv13", "fleurs"]
        assert ("+fleurs" in name) == (len(settings["data"]) == 2)
        assert ("teacher" in settings) == ("distilwhisper" in name)
        assert settings.get("kd_divergence", "js") == ("kl" if "-kl-" in name else "js")
        assert settings.get("kd_temperature", 1) == (3 if name.endswith("t3") else 1)
        assert settings.get("method", "experts") == {"ft": "finetune", "lora32": "lora", "lora64": "lora"}.get(
            name.split("-", 1)[1], "experts"
        )
        assert settings["normalizer"] == "report"


def test_the_reports_averages_are_those_of_its_languages():
    """As a check on the figures: in Table 6 every average is printed."""
    rows = {}
    for line in lines():
        if line["table"] == "6":
            key = tuple(line[name] for name in ("data_set", "model"))
            rows.setdefault(key, {})[line["language"]] = float(line["wer"])
    assert len(rows) == 14
    for row in rows.values():
        average = row.pop("avg")
        assert sum(row.values()) / len(row) == pytest.approx(average, abs=0.11)


def test_each_row_with_gates_has_a_twin_that_differs_in_its_gates_alone():
    """LoRA and fine-tuning have no gates, so they have no twin."""
    names = set()
    for path in PAPER.glob("*.yaml"):
        settings = yaml.safe_load(path.read_text())
        assert "gate_training" not in settings
        if "method" not in settings:
            names.add(path.name)
            twin = yaml.safe_load((PAPER / "soft" / path.name).read_text())
            assert twin == settings | {"gate_training": "soft", "output_dir": f"{settings['output_dir']}-soft"}
    assert {path.name for path in (PAPER / "soft").iterdir()} == names


def test_soft_gates_are_asked_of_rows_that_have_gates_alone(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(reproduce.subprocess, "run", lambda command, check: commands.append(command))
    for name, language in sorted(reproduce.needed(reproduce.read_report(7), "soft")):
        reproduce.train(name, language, tmp_path)
    asked = {(Path(command[2]).relative_to(PAPER), Path(command[-1]).relative_to(tmp_path)) for command in commands}
    assert (Path("soft/cv28k-clsr-ft.yaml"), Path("cv28k-clsr-ft-soft/ca")) in asked
    assert (Path("cv28k-lora64.yaml"), Path("cv28k-lora64/ca")) in asked
    assert all((file.parent.name == "soft") == ("lora" not in file.name) for file, _ in asked)
    assert all((PAPER / file).is_file() for file, _ in asked)


def test_our_numbers_stand_beside_the_reports_and_a_dash_where_there_are_none(tmp_path):
    def scores(wer, normalizer="report"):
        return {name: {"gl": {"wer": wer, "normalizer": normalizer}} for name in ("cv13", "fleurs")}

    other = tmp_path / "cv10k-ft/gl"
    other.mkdir(parents=True)
    (other / "results.json").write_text(json.dumps({"scores": {"after": scores(0.3, "marks")}}))
    run = tmp_path / "cv10k-distilwhisper/gl"
    run.mkdir(parents=True)
    content = {"before": scores(0.4), "teacher": scores(0.2), "after": scores(0.111)}
    (run / "results.json").write_text(json.dumps({"scores": content}))
    rows = reproduce.compare(reproduce.rows_of(reproduce.read_report(6), tmp_path))
    cells = {(row["data set"], row["model"]): row for row in rows}
    assert len(rows) == 14
    assert cells["cv13", "whisper-small"]["gl"] == "35.7 / 40.0"
    assert cells["fleurs", "whisper-large-v2"]["gl"] == "16.8 / 20.0"
    assert cells["cv13", "DistilWhisper"]["gl"].endswith(" / 11.1")
    assert cells["cv13", "DistilWhisper"]["ca"].endswith(" / –")
    assert cells["cv13", "DistilWhisper"]["avg"].endswith(" / –"), "no average of some of the languages"
    assert cells["cv13", "FT"]["gl"].endswith(" / –"), "no number under another normaliser than the report's"
    soft = reproduce.compare(reproduce.rows_of(reproduce.read_report(6), tmp_path, "soft"))
    cells = {(row["data set"], row["model"]): row for row in soft}
    assert cells["cv13", "DistilWhisper"]["gl"] == "11.6 / –", "no number of hard gates among those of soft ones"
    assert cells["cv13", "whisper-small"]["gl"] == "35.7 / 40.0", "an untrained model has no gates"


def write_run(folder, system, wers):
    """Results of a run for each language; `system` is "before", "teacher" or "after". WER in %, on both data sets."""
    for language, wer in wers.items():
        path = folder / language / "results.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = json.loads(path.read_text()) if path.is_file() else {"scores": {}}
        rates = {language: {"wer": wer / 100, "normalizer": "report"}}
        content["scores"][system] = {name: rates for name in ("cv13", "fleurs")}
        path.write_text(json.dumps(content))


def shown(rows, data_set, model, trained_on):
    return next(r for r in rows if (r["data set"], r["model"], r["trained on"]) == (data_set, model, trained_on))


def shares_of(table, runs):
    rows = reproduce.rows_of(reproduce.read_report(table), runs)
    return reproduce.gap_shares(rows, reproduce.untrained_rows(runs), with_classes=table == 8)


def test_gap_shares_are_those_that_the_report_prints(tmp_path):
    """39 % in section 5.3, 75.8 % and 35.8 % in section 5.4."""
    assert shown(shares_of(6, tmp_path), "fleurs", "DistilWhisper", "cv10k")["avg"] == "38.6 / –"
    assert shown(shares_of(7, tmp_path), "fleurs", "DistilWhisper", "cv28k")["avg"] == "75.8 / –"
    assert shown(shares_of(7, tmp_path), "fleurs", "DistilWhisper", "cv3k")["avg"] == "35.8 / –"
    assert shown(shares_of(6, tmp_path), "fleurs", "FT", "cv10k")["avg"].startswith("-9.6"), "worse than the small one"
    assert len(shares_of(9, tmp_path)) == 4, "Table 9 does not repeat the untrained models: their rows are in Table 6"
    parts = [row["avg"] for row in shares_of(12, tmp_path) if row["data set"] == "fleurs"]
    assert len(parts) == len(set(parts)) == 4, "each part of Table 12 is compared with the means over its own languages"


def test_our_gap_share_is_of_the_same_languages_or_there_is_none(tmp_path):
    for name, system, wers in (
        ("cv28k-distilwhisper", "before", {"ca": 30, "th": 40, "ta": 50}),
        ("cv28k-distilwhisper", "teacher", {"ca": 10, "th": 20, "ta": 30}),
        ("cv28k-distilwhisper", "after", {"ca": 15, "th": 30, "ta": 45}),
        ("cv28k-clsr-ft", "after", {"ca": 15, "th": 30}),
    ):
        write_run(tmp_path / name, system, wers)
    rows = shares_of(7, tmp_path)
    assert shown(rows, "cv13", "DistilWhisper", "cv28k")["avg"].endswith(" / 50.0")
    assert shown(rows, "cv13", "CLSR-FT", "cv28k")["avg"].endswith(" / –"), "a language is missing"


def test_table_8_has_the_means_of_classes_that_the_report_prints(tmp_path):
    """The numbers that can be read in the report's text. Its mid-to-high class is Ukrainian alone."""
    rows = reproduce.rows_of(reproduce.read_report(8), tmp_path)
    means = reproduce.by_class(rows)
    names = ("high", "mid to high", "low to mid", "low", "extremely low")
    for model, trained_on, printed in (
        ("whisper-small", "-", (19.6, 24.8, 35.3, None, 33.5)),
        ("CLSR-FT", "cv3k", (23.1, 21.6, 30.4, 38.2, 19.8)),
        ("DistilWhisper", "cv3k", (22.5, 25.9, 30.6, 37.6, 18.7)),
    ):
        row = shown(means, "fleurs", model, trained_on)
        for name, wer in zip(names, printed, strict=True):
            assert wer is None or float(row[name].split(" / ")[0]) == pytest.approx(wer, abs=0.11), (model, name)
    write_run(tmp_path / "cv3k-clsr-ft", "after", {"bg": 10, "hi": 20, "sk": 30, "gl": 12})
    row = shown(reproduce.by_class(reproduce.rows_of(reproduce.read_report(8), tmp_path)), "cv13", "CLSR-FT", "cv3k")
    assert row["extremely low"] == "15.3 / 12.0"
    assert row["low"] == "27.5 / –", "Slovenian is missing"


def test_parameters_are_counted_not_quoted():
    pytest.importorskip("peft")
    import parameters

    assert parameters.lora("small", 32) == 24 * 2 * 32 * (768 + 3072), "5.9 M where Table 6 prints 12"
    assert parameters.lora("small", 64) == 2 * parameters.lora("small", 32), "11.8 M where it prints 23"
    gate = 768 * 64 + 64 + 64
    assert parameters.experts("small") == 24 * (2 * 768 * 3072 + 3072 + 768 + gate), "114.5 M where it prints 25"
    assert parameters.whisper("small") == 241_734_912, "as many as the Hub shows for openai/whisper-small"
    cells = {row["model"]: row for row in parameters.rows()}
    assert cells["LoRA-FT r=32"]["added, M"] == "5.9 (+2 %)" and cells["LoRA-FT r=64"]["added, M"] == "11.8 (+5 %)"
    assert cells["CLSR-FT, DistilWhisper"]["added, M"] == "114.5 (+47 %)"
    assert cells["whisper-base with full experts"]["added, M"] == "25.6 (+35 %)"
    assert cells["the same, experts of rank 128"]["added, M"] == "24.9 (+10 %)"
    for page in (PAPER / "README.md", PAPER.parents[1] / "README.md"):
        text = " ".join(page.read_text(encoding="utf-8").split())
        for count in ("5.9", "11.8", "114.5", "47 %"):
            assert count in text, f"{page} does not say {count}"


@pytest.mark.parametrize("table", range(6, 13))
@pytest.mark.slow
def test_each_table_is_one_command(table, tmp_path):
    command = [sys.executable, PAPER / "reproduce.py", str(table), "--runs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "| fleurs" in done.stdout and "DistilWhisper" in done.stdout, done.stderr
    assert "Share in % of the gap" in done.stdout
    assert ("means over languages of a class" in done.stdout) == (table == 8)
    assert ("Parameters of the models, counted" in done.stdout) == (table == 6)


def test_the_list_of_differences_names_the_defaults_that_runs_have():
    defaults = defaults_of(ModelArguments, DistilWhisperTrainingArguments)
    text = (PAPER / "README.md").read_text(encoding="utf-8")
    quoted = re.findall(r"`--(\w+)` \(([\d.]+)\)", text)
    assert len(quoted) >= 8
    assert {name: value for name, value in quoted if str(defaults[name]) != value} == {}
    for path in [*PAPER.glob("*.yaml"), *PAPER.glob("soft/*.yaml")]:
        assert not {name for name, _ in quoted} & yaml.safe_load(path.read_text()).keys(), f"{path} has another value"
