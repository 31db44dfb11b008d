"""The text of a window in segments: sentences, and what stands between pauses; or what is dropped of it."""

from .doubts import doubt
from .segments import Dropped, Segment, Word
from .window_batch import WindowText
from .windows import Window

PAUSE = 0.3  # seconds between two words, beyond the detector's margins
SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！", "।", "۔", "؟", "։", "።")
QUOTES = "\"'»”’)]」』"


def timed_text(window: Window, content: WindowText) -> tuple[list[Segment], list[Dropped]]:
    """The segments of a window, with the recording's times, and those that were dropped because they are invented."""
    segments = segments_of(window, content)
    if reason := doubt(content.text, content.seconds, content.no_speech):
        return [], [Dropped(segment.start, segment.end, segment.text, reason) for segment in segments]
    for segment in segments:
        segment.avg_logprob, segment.no_speech_prob = content.avg_logprob, content.no_speech
    return segments, []


def segments_of(window: Window, content: WindowText) -> list[Segment]:
    """The segments of a window, with the recording's times.

    A segment ends with a sentence, or where a pause was cut out. Without times of words, the window is one segment.
    """
    if not content.text:
        return []
    if not content.words:
        return [Segment(*window.bounds, content.text)]
    words = []
    for word in content.words:
        start, end = window.times_of(word.start, word.end)
        words.append(Word(round(start, 2), round(end, 2), word.word))
    segments, rest = [], content.text
    for group in _groups(words):
        text, rest = _take(rest, group)
        segments.append(Segment(group[0].start, group[-1].end, text, group))
    return segments


def _groups(words: list[Word]) -> list[list[Word]]:
    groups: list[list[Word]] = [[]]
    for word, after in zip(words, [*words[1:], None], strict=True):
        groups[-1].append(word)
        if after is not None and (word.word.rstrip(QUOTES).endswith(SENTENCE_ENDS) or after.start - word.end >= PAUSE):
            groups.append([])
    return groups


def _take(text: str, words: list[Word]) -> tuple[str, str]:
    """The part of a text that some words make, and the rest. Between words may be a space, or nothing."""
    end = 0
    for word in words:
        end = text.index(word.word, end) + len(word.word)
    return text[:end].strip(), text[end:]
