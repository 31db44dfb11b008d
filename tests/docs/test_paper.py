"""The report's tables: every row can be made, and no number stands where it does not belong."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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
    rows = reproduce.compare(reproduce.read_report(6), tmp_path)
    cells = {(row["data set"], row["model"]): row for row in rows}
    assert len(rows) == 14
    assert cells["cv13", "whisper-small"]["gl"] == "35.7 / 40.0"
    assert cells["fleurs", "whisper-large-v2"]["gl"] == "16.8 / 20.0"
    assert cells["cv13", "DistilWhisper"]["gl"].endswith(" / 11.1")
    assert cells["cv13", "DistilWhisper"]["ca"].endswith(" / –")
    assert cells["cv13", "DistilWhisper"]["avg"].endswith(" / –"), "no average of some of the languages"
    assert cells["cv13", "FT"]["gl"].endswith(" / –"), "no number under another normaliser than the report's"


@pytest.mark.parametrize("table", range(6, 13))
@pytest.mark.slow
def test_each_table_is_one_command(table, tmp_path):
    command = [sys.executable, PAPER / "reproduce.py", str(table), "--runs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "| fleurs" in done.stdout and "DistilWhisper" in done.stdout, done.stderr
