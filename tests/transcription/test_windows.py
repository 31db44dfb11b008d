"""Windows hold all speech once, and their times come back to the recording."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modeling_distilwhisper.data.mono import SAMPLING_RATE
from modeling_distilwhisper.transcription.segments import Word
from modeling_distilwhisper.transcription.sentences import segments_of
from modeling_distilwhisper.transcription.window_batch import WindowText
from modeling_distilwhisper.transcription.windows import Window, cut_windows

LENGTHS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 200)), max_size=20)  # pause before, and length


def spans_of(lengths):
    spans, position = [], 0
    for pause, length in lengths:
        spans.append((position + pause, position + pause + length))
        position = spans[-1][1]
    return spans


@given(LENGTHS, st.integers(1, 90))
def test_windows_hold_all_speech_once_in_order_and_none_is_longer_than_the_limit(lengths, limit):
    spans = spans_of(lengths)
    windows = cut_windows(spans, limit)
    given = [sample for start, end in spans for sample in range(start, end)]
    assert [sample for window in windows for start, end in window.spans for sample in range(start, end)] == given
    assert all(0 < window.length <= limit for window in windows)
    within = {end for start, end in spans if end - start <= limit} | {end for _, end in spans}
    for window in windows:  # a window ends within speech only if that is longer than the limit
        last = window.spans[-1][1]
        assert last in within or any(start < last < end and end - start > limit for start, end in spans)


@given(LENGTHS.filter(bool), st.integers(1, 90))
def test_a_window_cuts_its_speech_from_the_recording(lengths, limit):
    spans = spans_of(lengths)
    samples = np.arange(spans[-1][1], dtype=np.float32)
    for window in cut_windows(spans, limit):
        cut = window.cut(samples)
        assert len(cut) == window.length and np.all(np.diff(cut) >= 1)


@given(LENGTHS.filter(bool), st.floats(0, 30), st.floats(0, 5))
def test_no_word_lasts_over_a_pause_that_was_cut_out(lengths, start, duration):
    window = Window(tuple(spans_of([(pause * SAMPLING_RATE, length * 100) for pause, length in lengths])))
    first, last = window.times_of(start, start + duration)
    inside = [low / SAMPLING_RATE <= first <= last <= high / SAMPLING_RATE for low, high in window.spans]
    assert any(inside)


def test_times_of_a_window_are_those_of_the_recording():
    window = Window(((16_000, 32_000), (80_000, 96_000)))
    assert window.times_of(0.25, 0.75) == (1.25, 1.75)
    assert window.times_of(1.5, 1.75) == (5.5, 5.75)
    assert window.times_of(0.5, 1.25) == (1.5, 2.0), "most of it is before the pause"
    assert window.times_of(0.75, 1.75) == (5.0, 5.75), "most of it is after the pause"
    assert window.bounds == (1.0, 6.0)


def test_a_segment_ends_with_a_sentence_or_before_a_pause():
    window = Window(((0, 32_000), (80_000, 96_000)))
    words = ["Boas", "noites.", "Ola", "a", "todos"]
    times = [0.0, 0.5, 1.0, 1.5, 2.1, 2.6]
    content = WindowText(
        " ".join(words), 3.0, [Word(a, b, w) for a, b, w in zip(times, times[1:], words, strict=False)]
    )
    segments = segments_of(window, content)
    assert [(segment.text, segment.start, segment.end) for segment in segments] == [
        ("Boas noites.", 0.0, 1.0),
        ("Ola a", 1.0, 2.0),
        ("todos", 5.1, 5.6),
    ]
    (complete,) = segments_of(window, WindowText(content.text, 3.0))
    assert (complete.start, complete.end, complete.text) == (0.0, 6.0, content.text), "without times of words"
    assert segments_of(window, WindowText("", 3.0)) == []


def test_words_without_spaces_between_make_segments_without_spaces():
    window = Window(((0, 64_000),))
    content = WindowText("你好。再见", 4.0, [Word(0, 1, "你好"), Word(1, 1, "。"), Word(1, 3, "再见")])
    assert [segment.text for segment in segments_of(window, content)] == ["你好。", "再见"]
