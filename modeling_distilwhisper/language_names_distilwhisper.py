"""Names of languages: Whisper's codes, and BCP 47 tags of those that Whisper has no token for: `ga`, `de-CH`."""

import re
from collections.abc import Container, Mapping

# A tag of BCP 47 (RFC 5646): language, script, region, variants, extensions, private use. Primary tags of four letters
# and more are left out: none is registered, and English names of languages would pass for them.
TAG = re.compile(
    r"(?P<language>[a-z]{2,3}(?:-[a-z]{3}){0,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(?:-[a-wyz0-9](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?"
    r"|x(?:-[a-z0-9]{1,8})+"
)
LONGEST = 64  # of a tag, which becomes part of a file's name
# All codes of two letters (ISO 639-1, withdrawn ones too): others are mistakes, such as a country's (jp for ja).
_TWO_LETTERS = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es
et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik in io is it iu iw ja ji jv jw
ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mo mr ms mt my na nb nd ne ng
nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv
sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
TWO_LETTERS = frozenset(_TWO_LETTERS.split())

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
WHISPER_CODES = {other: group.split()[0] for group in _OTHER_CODES.split(",") for other in group.split()}


def language_name(tag: str) -> str:
    """Returns the name of a language as BCP 47 writes it: it is then safe in a file name.

    Args:
        tag: a tag in any case, with `-` or `_` between its parts: Whisper's codes are tags too.

    Raises:
        ValueError: anything else, paths and names such as "Irish" included.

    Example:
        >>> [language_name(tag) for tag in ("gl", "GA", "de_ch", "zh-hant-tw", "en-x-Clinic")]
        ['gl', 'ga', 'de-CH', 'zh-Hant-TW', 'en-x-clinic']
    """
    text = tag.lower().replace("_", "-") if isinstance(tag, str) and tag.isascii() else ""
    match = TAG.fullmatch(text) if len(text) <= LONGEST else None
    first = text.partition("-")[0]
    if match is None or (len(first) == 2 and first not in TWO_LETTERS):
        raise ValueError(
            f"{tag!r} is not a language code. Expected one of Whisper's, such as 'gl' or 'yue', or a BCP 47 tag, such "
            "as 'ga', 'de-CH' or 'en-x-clinic'."
        )
    written = text
    for part, spelled in (("script", str.title), ("region", str.upper)):
        if match[part]:
            written = written[: match.start(part)] + spelled(match[part]) + written[match.end(part) :]
    return written


def language_names(languages: list[str] | tuple[str, ...] | str) -> list[str]:
    """Returns names of languages as BCP 47 writes them, as a list.

    Raises:
        ValueError: one of them is none; or `languages` is no list, such as a single code.
    """
    if isinstance(languages, str):
        raise ValueError(f"`languages` must be a list of codes, got {languages!r}. Write [{languages!r}].")
    if not isinstance(languages, list | tuple):
        raise ValueError(f"`languages` must be a list of codes such as ['gl'], got {languages!r}.")
    return [language_name(language) for language in languages]


def language_token(name: str) -> str:
    """The token of a language in a prompt, `<|de-ch|>`. It is in lower case, as `generate` of Whisper compares it."""
    return f"<|{name.lower()}|>"


def nearest_language(name: str, codes: Container[str]) -> str | None:
    """The language that a tag says more about than its code: `de` of `de-CH`; of several the longest.

    Args:
        name: as `language_name` returns it.
        codes: codes of the languages that there are.

    Returns:
        One of the codes, which may be `name` itself or another code of the same language; else `None`.

    Example:
        >>> [nearest_language(name, {"de", "no", "zh"}) for name in ("de-CH", "nb-NO", "zh-Hant-TW", "ga")]
        ['de', 'no', 'zh', None]
    """
    parts = name.split("-")
    for end in range(len(parts), 0, -1):
        shorter = "-".join(parts[:end])
        for code in (shorter, WHISPER_CODES.get(shorter)):
            if code in codes:
                return code
    return None


def related_language(name: str, relatives: Mapping[str, str], codes: Container[str]) -> str | None:
    """The language that is asked for in the place of a name: itself, what it is a part of, or that of its relative.

    Args:
        name: as `language_name` returns it.
        relatives: name -> the language that it was started from, which may have a relative again.
        codes: languages that there are.

    Example:
        >>> related_language("sco", {"sco": "en-x-clinic"}, {"en", "de"})
        'en'
    """
    seen: set[str] = set()
    while name not in seen:
        if (code := nearest_language(name, codes)) is not None:
            return code
        seen.add(name)
        name = relatives.get(name, name)
    return None


__all__ = [
    "WHISPER_CODES",
    "language_name",
    "language_names",
    "language_token",
    "nearest_language",
    "related_language",
]
