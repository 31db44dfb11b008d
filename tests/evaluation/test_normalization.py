"""One word in two spellings of a keyboard is no error, and a wrong letter is one, in every script."""

import pytest

from modeling_distilwhisper.evaluation.metrics import compare_errors, count_errors, error_rates
from modeling_distilwhisper.evaluation.normalization import NORMALIZERS, keep_marks, normalizer_name
from modeling_distilwhisper.runs.old_names import read_json

# By language: texts that differ in case, in code points or in decoration, and are the same words.
SAME = [
    ("tr", "İzmir", "izmir"),
    ("tr", "IŞIK", "ışık"),
    ("tr", "I\u0307zmir", "İZMİR"),
    ("az", "QIZIL İNCİ", "qızıl inci"),
    ("az", "gǝlǝn", "gələn"),
    ("en", "İzmir", "izmir"),
    (None, "İzmir", "izmir"),
    ("lt", "I\u0307\u0301sas", "i\u0307\u0301sas"),
    ("lt", "Ísas", "i\u0307\u0301sas"),
    ("el", "ΛΟΓΟΣ", "λογος"),
    ("el", "λόγος", "λόγοσ"),
    ("de", "STRASSE", "Straße"),
    ("ka", "ᲡᲐᲥᲐᲠᲗᲕᲔᲚᲝ", "საქართველო"),
    ("ro", "şi ţara", "și țara"),
    ("ru", "Ёлка", "елка"),
    ("ru", "за\u0301мок", "замок"),
    ("uk", "п'ять", "пʼять"),
    ("uk", "п’ять", "пʼять"),
    ("uk", "п`ять", "п´ять"),
    ("be", "сям‘я", "сям'я"),
    ("uz", "o‘zbek tog‘", "oʻzbek togʻ"),
    ("uz", "o'zbek ma'no", "oʻzbek maʼno"),
    ("haw", "ʻokina Hawaiʻi", "'okina Hawai‘i"),
    ("ca", "l’aigua", "lʼaigua"),
    ("en", "it's", "itʼs"),
    ("en", "it's", "it´s"),
    ("he", "ג׳ירפה", "ג'ירפה"),
    ("ca", "co\u2010op", "co\u2011op"),
    ("ca", "co–op", "co-op"),
    ("ca", "co\u00adop", "coop"),
    ("ja", "ﾃﾞｰﾀ", "データ"),
    ("ar", "محمـــد", "محمد"),
    ("ar", "\ufee3\ufea4\ufee4\ufeaa", "محمد"),
    ("ar", "مُحَمَّدٌ", "محمد"),
    ("ar", "کتاب", "كتاب"),
    ("ar", "٢٥", "25"),
    ("fa", "كتابي", "کتابی"),
    ("fa", "۲۵", "٢٥"),
    ("ur", "هے", "ہے"),
    ("he", "שָׁלוֹם", "שלום"),
    ("hi", "क़लम", "क\u093cलम"),
    ("ml", "അവന്\u200d", "അവൻ"),
    ("bn", "হঠাত্\u200d", "হঠাৎ"),
    ("my", "က\u200bလေး", "ကလေး"),
    ("en", "\u202bhe\u200ello\u202c \ufeffworld\u2069", "hello world"),
    ("ko", "\u1112\u1161\u11ab글", "한글"),
    ("mn", "ᠮᠣᠩ\u180bᠭᠣᠯ", "ᠮᠣᠩᠭᠣᠯ"),
    ("en", "1\ufe0f\u20e3 ❤\ufe0f yes", "1 yes"),
    ("zh", "我 喜欢苹果。", "我喜欢 苹果"),
    ("th", "น้ำ ดี", "น้ํา ดี"),
    ("bo", "བཀྲ་ཤིས།", "བཀྲ\u0f0cཤིས"),
]


@pytest.mark.parametrize(("language", "first", "second"), SAME)
def test_one_word_in_two_spellings_is_no_error(language, first, second):
    rates = error_rates([first], [second], languages=language)
    assert (rates["wer"], rates["cer"]) == (0, 0), (keep_marks(first, language), keep_marks(second, language))


# What is another word or another letter must stay an error.
DIFFERENT = [
    ("tr", "ısırdı", "isirdi"),
    ("en", "resume", "résumé"),
    ("be", "лёд", "лед"),
    (None, "лёд", "лед"),
    ("ru", "край", "краи"),
    ("mk", "ќе", "ке"),
    ("yi", "אַ", "א"),
    ("ar", "سأل", "سال"),
    ("ar", "على", "علي"),
    ("uk", "п'ять", "пять"),
    ("uz", "o‘t", "ot"),
    ("haw", "koʻu", "kou"),
    ("hi", "कि", "की"),
    ("th", "มา", "ม้า"),
    ("el", "νόμος", "νομός"),
    ("lt", "ėjo", "ejo"),
]


