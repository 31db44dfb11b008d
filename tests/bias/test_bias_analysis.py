"""The study shows the planted differences and damage, and no others. Every number can be checked by hand.

What is planted is in `planted.py`.
"""

import numpy as np
import pandas as pd
import pytest
from helpers import planted
from helpers.planted import one

from modeling_distilwhisper.bias.findings import compression_findings, harm_follows_bias, model_findings
from modeling_distilwhisper.bias.grid import Cell, read_cells
from modeling_distilwhisper.bias.groups import in_order, model_shape, size_name
from modeling_distilwhisper.bias.sentences import change_table, sentence_table
from modeling_distilwhisper.bias.statistics import (
    adjusted,
    histograms_differ,
    rates_differ,
    share_interval,
    shuffle_test,
)
from modeling_distilwhisper.bias.study import read_study


def test_wer_by_language_is_that_of_the_words_and_ordered_by_score(study):
    base = {"data_set": "fleurs", "model": "base", "precision": "float32"}
    german = one(study.languages, **base, language="de")
    assert german["wer"] == pytest.approx((10 + 15) / 2) and german["resource"] == "super high"
    assert (german["utterances"], german["units"], german["words"]) == (100, 50, 2000)
    assert german["low"] == german["high"] == pytest.approx(12.5), "all sentences alike: nothing is uncertain"
    maltese = one(study.languages, **base, language="mt")
    assert maltese["wer"] == pytest.approx((49 * (40 + 60) + 2 * 100) / 100), "one sentence is all wrong"
    assert maltese["low"] < maltese["wer"] < maltese["high"]
    base_rows = study.languages[(study.languages[list(base)] == list(base.values())).all(axis=1)]
    assert list(base_rows["wer"]) == sorted(base_rows["wer"]) and len(base_rows) == 10


def test_wer_by_resource_class_is_the_mean_of_its_languages(study):
    base = {"data_set": "fleurs", "model": "tiny", "precision": "float32"}
    high, low = (one(study.resources, **base, resource=name) for name in ("super high", "extremely low"))
    assert high["wer"] == pytest.approx(25) and low["wer"] == pytest.approx(62.5) and high["languages"] == 5
    assert low["rho"] < -0.8 and low["p"] < 0.01
    alone = one(study.resources, data_set="cv", model="base", precision="int8", resource="super high")
    assert np.isnan(alone["p"]), "two languages are always in some order"


def test_genders_are_compared_on_the_same_sentences_by_the_relative_difference(study):
    german = one(study.genders, data_set="fleurs", model="base", precision="float32", language="de")
    assert (german["female"], german["male"]) == (pytest.approx(15), pytest.approx(10))
    assert german["measure"] == "relative" and german["difference"] == pytest.approx(200 * 5 / 25)
    assert german["low"] == german["high"] == pytest.approx(40) and german["p adjusted"] < 0.01
    maltese = one(study.genders, data_set="fleurs", model="base", precision="float32", language="mt")
    female, male = (49 * 60 + 100) / 50, (49 * 40 + 100) / 50
    assert maltese["difference"] == pytest.approx(200 * (female - male) / (female + male))


def test_elsewhere_they_are_compared_by_the_absolute_difference_and_by_speaker(study):
    """The 13th Russian woman fails altogether: a large gap, of one person among 13, which proves nothing."""
    maltese, russian = (
        one(study.genders, data_set="cv", model="base", precision="float32", language=language)
        for language in ("mt", "ru")
    )
    assert maltese["measure"] == "absolute" and maltese["difference"] == pytest.approx(10)
    assert (maltese["female"], maltese["male"]) == (pytest.approx(25), pytest.approx(15))
    assert maltese["low"] > 0 and maltese["p adjusted"] < 0.01
    assert (maltese["utterances"], maltese["units"]) == (60, 12)
    assert russian["difference"] == pytest.approx((60 * 15 + 4 * 100) / 64 - 15)
    assert russian["low"] < 0 < russian["high"] and russian["p adjusted"] > 0.3


