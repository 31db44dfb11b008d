"""Results are records; those of an earlier version, which joined their names to titles, are read as records too."""

import json

from modeling_distilwhisper.runs.results import DataRecord, RunResults

RECORD = DataRecord("my corpus", "train", "gl", rows=12, hours=0.5, left_out={"unreadable audio": 1})
SCORES = {"after": {"my corpus": {"gl": {"wer": 0.1, "normalizer": "report"}}}}
USAGE = {"gl": {"encoder": 0.4, "decoder": 0.6, "all": 0.5}}


def test_results_are_read_as_they_were_written(tmp_path):
    results = RunResults({"model": {"student": "s"}}, SCORES, [RECORD], USAGE, "int8", example={"reference": "x"})
    (tmp_path / "results.json").write_text(json.dumps(results.to_json()))
    assert RunResults.read(tmp_path) == RunResults.read(tmp_path / "results.json") == results


def test_results_of_an_earlier_version_become_records(tmp_path):
    old = {
        "scores": {"after": {"my corpus": {"gl": {"wer": 0.1, "normalizer": "paper"}}}},
        "openness at inference": USAGE,
        "data": {"my corpus train gl": {"rows": 12, "hours": 0.5}},
        "rows left out": {"my corpus train gl": {"unreadable audio": 1}},
    }
    (tmp_path / "results.json").write_text(json.dumps(old))
    assert RunResults.read(tmp_path) == RunResults(scores=SCORES, data=[RECORD], expert_usage=USAGE)


def test_what_a_run_does_not_have_is_empty():
    assert RunResults.from_json({}) == RunResults.from_json({"data": {}, "scores": {}}) == RunResults()
    assert RunResults.from_json(RunResults().to_json()) == RunResults()
