"""Text as it is compared: lower case, no punctuation."""

import re
import unicodedata
from collections.abc import Callable

from transformers.models.whisper.english_normalizer import BasicTextNormalizer


def keep_marks(text: str) -> str:
    """Lower case, punctuation and symbols to spaces, brackets left out; combining marks stay, so that the words of
    Tamil, Thai or Hindi stay whole."""
    text = unicodedata.normalize("NFKC", text.casefold())
    text = re.sub(r"[<\[][^>\]]*[>\]]|\([^)]*\)", "", text)
    # Format characters (joiners, soft hyphens) stand within words: they go without leaving a gap.
    visible = (letter for letter in text if unicodedata.category(letter) != "Cf")
    kept = (" " if unicodedata.category(letter)[0] in "PSZC" else letter for letter in visible)
    return " ".join("".join(kept).split())


_basic = BasicTextNormalizer()


def whisper_basic(text: str) -> str:
    """Whisper's own basic normaliser. It breaks words at combining marks; the published numbers were made with it."""
    return " ".join(_basic(text).split())


# The normaliser's name stands with every score: one pair of Thai sentences scored 0.22 to 0.06 under four of them.
NORMALIZERS: dict[str, Callable[[str], str]] = {"marks": keep_marks, "whisper-basic": whisper_basic}
