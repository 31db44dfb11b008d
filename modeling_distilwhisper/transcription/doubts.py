"""Why the text of a window is taken for invented. Whisper writes something for music, noise and silence too."""

import zlib

from ..evaluation.metrics import has_loop

# Text that repeats itself compresses well (Radford et al., 2023, section 4.5), but so do honest menus and lists. They
# are spoken at the pace of speech, and a decoder in a loop writes on until it is stopped.
MAX_COMPRESSION, FAST_LETTERS = 2.4, 20.0
MAX_LETTERS = 40.0  # in a second of speech. The fastest speakers say about 25.
# Long speech is beyond doubt. In a short sound that the detector takes for speech, Whisper is asked too. It is often
# wrong about a single word (0.70 for two words of a real prompt), so above the first probability a text is dropped only
# if nobody speaks so fast either: 0.87, and 59 letters in a second, for a beep.
SHORT_SECONDS = 2.0
MAX_NO_SPEECH, SURELY_NO_SPEECH = 0.6, 0.95  # the first as in Radford et al.
# Whisper's remedy for loops: other temperatures where the text repeats itself or is unlikely (likewise).
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
FALLBACK = {
    "temperature": (0.0, *TEMPERATURES),
    "compression_ratio_threshold": MAX_COMPRESSION,
    "logprob_threshold": -1.0,
    "no_speech_threshold": MAX_NO_SPEECH,
}


def compression_ratio(text: str) -> float:
    """Length of a text by its length when compressed. Each letter counts as one byte, in every script."""
    order = {letter: number % 256 for number, letter in enumerate(dict.fromkeys(text))}
    return len(text) / len(zlib.compress(bytes(order[letter] for letter in text))) if text else 0.0


def is_loop(text: str, seconds: float) -> bool:
    """Whether a text is that of a decoder in a loop.

    Args:
        text: of a window.
        seconds: of its speech.
    """
    return has_loop(text) or (compression_ratio(text) > MAX_COMPRESSION and _pace(text, seconds) > FAST_LETTERS)


def doubt(text: str, seconds: float, no_speech: float | None) -> str | None:
    """The reason why the text of a window is taken for invented; `None` if it is not.

    Args:
        text: of the window.
        seconds: of its speech.
        no_speech: the probability that it holds none by Whisper, which counts for short windows; `None`: not asked.
    """
    if is_loop(text, seconds):
        return f"it repeats itself (compression ratio {compression_ratio(text):.1f})"
    pace = _pace(text, seconds)
    if pace > MAX_LETTERS:
        return f"{pace:.0f} letters in a second of speech are too many (at most {MAX_LETTERS:.0f})"
    is_short = seconds < SHORT_SECONDS
    if is_short and no_speech is not None and no_speech > (MAX_NO_SPEECH if pace > FAST_LETTERS else SURELY_NO_SPEECH):
        return f"{seconds:.1f} s of sound that are no speech with a probability of {no_speech:.2f}"
    return None


def _pace(text: str, seconds: float) -> float:
    """Letters in a second of speech. A word of a very short window is not fast."""
    return sum(map(str.isalnum, text)) / max(seconds, 0.5)