def test_sentences_are_in_the_class_of_their_change(study):
    """Of 49 sentences 20 get 10 points worse, one 10 better, and 5 points either way are similar."""
    low = one(study.classes, data_set="fleurs", model="base", precision="int8", by="resource", group="extremely low")
    assert low["worse"] == pytest.approx(100 * 20 / 49) and low["better"] == pytest.approx(100 / 49)
    assert low["similar"] == pytest.approx(100 * 28 / 49) and low["before"] == pytest.approx(50)
    assert low["after"] == pytest.approx(50 + (20 * 10 + 5 - 5 - 10) / 49)
    assert (low["utterances"], low["units"]) == (5 * 49 * 2, 5 * 49), "those with a WER of 100 before are left out"
    high = one(study.classes, data_set="fleurs", model="base", precision="int8", by="resource", group="super high")
    assert high["worse"] == 0 and high["worse high"] > 0, "none of 250 is no proof of none"
    assert one(study.excluded, data_set="fleurs", model="base")["WER of 100 or more before"] == 5 * 2
    assert one(study.excluded, data_set="cv", precision="nf4")["WER of 100 or more before"] == 4, "her clips"
    for model, share in {"tiny": 50, "base": 100 * 5 * 20 / 495}.items():
        row = one(study.classes, data_set="fleurs", model="all", by="model", group=model)
        assert row["worse"] == pytest.approx(share)
    assert list(study.sizes) == ["tiny", "base"] and set(study.sizes.values()) == {"tiny", "base"}


def test_the_findings_are_those_that_were_planted(study):
    here = {(*row[["data_set", "model", "precision"]], row["bias"]): row["here"] for _, row in study.after.iterrows()}
    assert here["fleurs", "base", "int8", "gender"] == "kept"
    assert here["fleurs", "base", "int8", "resource"] == here["fleurs", "tiny", "int8", "resource"] == "amplified"
    assert here["fleurs", "all", "int8", "model"] == "amplified"
    assert here["cv", "base", "int8", "gender"] == here["cv", "base", "int8", "age"] == "kept"
    assert here["cv", "base", "nf4", "gender"] == "amplified", "women alone are harmed, who were worse before"
    assert here["cv", "base", "nf4", "age"] == "kept"
    assert here["cv", "base", "int8", "resource"] == "not shown", "two languages prove nothing of classes"
    assert here["cv", "all", "int8", "model"] == "not shown", "one model is no comparison"
    # 5 languages of either class, no overlap: 2 of the 252 ways to part ten into fives.
    resource = one(study.tests, data_set="fleurs", model="base", by="resource")
    assert resource["p before"] == pytest.approx(2 / 252, abs=0.005) and resource["units"] == 10
    before = study.before.set_index(["finding", "data_set", "model"])["here"]
    assert before["the more hours, the lower the WER", "fleurs", "base"] == "shown"
    assert before["the more hours, the lower the WER", "cv", "base"] == "not shown"
    assert before["women and men differ, in some languages", "fleurs", "tiny"] == "shown"
    assert before["the smaller model is worse", "fleurs", "tiny, base"] == "shown"
    assert before["models of all sizes fail in the same languages", "fleurs", "tiny, base"] == "shown"
    assert before["genders differ alike in both corpora", "cv, fleurs", "base"] == "not shown"


def test_an_accent_that_few_speak_is_not_reported_and_never_tested(study):
    accents = study.classes[study.classes["by"] == "accent"]
    assert set(accents["group"]) == {"ru: of the north", "mt: of the north"}
    assert "accent" not in set(study.tests["by"]), "accents of two languages are not compared"


