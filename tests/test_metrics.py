"""Scores are at corpus level and carry their normaliser's name; marks stay with their letters."""

import pytest

from modeling_distilwhisper.metrics import error_rates
from modeling_distilwhisper.normalization import keep_marks, whisper_basic


def test_rates_are_of_the_corpus_not_means_of_rows():
    rates = error_rates(["one two three four", "five"], ["one two three four", "six"])
    assert rates["wer"] == pytest.approx(1 / 5) and rates["words"] == 5 and rates["utterances"] == 2
    assert (rates["hits"], rates["substitutions"], rates["deletions"], rates["insertions"]) == (4, 1, 0, 0)
    assert rates["normalizer"] == "marks"


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


def test_whispers_own_normaliser_breaks_words_with_marks():
    assert len(whisper_basic("தமிழ் மொழி").split()) > 2


@pytest.mark.parametrize(("references", "hypotheses"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_lists_of_different_length_are_refused(references, hypotheses):
    with pytest.raises(ValueError, match="as many hypotheses as references"):
        error_rates(references, hypotheses)


def test_an_unknown_normaliser_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="Expected one of: marks, whisper-basic"):
        error_rates(["a"], ["a"], "none")


def test_an_empty_reference_counts_its_insertions():
    assert error_rates(["", "a b"], ["x", "a b"])["insertions"] == 1
