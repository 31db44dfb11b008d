"""Normalisers: they put transcripts into the form that is compared, and cut it into the units that are counted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import regex
from transformers.models.whisper.english_normalizer import BasicTextNormalizer

from ..runs.old_names import new_value
from .orthography import language_code, same_signs

# Languages that write words without spaces between them: Whisper's; the same with three letters; and their relatives.
UNSPACED = (
    *("th", "lo", "my", "km", "zh", "ja", "yue"),
    *("tha", "lao", "mya", "khm", "zho", "jpn"),
    *("cmn", "wuu", "hsn", "hak", "gan", "nan", "lzh", "shn", "nod"),
)
# Their scripts, and others of such languages. Tibetan has a mark between syllables, which becomes a space.
_LETTER = (
    r"[\p{Han}\p{scx=Hiragana}\p{scx=Katakana}\p{Bopomofo}\p{Yi}\p{Thai}\p{Lao}\p{Myanmar}\p{Khmer}"
    r"\p{Tai_Tham}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Viet}\p{Javanese}\p{Balinese}]"
)
_CHARACTER = rf"(?={_LETTER})\X\p{{M}}*"  # a letter with its marks: a grapheme
_UNIT = regex.compile(rf"{_CHARACTER}|(?:(?!{_LETTER})\S)+")
_SPACE_BESIDE_CHARACTER = regex.compile(rf" (?={_LETTER})|(?<={_LETTER}\p{{M}}*) ")

_basic = BasicTextNormalizer()


class Comparable(NamedTuple):
    """A text in the form that is compared.

    Attributes:
        units: what WER counts: words, and characters where words are not spaced.
        characters: the text of which CER counts each character.
        by_character: whether the language does not space words, or most of the units are characters.
    """

    units: list[str]
    characters: str
    by_character: bool


def keep_marks(text: str, language: str | None = None) -> str:
    """Lower case, spaces for punctuation and symbols, no text in brackets, and one code point for each sign.

    Combining marks stay, so that words of Tamil, Thai or Hindi are not split. By language: Turkish and Azeri i and ı,
    apostrophes that are letters, ё as е in Russian (`orthography` has all rules). What texts may leave out is deleted:
    vowel points of Arabic and Hebrew, tatweel, stress, joiners.

    Example:
        >>> keep_marks("Hello,  world! (laughs)"), keep_marks("IŞIK", "tr")
        ('hello world', 'ışık')
    """
    return same_signs(text, language)


def is_unspaced(language: str | None) -> bool:
    """Whether a language is written without spaces between words; also by a name such as "Chinese" or "zh-TW"."""
    return language_code(language) in UNSPACED


def normalize_as_report(text: str, language: str | None = None) -> str:
    """The report's normaliser (section 5.1.4): Whisper's own basic normaliser, which splits words at combining marks.

    In languages that write without spaces, each grapheme is then a word, but Latin words and numbers stay complete.

    Example:
        >>> normalize_as_report("25 Bäume!", "de"), normalize_as_report("กข", "th")
        ('25 bäume', 'ก ข')
    """
    text = _basic(text)
    words = regex.findall(r"\p{Latin}+|\d+|\S\p{M}*", text) if is_unspaced(language) else text.split()
    return " ".join(words)


def _by_marks(text: str, language: str | None) -> Comparable:
    text = keep_marks(text, language)
    units = _UNIT.findall(text)
    characters = sum(1 for unit in units if regex.match(_LETTER, unit))
    by_character = is_unspaced(language) or 2 * characters > len(units)
    return Comparable(units, _SPACE_BESIDE_CHARACTER.sub("", text), by_character)


def _by_report(text: str, language: str | None) -> Comparable:
    text = normalize_as_report(text, language)
    return Comparable(text.split(), text, is_unspaced(language))


@dataclass(frozen=True)
class Normalizer:
    """A rule by which texts are compared.

    Attributes:
        name: what a score says of its rule. It changes with the rule, so that scores of two rules are never taken for
            scores of one; "marks" is the name of the first rule of `marks`, in results of earlier versions.
        compare: makes of a text and its language what is compared.
    """

    name: str
    compare: Callable[[str, str | None], Comparable]


# By the name in settings. Every score is stored with its rule: the WER of one pair of Thai sentences was 0.06 to 0.22
# under four.
NORMALIZERS = {"marks": Normalizer("marks-2", _by_marks), "report": Normalizer("report", _by_report)}


def normalizer_name(name: str) -> str:
    """The name in `NORMALIZERS` of a normaliser that is given by it, by the name in scores, or by an earlier one.

    Raises:
        ValueError: there is no such normaliser.
    """
    name = new_value("normalizer", name)
    for setting, normalizer in NORMALIZERS.items():
        if name in (setting, normalizer.name):
            return setting
    raise ValueError(f"The normalizer must be one of {', '.join(NORMALIZERS)}, got {name!r}.")
