"""A language is understood however it is written, or refused with what to write: never zero rows."""

import pytest
from helpers import speech
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from modeling_distilwhisper.data import common_voice, fleurs
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.runs.language_codes import OwnName, chosen_language, chosen_languages, language_code


@pytest.mark.parametrize(
    ("code", "written"),
    [
        ("ca", "ca CA Catalan CATALAN valencian ca-ES ca_ES ca-ES-valencia cat ca_es"),
        ("zh", "zh Chinese mandarin zh-CN zh-Hans zh_hans_cn cmn cmn_hans_cn zho chi zh-cmn-CN"),
        ("yue", "yue Cantonese yue-HK yue_hant_hk zh-yue"),
        ("no", "no nb nb-NO nb_no nob nor Norwegian Bokmål"),
        ("nn", "nn nn-NO nno Nynorsk"),
        ("sv", "sv sv-SE swe Swedish"),
        ("tl", "tl fil fil_ph Filipino Tagalog tgl"),
        ("jw", "jw jv jv_id jav Javanese"),
        ("he", "he iw heb Hebrew"),
        ("pa", "pa pa-IN Panjabi Punjabi pan"),
        ("es", "es es_419 es-419 Castilian spa"),
        ("el", "el ell gre Greek"),
        ("haw", "haw Hawaiian"),
        ("sr", "sr sr-Latn sr-Latn-RS srp"),
    ],
)
def test_a_language_is_understood_however_it_is_written(code, written):
    assert {language_code(word) for word in written.split()} == {code}
    assert chosen_languages(written.split()) == [code]


def test_all_codes_and_names_of_whisper_common_voice_and_fleurs_are_understood():
    assert {code: language_code(code) for code in LANGUAGES} == {code: code for code in LANGUAGES}
    assert {name: language_code(name.title()) for name in TO_LANGUAGE_CODE} == TO_LANGUAGE_CODE
    for codes in (fleurs.CODES, common_voice.CODES):
        assert {code: language_code(theirs) for code, theirs in codes.items()} == {code: code for code in codes}
    assert language_code("  Haitian   Creole ") == "ht"


@pytest.mark.parametrize(
    "written", ["", " ", "jp", "Klingon", "xx-XX", "ca es", "ca,gl", "ca-", "-ca", "ca--ES", "ca/ES", "ca-É"]
)
def test_what_is_no_language_of_whisper_is_refused_with_what_to_write(written):
    with pytest.raises(ValueError, match="has no language .*Expected one of: af, am, .*zh; an English name"):
        language_code(written)


def test_a_language_that_whisper_does_not_know_keeps_its_tag_without_a_region_alone():
    written = ("ga", "GA-ie", "ga_IE", "ast", "rm-sursilv", "en-x-Clinic", "x-clinic", OwnName("de-CH"))
    names = ["ga", "ga", "ga", "ast", "rm-sursilv", "en-x-clinic", "x-clinic", "de-CH"]
    assert [language_code(word) for word in written] == names
    assert chosen_languages(["de_ch", "DE-AT", "ga"], own=["de-CH"]) == ["de-CH", "de", "ga"]


def test_what_could_be_two_languages_is_refused_with_what_to_write():
    with pytest.raises(ValueError, match="'zh-HK' could be two .* Write yue for Cantonese, zh for Mandarin"):
        language_code("zh-HK")
    with pytest.raises(ValueError, match="one code for the Chinese of China and of Taiwan, got 'zh_TW'. Write zh"):
        chosen_language("zh_TW")
    assert language_code("zh-TW") == "zh", "of a cell, it says what the row is"


def test_language_cells_are_understood(tmp_path):
    folder = speech.write_folder(tmp_path / "data", "gl")
    cells = ["Catalan", "CA", "ca-ES", " ca_ES ", "cat", "valencian", "", "gl", "Galician"]
    speech.write_metadata(folder / "train", [[f"{number}.flac", "la", cell, ""] for number, cell in enumerate(cells)])
    assert read_folder(folder, "train", "ca")["id"][:] == [f"{number}.flac" for number in range(7)]
    assert read_folder(folder, "train")["language"][:] == ["ca"] * 6 + ["gl"] * 2


def test_a_folder_gives_a_dialect_its_own_rows_and_no_others(tmp_path):
    """Read as `de`, the rows of a dialect would be trained into the experts of the standard, and the name have none."""
    lines = [
        [f"{i}.wav", "word", language, ""] for i, language in enumerate(("de", "de-CH", "de_ch", "", "de-AT", "fr"))
    ]
    (tmp_path / "train").mkdir()
    speech.write_metadata(tmp_path / "train", lines)
    swiss = read_folder(tmp_path, "train", OwnName("de-CH"))
    assert swiss["id"][:] == ["1.wav", "2.wav", "3.wav"] and set(swiss["language"]) == {"de-CH"}
    assert read_folder(tmp_path, "train", "de")["id"][:] == ["0.wav", "1.wav", "2.wav", "3.wav", "4.wav"]


def test_a_corpus_whose_rows_name_the_language_alone_can_be_read_as_a_part_of_it(tmp_path):
    lines = [["0.wav", "word", "en", ""], ["1.wav", "word", "en-GB", ""], ["2.wav", "mot", "fr", ""]]
    (tmp_path / "train").mkdir()
    speech.write_metadata(tmp_path / "train", lines)
    rows = read_folder(tmp_path, "train", "en-x-clinic")
    assert rows["id"][:] == ["0.wav", "1.wav"] and set(rows["language"]) == {"en-x-clinic"}