def test_a_cell_that_is_too_small_is_shown_flagged_and_not_tested(tmp_path):
    for precision in ("float32", "int8"):
        rows = []
        for gender, people in {"female": 12, "male": 9}.items():
            for person in range(people):
                wrong = 2 + 2 * (precision == "int8" and gender == "male")
                about = {"gender": gender, "speaker": f"{gender}{person}", "wrong": wrong}
                rows += [{"id": f"{gender}{person}-{clip}", **about} for clip in range(6)]
        planted.write_cell(tmp_path, "base", precision, "cv", "ru", rows, balanced=False)
    study = read_study(tmp_path)
    men = one(study.classes, by="gender", group="male")
    assert men["too small"] and men["utterances"] == 54 and men["units"] == 9 and men["worse"] == 100
    assert study.tests.empty and one(study.after, bias="gender")["here"] == "not shown"
    assert one(study.genders, precision="int8")["too small"] and np.isnan(
        one(study.genders, precision="int8")["p adjusted"]
    )


def test_a_bias_that_compression_lessens_is_reduced(tmp_path):
    """Women, worse before, stay as they were; men get worse."""
    for precision in ("float32", "int8"):
        rows = [
            {
                "id": f"{gender}{person}-{clip}",
                "gender": gender,
                "speaker": f"{gender}{person}",
                "wrong": {"female": 8, "male": 2}[gender] + 4 * (precision == "int8" and gender == "male"),
            }
            for gender in ("female", "male")
            for person in range(12)
            for clip in range(5)
        ]
        planted.write_cell(tmp_path, "base", precision, "cv", "ru", rows, balanced=False)
    assert one(read_study(tmp_path).after, bias="gender")["here"] == "reduced"


def test_speakers_are_shuffled_with_all_their_clips():
    """Ten clips each of two people differ, as two people do; twenty people of one clip each would be another matter."""
    errors = np.array([[10.0, 20.0], [0.0, 20.0]])
    few = shuffle_test(errors, np.array(["f", "m"]), np.zeros(2), rates_differ)
    many = shuffle_test(np.repeat(errors / 10, 10, axis=0), np.repeat(["f", "m"], 10), np.zeros(20), rates_differ)
    assert few == 1 and many < 0.001


def test_names_are_shuffled_among_alike_units_only():
    """Most women are of the language that is harmed, and in either language nobody is harmed more than others."""
    languages = np.repeat(["ru", "mt"], 40)
    genders = np.array(["f"] * 36 + ["m"] * 4 + ["f"] * 4 + ["m"] * 36)
    worse = np.where(languages == "ru", 1.0, 0.0)
    counts = np.stack([worse, 1 - worse], axis=1)
    assert shuffle_test(counts, genders, np.zeros(80), histograms_differ) < 0.001, "as it looks"
    assert shuffle_test(counts, genders, languages, histograms_differ) == 1, "as it is"


def test_a_sentence_that_more_women_than_men_have_read_does_not_count_against_women(tmp_path):
    """Twenty hard sentences have two women and a man, twenty easy ones a woman and two men; hard ones get worse."""
    for precision in ("float32", "int8"):
        rows = []
        for sentence in range(40):
            hard = sentence < 20
            for reader, gender in enumerate(("female", "male", "female" if hard else "male")):
                wrong = 2 + (6 + 2 * (precision == "int8")) * hard
                about = {"sentence_id": str(sentence), "gender": gender, "wrong": wrong}
                rows.append({"id": f"{sentence}-{reader}", **about})
        planted.write_cell(tmp_path, "base", precision, "fleurs", "gl", rows, balanced=True)
    study = read_study(tmp_path)
    test = one(study.tests, by="gender")
    assert test["p before"] == test["p change"] == 1 and one(study.after, bias="gender")["here"] == "not shown"
    assert one(study.genders, precision="float32")["difference"] == pytest.approx(0, abs=1e-9)
    women = one(study.classes, by="gender", group="female")
    assert women["worse"] == pytest.approx(100 * 40 / 60), "the histogram counts every recording"


