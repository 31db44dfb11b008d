"""Timed text: words, segments and the transcript of a recording."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

UNDETERMINED = "und"  # ISO 639's code


@dataclass
class Word:
    """A word of a segment, with its punctuation.

    Attributes:
        start: in seconds from the start of the recording.
        end: likewise.
        word: the text, without the space before it.

    Example:
        >>> from modeling_distilwhisper import Segment, Word
        >>> words = [Word(0.0, 0.6, "Boas"), Word(0.6, 1.5, "noites.")]
        >>> Segment(0.0, 1.5, "Boas noites.", words).words[1].start
        0.6
    """

    start: float
    end: float
    word: str


def follow_in(text: str, words: Sequence[Word]) -> bool:
    """Whether words stand in a text in their order. A letter that was cut into tokens may be lost in the words."""
    position = 0
    for word in words:
        found = text.find(word.word, position)
        if found < 0:
            return False
        position = found + len(word.word)
    return True


@dataclass
class Segment:
    """A part of a transcript.

    Attributes:
        start: in seconds from the start of the recording.
        end: likewise.
        text: the words.
        words: with their times, if they were asked for.
        language: its code, if it was detected for this part alone.
        avg_logprob: the mean log probability of the tokens of its window, if the model can time words.
        no_speech_prob: the probability that its window holds no speech, if that is short.

    Example:
        >>> from modeling_distilwhisper import Segment
        >>> Segment(0.0, 1.5, "Boas noites.")
        Segment(start=0.0, end=1.5, text='Boas noites.')
    """

    start: float
    end: float
    text: str
    words: list[Word] | None = field(default=None, repr=False)
    language: str | None = field(default=None, repr=False)
    # Their last digits depend on the batch.
    avg_logprob: float | None = field(default=None, repr=False, compare=False)
    no_speech_prob: float | None = field(default=None, repr=False, compare=False)


@dataclass
class Dropped:
    """Text that the model generated, and that is no part of the transcript.

    Attributes:
        start: in seconds from the start of the recording.
        end: likewise.
        text: what was generated.
        reason: why it is taken for invented.

    Example:
        >>> from modeling_distilwhisper import Dropped, Transcript
        >>> beep = Dropped(2.0, 2.7, "Thanks for watching!", "it repeats itself (compression ratio 3.1)")
        >>> Transcript("en", 3.0, [], [beep]).text
        ''
    """

    start: float
    end: float
    text: str
    reason: str


@dataclass
class Transcript:
    """The transcript of one recording.

    Attributes:
        language: code of the language, given or detected; "und" for a silent recording whose language is not given.
        seconds: duration of the recording.
        segments: in temporal order.
        dropped: text that was taken for invented, in temporal order.

    Example:
        >>> from modeling_distilwhisper import Segment, Transcript
        >>> transcript = Transcript("gl", 3.0, [Segment(0.0, 1.5, "Boas noites."), Segment(1.5, 3.0, "Adeus.")])
        >>> transcript.text
        'Boas noites. Adeus.'
    """

    language: str
    seconds: float
    segments: list[Segment]
    dropped: list[Dropped] = field(default_factory=list, repr=False)

    @property
    def text(self) -> str:
        """The text of all segments."""
        return " ".join(segment.text for segment in self.segments)

    def as_dict(self, word_timestamps: bool = False) -> dict[str, Any]:
        """For JSON: `text` and the attributes.

        Args:
            word_timestamps: whether segments have their words with times.
        """
        content = {"text": self.text, **asdict(self)}
        left_out = {"avg_logprob", "no_speech_prob"} | (set() if word_timestamps else {"words"})
        content["segments"] = [
            {name: value for name, value in segment.items() if name not in left_out and value is not None}
            for segment in content["segments"]
        ]
        return content
