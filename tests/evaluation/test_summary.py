"""Tables hold what the transcripts hold: no mean over unlike languages, no difference where chance explains it."""

import json

import pytest

from modeling_distilwhisper.evaluation.languages import resource_class, sub_family
from modeling_distilwhisper.evaluation.summary import (
    difference_rows,
    error_rates_of,
    gap_closed,
    group_rows,
    score_rows,
    wer_difference,
)
from modeling_distilwhisper.evaluation.translation import translation_difference, translation_rates
from modeling_distilwhisper.runs.records import RecordFile


def records(hypotheses, language="gl", reference="one two three four", seconds=2.0):
    about = {"data_set": "cv", "split": "test", "language": language, "seconds": seconds, "compute_seconds": 0.5}
    return [
        {**about, "id": f"{number:03}", "reference": reference, "hypothesis": hypothesis}
        for number, hypothesis in enumerate(hypotheses)
    ]


def rates(cell):
    return error_rates_of(cell, "marks")


def differences(first, second):
    return difference_rows(first, second, lambda *pair: wer_difference(*pair, "marks"))


def test_a_row_for_each_system_and_language_with_its_speed():
    systems = {
        "a": records(["one two three four"] * 3) + records(["one"], "ca", seconds=4.0),
        "b": records(["one two"] * 3),
    }
    rows = score_rows(systems, rates)
    assert [(row["system"], row["language"], row["wer"]) for row in rows] == [
        *[("a", "gl", 0.0), ("a", "ca", 0.75), ("b", "gl", 0.5)]
    ]
    assert rows[0]["real_time_factor"] == 0.25 and rows[0]["hours"] == pytest.approx(6 / 3600)
    assert rows[0]["normalizer"] == "marks-2" and rows[1]["wer_low"] is None, "no interval of one utterance"


def test_means_are_over_languages_that_every_system_was_scored_on():
    systems = {
        "small": records(["one"] * 2) + records(["one"] * 2, "ca") + records(["zzz"] * 2, "pl"),
        "large": records(["one two three four"] * 2) + records(["one two three"] * 2, "ca"),
        "ours": records(["one two"] * 2) + records(["one two"] * 2, "ca"),
    }
    rows = {row["group"]: row for row in group_rows(score_rows(systems, rates), ("small", "large"))}
    assert rows["all"]["languages"] == "ca gl" and rows["all"]["small"] == 0.75
    assert rows["all"]["gap closed, ours"] == pytest.approx((0.75 - 0.5) / (0.75 - 0.125))
    assert rows["high"]["languages"] == "ca" and rows["extremely low"]["languages"] == "gl"
    assert rows["Romance"]["large"] == 0.125 and "Slavic" not in rows


@pytest.mark.parametrize(
    ("small", "ours", "large", "closed"),
    [(29.2, 22.8, 12.6, 0.39), (24.5, 15.4, 12.5, 0.758), (24.5, 20.2, 12.5, 0.358)],
)
def test_the_gap_is_the_reports(small, ours, large, closed):
    """Out of domain, averages of Tables 6 and 7: what the report calls 39 %, 75.8 % and 35.8 %."""
    wers = {"small": small, "ours": ours, "large": large}
    assert gap_closed(wers, "ours", ("small", "large")) == pytest.approx(closed, abs=0.01)
    assert gap_closed({**wers, "large": 30.0}, "ours", ("small", "large")) is None, "no gap to close"


def test_languages_are_grouped_as_in_the_report():
    classes = {"high": "ca fi id pl", "mid to high": "uk vi", "low to mid": "cs hu ro th ta", "low": "bg hi sk sl"}
    for name, languages in {**classes, "extremely low": "gl", "super high": "en"}.items():
        assert {resource_class(language) for language in languages.split()} == {name}
    families = ["bg cs pl sk sl uk", "ca gl ro", "fi hu", "id vi", "ta", "th", "hi"]
    names = [{sub_family(language) for language in languages.split()} for languages in families]
    assert all(len(group) == 1 for group in names) and len(set.union(*names)) == 7
    assert resource_class("eo") == "unknown" and sub_family("eu") == "other"


def test_a_difference_by_chance_is_not_called_real():
    right, wrong = "one two three four", "one two three"
    same = records([right, wrong] * 20)
    worse, barely = records([wrong] * 40), records([wrong, right] * 20)
    (row,) = differences(same, worse)
    assert row["difference"] == pytest.approx(-0.125) and row["real"] is True and row["high"] < 0
    (row,) = differences(same, barely)
    assert row["difference"] == 0 and row["real"] is False and row["low"] < 0 < row["high"]
    assert differences(same, records([wrong] * 40, "ca")) == []


def test_systems_that_heard_different_clips_are_not_compared():
    with pytest.raises(ValueError, match="different utterances of cv test gl"):
        differences(records(["one"] * 3), records(["one"] * 4))


def test_a_record_that_was_cut_off_is_made_again_and_no_other(tmp_path):
    file = RecordFile(tmp_path / "a/gl.jsonl")
    assert file.read() == []
    file.add(records(["uno\u2028dos", "três"]))
    with open(file.path, "a") as rest:
        rest.write('{"id": "00')
    again = RecordFile(file.path)
    again.add([record | {"id": "more"} for record in records(["more"])])
    assert [record["hypothesis"] for record in again.read()] == ["uno\u2028dos", "três", "more"]
    assert all(json.loads(line) for line in file.path.read_text().split("\n") if line)


def test_translations_are_scored_by_bleu_and_chrf():
    right = records(["the cat sat on the mat"] * 3, reference="the cat sat on the mat")
    assert translation_rates(right)["bleu"] == pytest.approx(100) and translation_rates(right)["chrf"] == 100
    wrong = translation_rates(records(["a dog ran"] * 3, reference="the cat sat on the mat"))
    mixed = translation_rates(
        records(["the cat sat on the mat", "the cat sat"] * 8, reference="the cat sat on the mat")
    )
    assert 5 < mixed["bleu low"] < mixed["bleu"] < mixed["bleu high"] < 100
    assert wrong["bleu"] < 5 and wrong["chrf"] < 20 and "tok:13a" in wrong["bleu signature"]


def test_a_better_translation_is_distinguished_from_an_equal_one():
    references = [
        f"the {animal} sat on the old mat near the {place}" for animal in ("cat", "dog") for place in "abcdefghij"
    ]
    right = [
        {**records(["x"])[0], "id": str(i), "reference": text, "hypothesis": text} for i, text in enumerate(references)
    ]
    worse = [{**record, "hypothesis": "the old sat near mat"} for record in right]
    difference = translation_difference(right, worse)
    assert difference["bleu"] > 50 and difference["chrf"] > 30 and difference["bleu real"] and difference["chrf real"]
    assert not translation_difference(right, [dict(record) for record in right])["bleu real"]