@pytest.mark.parametrize(("language", "first", "second"), DIFFERENT)
def test_another_letter_stays_an_error(language, first, second):
    assert error_rates([first], [second], languages=language)["wer"] > 0


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        *(("uk", "п'ять", 1), ("uz", "o‘zbek", 1), ("haw", "Hawaiʻi", 1), ("so", "lo'", 1), ("ha", "'yan", 1)),
        *(("sw", "ng'ombe", 1), ("ca", "l'aigua", 2), ("en", "it’s", 2), (None, "п’ять", 2), ("uk", "'слово'", 1)),
    ],
)
def test_an_apostrophe_is_a_letter_only_where_the_alphabet_has_it(language, text, words):
    assert error_rates([text], [text], languages=language)["words"] == words


# By language: a reference, a transcript with one wrong character, and how many units the reference has.
ONE_WRONG = [
    ("zh", "我喜欢吃苹果", "我喜欢吃平果", 6),
    ("yue", "我哋去食飯啦", "我地去食飯啦", 6),
    ("ja", "東京タワーです", "東京タワてです", 7),
    ("th", "สวัสดี", "สวัสตี", 4),
    ("lo", "ສະບາຍດີ", "ສະບາຍຕີ", 6),
    ("my", "မြန်မာစာ", "မြန်မာတာ", 4),
    ("km", "ភាសាខ្មែរ", "ភាសាខ្មែត", 4),
    ("bo", "བཀྲ་ཤིས་བདེ་ལེགས", "བཀྲ་ཤིས་བདེ་ལེག", 4),
]


@pytest.mark.parametrize("with_language", [True, False])
@pytest.mark.parametrize(("language", "reference", "transcript", "units"), ONE_WRONG)
def test_one_wrong_character_is_not_a_wrong_sentence(language, reference, transcript, units, with_language):
    """Or the best checkpoint of such a language is chosen by whether whole sentences are right."""
    rates = error_rates([reference], [transcript], languages=language if with_language else None)
    assert rates["words"] == units and rates["wer"] == pytest.approx(1 / units)
    assert rates["unit"] == ("words" if language == "bo" else "characters")


def test_words_of_other_scripts_stay_words_between_characters():
    rates = error_rates(["我用 iPhone 15 打电话"], ["我用iPhone15打电话"], languages="zh")
    assert (rates["words"], rates["unit"]) == (7, "characters")
    assert rates["wer"] == pytest.approx(2 / 7), "iphone and 15 in one"


def test_the_unit_of_the_rate_stands_in_the_rates():
    texts = ["one two", "我喜欢"]
    assert error_rates(texts, texts)["unit"] == "words and characters"
    assert error_rates(["ok"], ["ok"], languages="zh")["unit"] == "characters"
    assert error_rates(["one"], ["我喜欢"], languages="en")["unit"] == "words"
    assert error_rates(["กข"], ["กข"], "report", "th")["unit"] == "characters"
    assert error_rates(["one"], ["one"], "report", "en")["unit"] == "words"
    counts = count_errors(texts, texts)
    assert [counts[row : row + 1].unit for row in (0, 1)] == ["words", "characters"]


@pytest.mark.parametrize("name", ["tr", "tr-TR", "TR", "turkish", "Turkish"])
def test_a_language_by_another_name_has_its_rules(name):
    assert error_rates(["IŞIK"], ["ışık"], languages=name)["wer"] == 0


def test_scores_of_the_earlier_rule_have_another_name(tmp_path):
    """Or a WER by one rule stands beside a WER by another and is compared."""
    assert error_rates(["a"], ["a"])["normalizer"] == NORMALIZERS["marks"].name != "marks"
    assert error_rates(["a"], ["a"], "report")["normalizer"] == "report"
    assert normalizer_name(NORMALIZERS["marks"].name) == "marks", "the name in a score is a setting too"
    (tmp_path / "results.json").write_text('{"scores": {"after": {"gl": {"normalizer": "marks"}}}}', encoding="utf-8")
    before = read_json(tmp_path / "results.json")["scores"]["after"]["gl"]
    assert before["normalizer"] == "marks", "a score of before stays what it was"


def test_systems_under_two_rules_are_not_compared():
    counts = count_errors(["a b"] * 3, ["a b"] * 3)
    with pytest.raises(ValueError, match="under one normaliser"):
        compare_errors(counts, count_errors(["a b"] * 3, ["a b"] * 3, "report"))


@pytest.mark.parametrize("name", ["zh-TW", "zh-x-clinic", "Chinese", "yue-HK", "cmn-Hant", "wuu"])
@pytest.mark.parametrize("normalizer", ["marks", "report"])
def test_a_dialect_of_an_unspaced_language_is_compared_by_its_characters(name, normalizer):
    """A sentence would otherwise be one word, and each error in it a WER of 1."""
    rates = error_rates(["我喜欢吃苹果"], ["我喜欢吃平果"], normalizer, name)
    assert (rates["words"], rates["unit"]) == (6, "characters") and rates["wer"] == pytest.approx(1 / 6)
