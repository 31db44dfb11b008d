"""Scores are at corpus level and carry their normaliser's name; marks stay with their letters."""

from pathlib import Path

import evaluate
import numpy as np
import pytest

from modeling_distilwhisper.evaluation.metrics import compare_errors, count_errors, error_rates
from modeling_distilwhisper.evaluation.normalization import keep_marks, normalize_as_report


def test_rates_are_of_the_corpus_not_means_of_rows():
    rates = error_rates(["one two three four", "five"], ["one two three four", "six"])
    assert rates["wer"] == pytest.approx(1 / 5) and rates["words"] == 5 and rates["utterances"] == 2
    assert (rates["hits"], rates["substitutions"], rates["deletions"], rates["insertions"]) == (4, 1, 0, 0)
    assert rates["normalizer"] == "marks-2"


def test_case_and_punctuation_do_not_count():
    assert error_rates(["Hello,  world! (laughs)"], ["hello world"])["wer"] == 0


PAIRS = {
    "தமிழ் மொழி.": ("தமிழ் மொழி", 2),
    "नमस्ते, दुनिया!": ("नमस्ते दुनिया", 2),
    "Bon dia: l’aigua — és freda?": ("bon dia l aigua és freda", 6),
    "Їжак; м’ята": ("їжак м ята", 3),
    "ĐƯỜNG phố [nhạc]": ("đường phố", 2),
    "ශ්\u200dරී ලංකා": ("ශ්රී ලංකා", 2),
    "می\u200cروم Schiff\u00adfahrt": ("میروم schifffahrt", 2),
    "Пожалуйста, введите ЁЙ.": ("пожалуйста введите ёй", 3),
}


@pytest.mark.parametrize("text", PAIRS)
def test_words_stay_whole(text):
    expected, words = PAIRS[text]
    assert keep_marks(text) == expected and len(keep_marks(text).split()) == words


# language: text, as "marks" has it, as "report" has it. The second breaks words at combining marks, as Whisper's does.
GOLDEN = {
    "th": ("สวัสดี Anna อายุ 25 ปี", "สวัสดี anna อายุ 25 ปี", "ส ว ส ด anna อ า ย 25 ป"),
    "ta": ("தமிழ் மொழி!", "தமிழ் மொழி", "தம ழ ம ழ"),
    "hi": ("नमस्ते, दुनिया।", "नमस्ते दुनिया", "नमस त द न य"),
    "ca": ("L’aigua és col·lateral.", "l aigua és col lateral", "l aigua és col lateral"),
    "hu": ("Őrült nagy – így volt?", "őrült nagy így volt", "őrült nagy így volt"),
    "uk": ("Їжак (шум) п'є №5", "їжак пʼє no5", "їжак п є no5"),
    "vi": ("Đường phố [nhạc] đẹp!", "đường phố đẹp", "đường phố đẹp"),
}


@pytest.mark.parametrize("language", GOLDEN)
def test_both_normalisers_do_what_a_reader_of_the_language_can_check(language):
    text, marks, reports = GOLDEN[language]
    assert keep_marks(text, language) == marks
    assert normalize_as_report(text, language) == reports


def test_the_report_splits_thai_but_neither_latin_words_nor_numbers():
    rates = [error_rates(["ก ข 25 anna"], ["กข 25 anna"], "report", language)["wer"] for language in ("th", "hi", None)]
    assert rates == [0, 0.5, 0.5]
    mixed = error_rates(["กข", "ab cd"], ["ก ข", "ab cd"], "report", ["th", "en"])
    assert mixed["wer"] == 0 and mixed["words"] == 4


