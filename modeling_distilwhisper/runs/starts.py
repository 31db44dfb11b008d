"""`--init_from`: what the tokens of languages start as that Whisper has none for."""

from collections.abc import Mapping, Sequence

from .language_codes import as_own, language_code

DETECTED = "detected"  # the languages that Whisper hears in the recordings


def read_starts(words: Sequence[str], languages: Sequence[str]) -> dict[str, str]:
    """The relative, or `DETECTED`, of each language that has one.

    Args:
        words: `ga=cy` and so on.
        languages: that are asked for.

    Raises:
        ValueError: a word is not of one of these languages, or names none to start from.
    """
    starts = {}
    for word in words:
        tag, _, relative = word.partition("=")
        try:
            name = language_code(as_own(tag, languages))
        except ValueError:
            name = tag
        if name not in languages or not relative or name in starts:
            raise ValueError(
                f"--init_from: expected each of the languages {[*languages]} once at most and a relative, such as "
                f"ga=cy, or ga={DETECTED}; got {word!r}."
            )
        starts[str(name)] = relative if relative == DETECTED else language_code(relative)
    return starts


def without_detected(starts: Mapping[str, str]) -> dict[str, str]:
    """Those that start from a relative."""
    return {language: relative for language, relative in starts.items() if relative != DETECTED}
