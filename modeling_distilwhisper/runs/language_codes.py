"""The name of a language that somebody wrote otherwise: `Catalan`, `CA`, `ca-ES`, `ca_ES`, `cat`, `jv`.

It is Whisper's code, or a BCP 47 tag of a language that Whisper does not know.
"""

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from ..language_names_distilwhisper import WHISPER_CODES, language_name, nearest_language

_CODES = WHISPER_CODES | {code: code for code in LANGUAGES}
_NAMES = TO_LANGUAGE_CODE | {
    "bokmål": "no",
    "farsi": "fa",
    "filipino": "tl",
    "norwegian bokmål": "no",
    "norwegian nynorsk": "nn",
}
# Parts of a language tag behind the language: script, region, variant (RFC 5646). FLEURS writes `cmn_hans_cn`.
_PARTS = re.compile(r"[a-z]{2}|[0-9]{3}|[a-z]{4}|[0-9][a-z0-9]{3}|[a-z0-9]{5,8}")
_HONG_KONG = {"hk", "mo"}  # their Chinese is Cantonese when it is spoken
_REGION = re.compile(r"([a-z]{2,3})-(?:[A-Z]{2}|[0-9]{3})")


class OwnName(str):
    """The name of experts for a part of a language, such as `de-CH`, which is not to be read as Whisper's `de`.

    Example:
        >>> from modeling_distilwhisper import OwnName, parse_sources
        >>> (source,) = parse_sources(["examples/quickstart/in_domain/uk"], [OwnName("uk-Latn")])
        >>> set(source.read("test", OwnName("uk-Latn"))["language"])
        {'uk-Latn'}
    """


@lru_cache(maxsize=4096)
def language_code(written: str) -> str:
    """The name of a language: Whisper's code, or a tag of one that Whisper does not know.

    Args:
        written: in any case: Whisper's code or name, another code of ISO 639, or a language tag with a region, such as
            Common Voice's `sv-SE` and FLEURS' `cmn_hans_cn`. The region is dropped, but for an `OwnName`.

    Raises:
        ValueError: it is no language, or it could be two of Whisper's. The message says what to write.

    Example:
        >>> [language_code(written) for written in ("Catalan", "CA", "ca-ES", "ca_es", "cat", "nb-NO", "fil", "jv")]
        ['ca', 'ca', 'ca', 'ca', 'ca', 'no', 'tl', 'jw']
        >>> [language_code(written) for written in ("ga", "ga-IE", "en-x-clinic", OwnName("de-CH"))]
        ['ga', 'ga', 'en-x-clinic', 'de-CH']
    """
    if isinstance(written, OwnName):
        return written
    text = " ".join(written.split()).casefold()
    if code := _CODES.get(text) or _NAMES.get(text):
        return code
    first, *parts = text.replace("_", "-").split("-")
    if parts and first in ("zh", "zho") and parts[0] in ("yue", "cmn"):  # `zh-yue` is `yue`
        first, *parts = parts
    code = _CODES.get(first)
    if code is None or not all(map(_PARTS.fullmatch, parts)):
        return _tag(written)
    if code == "zh" and _HONG_KONG & set(parts):
        raise ValueError(f"{written!r} could be two of Whisper's languages. Write yue for Cantonese, zh for Mandarin.")
    return code


def _tag(written: str) -> str:
    """The name of a language that Whisper does not know, without its region alone: `ga` of Common Voice's `ga-IE`."""
    try:
        name = language_name(written.strip())
    except ValueError:
        raise ValueError(
            f"Whisper has no language {written!r}. Expected one of: {', '.join(sorted(LANGUAGES))}; an English name, "
            "such as Catalan; or a BCP 47 tag of another language, such as ga."
        ) from None
    return match[1] if (match := _REGION.fullmatch(name)) else name


def chosen_language(written: str) -> str:
    """The name of a language that a user asks for, by `--languages` or as an argument of a reader.

    Raises:
        ValueError: as `language_code`; and for the Chinese of Taiwan, which Common Voice has as a corpus of its own: by
            Whisper's code alone, that of China would be read in its place.
    """
    code = language_code(written)
    if code == "zh" and "tw" in re.split("[-_]", written.casefold()):
        raise ValueError(
            f"Whisper has one code for the Chinese of China and of Taiwan, got {written!r}. Write zh, and for Common "
            "Voice's zh-TW name its folder as the corpus: common_voice:<release>/zh-TW."
        )
    return code


def chosen_languages(written: Iterable[str], own: Collection[str] = ()) -> list[str]:
    """The names of languages that a user asks for, in their order, each once.

    Args:
        written: as for `language_code`.
        own: names of experts, such as `de-CH`, that are to be taken as they are.

    Raises:
        ValueError: as `chosen_language`.

    Example:
        >>> chosen_languages(["Galician", "ca-ES", "cat"])
        ['gl', 'ca']
        >>> chosen_languages(["de", "de-CH", "de-AT"], own=["de-CH"])
        ['de', 'de-CH']
    """
    return list(dict.fromkeys(chosen_language(as_own(one, own)) for one in written))


def as_own(written: str, own: Collection[str]) -> str:
    """An `OwnName` if what was written is one of these names, and says more than a code; else what was written."""
    try:
        name = language_name(written)
    except ValueError:
        return written
    return OwnName(name) if name in own and "-" in name else written


def is_part_of(name: str, code: str) -> bool:
    """Whether a name says more about a language than its code: `de-CH` about `de`."""
    return name != code and nearest_language(name, {code}) is not None


def primary(name: str) -> str:
    """The language of a tag, `de` of `de-CH`; "" of one for private use alone."""
    return "" if name.startswith("x-") else name.split("-")[0] if is_tag(name) else name


def is_tag(name: str) -> bool:
    """Whether a name is a tag that says more than a language: `de-CH`."""
    try:
        return "-" in language_name(name)
    except ValueError:
        return False
