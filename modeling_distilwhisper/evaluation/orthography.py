"""Which signs are the same to a reader: case by language, one sign under several code points, decoration.

`normalization.keep_marks` compares texts by these rules. They are about signs that keyboards write in several ways, or
that a text may leave out. A letter that makes another word stays another letter.
"""

import unicodedata

import regex
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

# I and İ are capitals of two letters there, ı and i.
DOTLESS = dict.fromkeys(("tr", "az"), str.maketrans("Iİ", "ıi"))

# By language: letters, and those that they are read as: most look the same and have another code point.
_READ_AS = {
    "ar": ("یک", "يك"),  # of Persian keyboards
    "fa": ("يىك", "ییک"),  # of Arabic keyboards, as in Urdu
    "ur": ("يىكه", "ییکہ"),
    "az": ("ǝ", "ə"),
    "ro": ("şţ", "șț"),  # with cedilla, from the time when fonts had no comma below
    "ru": ("ё", "е"),  # two letters, but print leaves the dots out, and so do most transcripts
}
LETTERS = {language: str.maketrans(*letters) for language, letters in _READ_AS.items()}
# Letters that were written with a joiner before Unicode had code points for them: Malayalam chillus, Bengali khanda ta.
_VIRAMA = {**dict.fromkeys("ണനരലളക", "\u0d4d"), "ত": "\u09cd"}
_WITH_JOINER = {
    f"{letter}{virama}\u200d": code_point
    for (letter, virama), code_point in zip(_VIRAMA.items(), "ൺൻർൽൾൿৎ", strict=True)
}

# All of these stand for an apostrophe. NFKC would make a space and an accent of ´.
_APOSTROPHES = dict.fromkeys(map(ord, "'`´‘’‚‛′‵ʹʻʼʽʾʿˈˊˋ΄᾽᾿῾՚׳ߴߵꞋꞌ＇"), "'")
APOSTROPHE = "ʼ"  # where it is a letter. Elsewhere it separates words: l'aigua, it's.
_BETWEEN_LETTERS = r"(?<=\p{L})'(?=\p{L})"
# Where it is a letter: Ukrainian п'ять, Belarusian сям'я, Uzbek oʻzbek, Hawaiian ʻokina, Somali lo', Swahili ng'ombe.
_LETTER_APOSTROPHES = {
    "be": _BETWEEN_LETTERS,
    "br": r"(?<=c)'(?=h)",
    "ha": rf"'(?=y)|{_BETWEEN_LETTERS}",
    "haw": r"'(?=\p{L})",
    "sn": r"(?<=n)'",
    "so": r"(?<=\p{L})'",
    "sw": r"(?<=ng)'",
    "uk": _BETWEEN_LETTERS,
    "uz": rf"(?<=[og])'|{_BETWEEN_LETTERS}",
}

# Signs that nobody says, and that most texts leave out. They are deleted without a space.
_DECORATION = regex.compile(
    r"[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Me}]"  # joiners, text direction, variants of a sign; enclosing signs
    r"|[\u0640\u07FA\u180A]"  # stretch a word: tatweel and its like
    r"|[\u064B-\u0652\u0656\u0657\u0670\u06D6-\u06DC\u06DF-\u06E4\u06E7\u06E8\u06EA-\u06ED]"  # Arabic vowels
    r"|[\u055B\u055C\u055E]"  # Armenian stress, exclamation and question stand inside a word
    r"|(?<=\p{Cyrillic})[\u0300\u0301]"  # stress; ќ and ѝ are code points of their own
)
_HEBREW_POINTS = regex.compile(r"[\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7]")  # in Yiddish they are letters
_SECOND_DOT = regex.compile(
    r"(?<=\p{Soft_Dotted})\u0307"
)  # of i, j, į: İ in lower case, and i with an accent in Lithuanian
_BRACKETS = regex.compile(r"[<\[][^>\]]*[>\]]|\([^)]*\)")
_DIGIT = regex.compile(r"\p{Nd}")
_SEPARATOR = regex.compile(r"[\p{P}\p{S}\p{Z}\p{C}]")
_MARK_WITHOUT_LETTER = regex.compile(r"(?<!\S)\p{M}+")


def language_code(language: str | None) -> str:
    """Whisper's code of a language that is given by code ("tr", "tr-TR") or name ("Turkish"); "" for `None`."""
    name = (language or "").lower()
    return TO_LANGUAGE_CODE.get(name, regex.split("[-_]", name)[0])


def same_signs(text: str, language: str | None) -> str:
    """The text in lower case, with one code point for each sign, spaces for punctuation, and nothing in brackets."""
    code = language_code(language)
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES))  # before casefold: № becomes No, then no
    for sequence, letter in _WITH_JOINER.items():
        text = text.replace(sequence, letter)
    text = _SECOND_DOT.sub("", text.translate(DOTLESS.get(code, {})).casefold())
    text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)  # again: of ŉ
    text = _DECORATION.sub("", _BRACKETS.sub("", text))
    if code != "yi":
        text = _HEBREW_POINTS.sub("", text)
    text = _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text.translate(LETTERS.get(code, {})))
    if code in _LETTER_APOSTROPHES:
        text = regex.sub(_LETTER_APOSTROPHES[code], APOSTROPHE, text)
    text = _MARK_WITHOUT_LETTER.sub("", _SEPARATOR.sub(" ", text))
    return " ".join(text.split())