def test_one_language_says_nothing_of_sizes():
    languages = pd.DataFrame(
        [
            {"data_set": "fleurs", "model": model, "precision": "float32", "language": f"l{i}", "wer": wer + i}
            for model, wer in (("tiny", 30), ("base", 20))
            for i in range(6)
        ]
    ).assign(**{"too small": False})
    none = pd.DataFrame(columns=[*languages, "measure", "difference", "female", "male", "p adjusted", "rho", "p"])

    def verdict(languages):
        findings = model_findings(languages, none, none, {"tiny": 36, "base": 71}, "float32")
        return one(findings, finding="the smaller model is worse")["here"]

    assert verdict(languages) == "shown" and verdict(languages[languages["language"] < "l5"]) == "not shown"
    turned = languages.assign(model=languages["model"].map({"tiny": "base", "base": "tiny"}))
    assert verdict(turned) == "the contrary"


def test_two_models_of_one_size_are_not_judged_as_smaller_and_larger(tmp_path, monkeypatch):
    """Twins, or a thinner and deeper model with as many parameters: their order would be that of their names."""
    shapes = {"a": [512, 6, 6], "b": [512, 6, 6], "c": [384, 4, 4], "medium": [1024, 24, 24], "distil": [1280, 32, 2]}
    monkeypatch.setattr(planted, "SHAPES", shapes)
    for number, model in enumerate(shapes):
        for language in planted.HIGH:
            for precision in ("float32", "int8"):
                rows = [
                    {"id": f"{sentence}", "sentence_id": f"{sentence}", "gender": "male", "wrong": 1 + number}
                    for sentence in range(50)
                ]
                planted.write_cell(tmp_path, model, precision, "fleurs", language, rows, balanced=False)
    study = read_study(tmp_path)
    sized = study.before[study.before["finding"] == "the smaller model is worse"]
    assert set(sized["model"]) == {"c, a", "c, b", *(f"{low}, {high}" for low in "ab" for high in ("distil", "medium"))}
    assert list(study.sizes) == ["c", "a", "b", "distil", "medium"]
    assert set(study.after[study.after["bias"] == "model"]["report"]) == {"amplified"}
    twins = compression_findings(study.tests, study.classes, dict.fromkeys(shapes, 1))
    assert set(twins[twins["bias"] == "model"]["report"]) == {"-"}, "the report speaks of sizes"


def test_of_many_comparisons_by_chance_few_count():
    generator = np.random.default_rng(0)
    p_values = np.append(generator.uniform(size=99), 1e-5)
    assert (p_values < 0.05).sum() > 3 and (adjusted(p_values) < 0.05).sum() == 1
    assert np.isnan(adjusted(np.array([np.nan, 0.01]))).tolist() == [True, False]


def test_a_difference_by_chance_is_significant_as_often_as_the_level():
    """Twenty studies of two groups of speakers without any difference, clips of a speaker alike."""
    generator = np.random.default_rng(1)
    p_values = []
    for _ in range(20):
        errors = generator.poisson(generator.gamma(2.0, 3.0, size=30))
        sums = np.stack([errors, np.full(30, 100)], axis=1)
        p_values.append(shuffle_test(sums, np.repeat(["f", "m"], 15), np.zeros(30), rates_differ))
    assert 0.2 < np.mean(p_values) < 0.8 and sum(p < 0.05 for p in p_values) <= 3


def test_shares_of_none_and_all_are_not_certain():
    low, high = share_interval(np.zeros(10), np.full(10, 5))
    assert low == 0 and 0.2 < high < 0.35, "Wilson's, of ten speakers and not of fifty clips"
    one_sided = share_interval(np.array([5, 0, 0, 0]), np.full(4, 5))
    assert one_sided[0] == 0 and one_sided[1] >= 0.5


