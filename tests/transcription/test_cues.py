"""Subtitles stay within a broadcaster's limits and lose no word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_distilwhisper.transcription.cues import CueLimits, columns, cues_of
from modeling_distilwhisper.transcription.segments import Segment, Word

TEXTS = st.lists(st.text("aбñ好ก,.é", min_size=1, max_size=60), min_size=1, max_size=30)
LIMITS = st.builds(CueLimits, st.integers(2, 42), st.integers(1, 3), st.floats(1, 7))


def timed(words, seconds):
    return [Word(i * seconds, (i + 1) * seconds, word) for i, word in enumerate(words)]


@given(TEXTS, LIMITS, st.floats(0.05, 9), st.booleans())
def test_every_cue_is_within_its_limits_and_the_text_is_complete(words, limits, seconds, aligned):
    segment = Segment(0.0, len(words) * seconds, " ".join(words), timed(words, seconds) if aligned else None)
    cues = cues_of([segment], limits)
    assert "".join("".join(line.split()) for cue in cues for line in cue.lines) == "".join(words)
    for cue in cues:
        assert len(cue.lines) <= limits.lines and all(columns(line) <= limits.width for line in cue.lines)
        assert 0 <= cue.end - cue.start <= limits.seconds + 1e-6
    times = [time for cue in cues for time in (cue.start, cue.end)]
    assert times == sorted(times), "no cue begins before the one before it ends"


def test_a_cue_has_the_times_of_its_words():
    words = timed(["un", "dous", "tres", "catro"], 1.0)
    cues = cues_of([Segment(0.0, 4.0, "un dous tres catro", words)], CueLimits(width=7, lines=1))
    assert [(cue.start, cue.end, cue.lines) for cue in cues] == [
        (0.0, 2.0, ("un dous",)),
        (2.0, 3.0, ("tres",)),
        (3.0, 4.0, ("catro",)),
    ]


def test_no_word_is_shown_only_before_it_is_spoken():
    words = timed(["un", "dous", "tres", "catro"], 2.0)
    cues = cues_of([Segment(0.0, 8.0, "un dous tres catro", words)], CueLimits(seconds=4.5))
    assert [(cue.start, cue.end, cue.lines) for cue in cues] == [(0.0, 4.0, ("un dous",)), (4.0, 8.0, ("tres catro",))]


def test_a_long_sentence_is_cut_after_a_clause():
    text = "Nunca choveu que non escampara na nosa terra, e iso sábeno ben todos os que viven dela desde sempre"
    first, second = (" ".join(cue.lines) for cue in cues_of([Segment(0.0, 6.0, text)], CueLimits()))
    assert first.endswith("terra,") and second.startswith("e iso")


def test_wide_letters_take_two_columns_and_marks_none():
    assert (columns("你好"), columns("é"), columns("e\u0301"), columns("ก็")) == (4, 1, 1, 1)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"lines": 0}, {"seconds": 0}, {"seconds": float("nan")}])
def test_limits_below_one_are_refused(wrong):
    with pytest.raises(ValueError, match="max_"):
        CueLimits(**wrong)