@pytest.mark.parametrize(("references", "hypotheses"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_lists_of_different_length_are_refused(references, hypotheses):
    with pytest.raises(ValueError, match="as many hypotheses as references"):
        error_rates(references, hypotheses)


def test_an_unknown_normaliser_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="must be one of marks, report"):
        error_rates(["a"], ["a"], "none")


def test_an_empty_reference_counts_its_insertions():
    assert error_rates(["", "a b"], ["x", "a b"])["insertions"] == 1


def test_every_utterance_is_counted_for_itself_and_in_its_place():
    counts = count_errors(["a b c", "d", "", "e f"], ["a x c y", "", "z", "e f"])
    for name, expected in {
        "hits": [2, 0, 0, 2],
        "substitutions": [1, 0, 0, 0],
        "deletions": [0, 1, 0, 0],
        "insertions": [1, 0, 1, 0],
        "words": [3, 1, 0, 2],
        "errors": [2, 1, 1, 0],
        "empty": [False, True, False, False],
    }.items():
        assert getattr(counts, name).tolist() == expected, name
    assert counts[1:3].rates()["wer"] == 2.0 and counts.rates()["wer"] == pytest.approx(4 / 6)
    assert counts[np.array([False, False, True, False])].rates()["wer"] == 1, "no word to miss, one too many"


def test_loops_are_told_from_what_was_really_said():
    looped = "thank you " * 5
    counts = count_errors(["thank you", looped, "ha"], [looped, looped, "ha ha ha"])
    assert counts.loops.tolist() == [True, False, False]
    assert counts.rates()["loop_rate"] == pytest.approx(1 / 3)


def test_the_interval_narrows_with_more_utterances_and_covers_the_truth():
    """Drawn again and again from a known error rate, about 95 of 100 intervals must hold it."""
    generator, covered, widths = np.random.default_rng(0), 0, {}
    for size in (50, 400):
        for _ in range(50):
            hypotheses = np.where(generator.random((size, 4)) < 0.3, "x", "a")
            counts = count_errors(["a a a a"] * size, [" ".join(row) for row in hypotheses])
            low, high = counts.wer_interval()
            covered += low <= 0.3 <= high
            widths[size] = high - low
    assert 88 <= covered <= 99 and widths[400] < widths[50] / 2
    assert count_errors(["a"], ["b"]).wer_interval() is None


def test_an_utterance_is_drawn_complete_with_its_words_and_its_errors():
    """Where half of every utterance is wrong, so is half of every sample, however long its utterances are."""
    sizes = range(2, 22, 2)
    counts = count_errors(["a " * size for size in sizes], ["a x " * (size // 2) for size in sizes])
    assert counts.wer_interval() == pytest.approx((0.5, 0.5))
    right = count_errors(["a " * size for size in sizes], ["a " * size for size in sizes])
    difference = compare_errors(counts, right)
    assert (difference.low, difference.high) == pytest.approx((0.5, 0.5))


def test_pairing_finds_a_small_difference_that_two_intervals_would_hide():
    generator = np.random.default_rng(0)
    wrong = generator.random(300) < 0.5
    first = count_errors(["a b"] * 300, ["a x" if one else "a b" for one in wrong])
    second = count_errors(["a b"] * 300, ["a x" if one or i % 20 == 0 else "a b" for i, one in enumerate(wrong)])
    difference = compare_errors(first, second)
    assert difference.is_real and difference.low < difference.wer < difference.high < 0
    assert first.wer_interval()[1] > second.wer_interval()[0], "the intervals overlap"
    assert not compare_errors(first, first).is_real
    with pytest.raises(ValueError, match="the same two or more utterances under one normaliser"):
        compare_errors(first, count_errors(["a b"] * 300, ["a b"] * 300, "report"))


def test_evaluate_loads_the_scores_from_the_folder_offline(monkeypatch, tmp_path):
    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", str(tmp_path))
    metric = evaluate.load(str(Path(__file__).parents[2] / "examples/metrics/asr_error_rates"))
    texts = {"references": ["one two", "three"], "predictions": ["one too", "three"]}
    assert metric.compute(**texts) == error_rates(*texts.values()) | dict(
        zip(("wer_low", "wer_high"), count_errors(*texts.values()).wer_interval(), strict=True)
    )
    assert metric.compute(**texts, normalizer="report", languages="th")["normalizer"] == "report"
    both = evaluate.combine([metric])
    assert both.compute(**texts)["words"] == 3
