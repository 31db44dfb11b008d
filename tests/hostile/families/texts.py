"""Pairs of texts that say the same, or do not, under the normaliser `marks`."""

from modeling_distilwhisper.evaluation.metrics import count_errors

from ..trial import Wrong

SAME = (
    ("tr", "İzmir", "izmir"),
    ("tr", "IŞIK", "ışık"),
    ("az", "İŞ", "iş"),
    ("tr", "DİYARBAKIR", "diyarbakır"),
    ("uk", "м\u02bcята", "м'ята"),
    ("uk", "м\u2019ята", "м'ята"),
    ("uk", "п\u2018ять", "п'ять"),
    ("uk", "п`ять", "п'ять"),
    ("uz", "o\u02bbzbek", "o'zbek"),
    ("uz", "oʻzbek", "o\u2018zbek"),
    ("haw", "Hawai\u02bbi", "Hawai'i"),
    ("fr", "l\u2019eau", "l'eau"),
    ("ca", "l\u2019aigua", "l'aigua"),
    ("it", "dell\u2019arte", "dell'arte"),
    ("ar", "مـــرحبا", "مرحبا"),
    ("ar", "ﻣﺮﺣﺒﺎ", "مرحبا"),
    ("fa", "می\u200cروم", "می\u200cروم"),
    ("el", "ΟΔΟΣ", "οδος"),
    ("el", "ΛΟΓΟΣ", "λογος"),
    ("de", "STRASSE", "straße"),
    ("de", "GROẞ", "groß"),
    ("pl", "Ż", "z\u0307".upper()),
    ("vi", "Việt", "Vie\u0323\u0302t"),
    ("ko", "한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),
    ("ja", "ｶﾞｷﾞ", "ガギ"),
    ("ja", "ＡＢＣ", "abc"),
    ("zh", "你好。", "你好"),
    ("zh", "你好，世界", "你好世界"),
    ("th", "สวัสดี ครับ", "สวัสดีครับ"),
    ("he", "צה״ל", 'צה"ל'),
    ("hi", "क\u093cलम", "क़लम"),
    ("ru", "«Привет»", "привет"),
    ("es", "¿Qué?", "qué"),
    ("en", "co\u00adoperate", "cooperate"),
    ("en", "don’t", "don't"),
    ("en", "well‑known", "well-known"),
    ("en", "a\u200bb", "ab"),
    ("hy", "Բարեւ", "բարեւ"),
)
OTHER = (
    ("tr", "kıl", "kil"),
    ("tr", "ılık", "ilik"),
    ("en", "were", "we're too"),
    ("ta", "கா", "கி"),
    ("hi", "कि", "की"),
    ("ar", "كتب", "كاتب"),
    ("zh", "他", "她"),
    ("ja", "は", "ば"),
    ("ko", "가", "나"),
    ("es", "año", "ano"),
    ("ca", "més", "mes"),
    ("en", "1", "2"),
)
# One wrong character of six: an error rate that means something is not 1.
UNSPACED = (
    ("zh", "今天天气很好", "今天天气很坏"),
    ("ja", "きょうはあつい", "きょうはさむい"),
    ("th", "สวัสดีครับ", "สวัสดีค่ะ"),
    ("lo", "ສະບາຍດີ", "ສະບາຍດິ"),
    ("my", "မင်္ဂလာပါ", "မင်္ဂလာပု"),
    ("km", "សួស្តីបង", "សួស្តីបុង"),
    ("yue", "你食咗飯未", "你食咗飯呀"),
)


def same(language, one, other):
    def act(folder):
        rates = count_errors([one], [other], "marks", [language]).rates()
        if rates["wer"] or rates["cer"]:
            raise Wrong(f"{one!r} and {other!r} ({language}) differ: WER {rates['wer']}, CER {rates['cer']}")

    return act


def different(language, one, other):
    def act(folder):
        if not count_errors([one], [other], "marks", [language]).rates()["wer"]:
            raise Wrong(f"{one!r} and {other!r} ({language}) count as the same")

    return act


def part(language, one, other):
    def act(folder):
        rate = count_errors([one], [other], "marks", [language]).rates()["wer"]
        if not 0 < rate < 0.7:
            raise Wrong(f"{other!r} for {one!r} ({language}): WER {rate}")

    return act


def trials():
    for number, (language, one, other) in enumerate(SAME):
        yield f"same {number}, {language} {one!a}", same(language, one, other)
    for number, (language, one, other) in enumerate(OTHER):
        yield f"other {number}, {language} {one!a}", different(language, one, other)
    for language, one, other in UNSPACED:
        yield f"no spaces, {language}", part(language, one, other)
