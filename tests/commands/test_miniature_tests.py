"""The large test set of the miniature, benchmarks/miniature_tests.py."""

import csv
import shutil

import pytest
from helpers.pages import ROOT


@pytest.fixture
def maker(monkeypatch):
    for needed in ("babel", "num2words", "mutagen"):
        pytest.importorskip(needed)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import miniature_tests

    return miniature_tests


def texts_of(folder) -> list[str]:
    with open(folder / "metadata.csv", encoding="utf-8") as file:
        return [row["transcription"] for row in csv.DictReader(file)]


def test_its_clips_say_nothing_that_the_miniature_or_its_pretraining_says(maker):
    """A model would have learned them by heart."""
    new = maker.new_texts("ca", 400)
    known = {text for split in maker.SPLITS for text in texts_of(ROOT / f"examples/quickstart/in_domain/ca/{split}")}
    known |= set(maker.make_texts("ca", maker.PRETRAINING_TEXTS, seed=2, without=frozenset(known)))
    assert len(set(new)) == 400 and len(known) > maker.PRETRAINING_TEXTS
    assert not known & set(new)


@pytest.mark.slow
def test_it_has_clean_and_noisy_clips_of_all_languages_and_is_complete_or_absent(maker, tmp_path):
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs espeak-ng")
    maker.main(str(tmp_path / "tests"), "2")
    for domain in ("in_domain", "out_of_domain"):
        assert sorted(path.name for path in (tmp_path / "tests" / domain).iterdir()) == sorted(maker.LANGUAGES)
        for language in maker.LANGUAGES:
            assert len(texts_of(tmp_path / "tests" / domain / language / "test")) == 2
    with pytest.raises(SystemExit, match="Expected a new folder"):
        maker.main(str(tmp_path / "tests"))
