"""Whisper's code of a language that somebody wrote otherwise: `Catalan`, `CA`, `ca-ES`, `ca_ES`, `cat`, `jv`."""

import re
from collections.abc import Iterable
from functools import lru_cache

from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

# Whisper's code, then other codes of the same language: of ISO 639-1 (today's and withdrawn ones), 639-2 and 639-3.
_OTHER_CODES = """
af afr, am amh, ar ara arb, as asm, az aze azj, ba bak, be bel, bg bul, bn ben, bo bod tib, br bre, bs bos, ca cat,
cs ces cze, cy cym wel, da dan, de deu ger, el ell gre, en eng, es spa, et est ekk, eu eus baq, fa fas per pes, fi fin,
fo fao, fr fra fre, gl glg, gu guj, ha hau, he heb iw, hi hin, hr hrv scr, ht hat, hu hun, hy hye arm, id ind in,
is isl ice, it ita, ja jpn, jw jv jav, ka kat geo, kk kaz, km khm, kn kan, ko kor, la lat, lb ltz, ln lin, lo lao,
lt lit, lv lav lvs, mg mlg plt, mi mri mao, mk mkd mac, ml mal, mn mon khk, mr mar, ms msa may zsm, mt mlt, my mya bur,
ne nep npi, nl nld dut, nn nno, no nor nb nob, oc oci, pa pan, pl pol, ps pus pbt pbu, pt por, ro ron rum mo mol,
ru rus, sa san, sd snd, si sin, sk slk slo, sl slv, sn sna, so som, sq sqi alb als, sr srp scc, su sun, sv swe,
sw swa swh, ta tam, te tel, tg tgk, th tha, tk tuk, tl tgl fil, tr tur, tt tat, uk ukr, ur urd, uz uzb uzn,
vi vie, yi yid ydd ji, yo yor, zh zho chi cmn
"""
_CODES = {other: group.split()[0] for group in _OTHER_CODES.split(",") for other in group.split()}
_CODES |= {code: code for code in LANGUAGES}
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


@lru_cache(maxsize=4096)
def language_code(written: str) -> str:
    """Whisper's code of a language.

    Args:
        written: in any case: Whisper's code or name, another code of ISO 639, or a language tag with a region, such as
            Common Voice's `sv-SE` and FLEURS' `cmn_hans_cn`. The region is dropped.

    Raises:
        ValueError: it is no language that Whisper knows, or it could be two of them. The message says what to write.

    Example:
        >>> [language_code(written) for written in ("Catalan", "CA", "ca-ES", "ca_es", "cat", "nb-NO", "fil", "jv")]
        ['ca', 'ca', 'ca', 'ca', 'ca', 'no', 'tl', 'jw']
    """
    text = " ".join(written.split()).casefold()
    if code := _CODES.get(text) or _NAMES.get(text):
        return code
    first, *parts = text.replace("_", "-").split("-")
    if parts and first in ("zh", "zho") and parts[0] in ("yue", "cmn"):  # `zh-yue` is `yue`
        first, *parts = parts
    code = _CODES.get(first)
    if code is None or not all(map(_PARTS.fullmatch, parts)):
        raise ValueError(
            f"Whisper has no language {written!r}. Expected one of: {', '.join(sorted(LANGUAGES))}; or an English "
            "name, such as Catalan."
        )
    if code == "zh" and _HONG_KONG & set(parts):
        raise ValueError(f"{written!r} could be two of Whisper's languages. Write yue for Cantonese, zh for Mandarin.")
    return code


def chosen_language(written: str) -> str:
    """Whisper's code of a language that a user asks for, by `--languages` or as an argument of a reader.

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


def chosen_languages(written: Iterable[str]) -> list[str]:
    """Whisper's codes of languages that a user asks for, in their order, each once.

    Raises:
        ValueError: as `chosen_language`.

    Example:
        >>> chosen_languages(["Galician", "ca-ES", "cat"])
        ['gl', 'ca']
    """
    return list(dict.fromkeys(map(chosen_language, written)))
