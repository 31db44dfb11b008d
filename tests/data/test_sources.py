"""A corpus is named in one string; a string that names none says how to."""

import pytest
from helpers import speech

from modeling_distilwhisper.data.common_voice import read_common_voice
from modeling_distilwhisper.data.fleurs import read_fleurs
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.data.sources import SPEC_FORM, Source, parse_sources, read_sources

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("language", ["../x", "gl/../../x", "/etc", "gl\0", "", "Klingon", "xx", "*"])
def test_a_language_that_is_none_becomes_no_path(tmp_path, language):
    speech.write_folder(tmp_path / "x", "gl")
    speech.write_folder(tmp_path / "recordings/gl", "gl")
    (source,) = parse_sources([f"{tmp_path}/recordings/{{language}}"], ["gl"])
    for refused in (
        lambda: source.read("test", language),
        lambda: parse_sources(["data"], ["gl", language]),
        lambda: read_sources([source], "test", [language]),
        lambda: read_folder(tmp_path / "x", "test", language),
        lambda: read_common_voice(tmp_path, "test", language),
        lambda: read_fleurs(tmp_path, "test", language),
    ):
        with pytest.raises(ValueError, match="Whisper has no language .* Expected one of: af, am, .* such as Catalan"):
            refused()
    for code in ("Galician", "GL", "gl-ES"):
        assert len(source.read("test", code)) == len(read_sources([source], "test", [code, "gl"])) == 4


@pytest.mark.parametrize("written", ["", "fleurs:", "data?train=many", "data?train=-1", "data?train", "a=?test=1"])
def test_a_source_that_names_nothing_says_how_to(written):
    with pytest.raises(ValueError, match="is not a valid corpus. Expected .*common_voice, fleurs, hub"):
        Source.parse(written)


@pytest.mark.parametrize("spec", ["mls:x", "fluers:google/fleurs?test=3", "corpus=Common_Voice:release/{language}"])
def test_an_unknown_reader_is_not_read_as_a_folder(spec):
    with pytest.raises(ValueError, match=r"No reader '\w+'\. Known: folder, common_voice, fleurs, hub\."):
        Source.parse(spec)


def test_a_colon_in_the_path_of_a_folder_stays_in_the_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("take:one", "take:[two]/gl"):
        (tmp_path / name).mkdir(parents=True)
    for spec in ("take:one", "take:[two]/{language}", "C:/recordings", r"D:\recordings", "folder:mls:x", "a/b:c"):
        source = Source.parse(spec)
        assert source.reader == "folder" and source.location == spec.removeprefix("folder:")


def test_help_texts_name_every_reader():
    assert SPEC_FORM == "[name=][folder:|common_voice:|fleurs:|hub:]location[?setting=value]"


def test_a_setting_that_the_reader_does_not_have_is_named(tmp_path):
    with pytest.raises(ValueError, match="The reader fleurs cannot take {'txt': 'x'}"):
        Source.parse("fleurs:somewhere?txt=x").read("test", "gl")
    with pytest.raises(ValueError, match="Unknown split 'dev'. Expected one of train, validation, test"):
        Source.parse("somewhere").read("dev", "gl")