def test_harm_is_set_against_what_was_before():
    cells = pd.DataFrame({"before": [10, 50], "worse": [5, 20], "better": [0, 0], "utterances": [100, 100]})
    assert harm_follows_bias(cells) > 0 > harm_follows_bias(cells.assign(worse=[20, 5]))


def test_a_change_of_five_points_is_similar_whatever_floats_make_of_it():
    """1 word of 20 is 5 points, and 0.05 less 0.0 is a little more than 0.05 in floats elsewhere: 3/20 - 2/20."""
    cells = []
    for precision, more in (("float32", 0), ("int8", 1)):
        records = [
            {
                **dict.fromkeys(("gender", "age", "accent", "speaker", "sentence_id"), ""),
                **{"id": str(wrong), "seconds": 1.0, "compute_seconds": 1.0},
                "reference": planted.text_with_errors(0),
                "hypothesis": planted.text_with_errors(wrong + more),
            }
            for wrong in range(19)
        ]
        run = {"data_set": "x", "balanced": False, "model": "m", "precision": precision, "shape": [8, 2, 2]}
        cells.append(Cell(run, "gl", records))
    changes, _ = change_table(sentence_table(cells), "float32")
    assert len(changes) == 19 and changes["similar"].all()
    assert changes["kind"].unique().tolist() == ["utterance"]


def test_a_transcript_that_begins_to_repeat_itself_is_counted_beside_its_class(tmp_path):
    rows = [{"id": str(i), "wrong": 1} for i in range(60)]
    for precision in ("float32", "int8"):
        planted.write_cell(tmp_path, "base", precision, "cv", "ru", rows, balanced=False)
    path = tmp_path / "transcripts/base/int8/cv/ru.jsonl"
    path.write_text(path.read_text().replace("x0 w1", "x0 " + "again " * 100 + "w1", 1))
    row = one(read_study(tmp_path).classes, by="language")
    assert row["new loops"] == 1 and row["worse"] == pytest.approx(100 / 60)
    assert row["before"] == 5 and row["after"] == pytest.approx(5 + 100 * 100 / (60 * 20))


def test_what_is_not_transcribed_to_the_end_is_left_out_and_named(folder, tmp_path):
    planted.write_cell(tmp_path, "base", "float32", "cv", "ru", [{"id": str(i), "wrong": 1} for i in range(5)], False)
    planted.write_cell(tmp_path, "base", "int8", "cv", "ru", [{"id": str(i), "wrong": 1} for i in range(5)], False)
    path = tmp_path / "transcripts/base/int8/cv/ru.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    cells, unfinished = read_cells(tmp_path)
    assert [cell.run["precision"] for cell in cells] == ["float32"]
    assert unfinished == ["base int8 cv ru: 3 of 5"]
    path.unlink()
    assert read_cells(tmp_path)[1] == ["base int8 cv ru: 0 of 5"], "what was never begun is missed too"
    (path.parent / "settings.json").unlink()
    planted.write_cell(tmp_path, "base", "int8", "fleurs", "ru", [{"id": str(i), "wrong": 1} for i in range(5)], True)
    assert read_cells(tmp_path)[1] == ["base float32 fleurs: nothing", "base int8 cv: nothing"]
    assert read_study(tmp_path).after.empty, "nothing to compare, and no crash"
    with pytest.raises(ValueError, match="has nothing in float16 to compare with. It has float32, int8, nf4"):
        read_study(folder, "float16")


def test_groups_stand_in_the_order_of_readers():
    assert in_order({"sixties", "teens", "twenties"}) == ["teens", "twenties", "sixties"]
    assert in_order({"male", "non-binary", "female"}) == ["female", "male", "non-binary"]
    assert in_order({"low", "super high", "mid to high"}) == ["super high", "mid to high", "low"]


def test_sizes_have_whispers_names(whisper):
    assert size_name([512, 6, 6]) == "base" and size_name([1280, 32, 4]) == "large, 4 decoder layers"
    assert size_name(model_shape(whisper.config)) == "32 wide, 2 layers"
