"""The pictures, the page and the card of a study show its tables, and nothing else."""

import re
from dataclasses import replace

import pandas as pd
import pytest
from helpers.planted import one

from modeling_distilwhisper.bias.card_rows import card_rows
from modeling_distilwhisper.bias.figures import FIGURES, draw_figures
from modeling_distilwhisper.bias.page import write_page, write_tables


def test_figures_are_drawn_by_name_for_the_data_that_is_there(study, tmp_path):
    drawn = {path.name for path in draw_figures(study, tmp_path)}
    assert {name for name in FIGURES if f"{name}.fleurs.png" in drawn or f"{name}.cv.png" in drawn} == set(FIGURES)
    assert "figure2.fleurs.png" in drawn and "figure2.cv.png" not in drawn, "of balanced corpora only"
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in drawn)
    (again,) = draw_figures(study, tmp_path, ["figure9"])
    assert again.name == "figure9.cv.png"


def test_the_bars_are_the_shares_and_faint_where_too_few(study):
    figure = FIGURES["figure8"][1](study, "cv")
    int8, nf4 = figure.axes
    assert [[bar.get_height() for bar in bars] for bars in nf4.containers[1::2]] == [[100, 0, 0], [0, 100, 0]]
    assert [bar.get_height() for bar in int8.containers[1]] == [20, 80, 0]
    assert "female (n = 120)" in {text.get_text() for text in figure.legends[0].get_texts()}
    figure = FIGURES["figure2"][1](study, "fleurs")
    heights = [bar.get_height() for bars in figure.axes[0].containers[1::2] for bar in bars]
    assert heights == pytest.approx([12.5] * 5 + [51] * 5)
    small = {name: getattr(study, name).assign(**{"too small": True}) for name in ("languages", "classes")}
    pale, large = replace(study, **small), figure.axes[0].containers[1]
    bars = FIGURES["figure2"][1](pale, "fleurs").axes[0].containers[1]
    assert bars[0].get_alpha() < large[0].get_alpha() == 1
    for name in ("figure6", "languages"):
        figure = FIGURES[name][1](pale, "fleurs")
        hollow = [
            line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())
        ]
        assert {len(line.get_xdata()) for line in hollow} == {10}, "a line's cells are hollow"
        assert "too few to tell" in {text.get_text() for text in figure.legends[0].get_texts()}


def test_the_page_holds_its_pictures_and_every_table(study, tmp_path):
    pictures = draw_figures(study, tmp_path, ["figure7"])
    text, page = write_tables(study, tmp_path), write_page(study, pictures, tmp_path).read_text()
    assert page.count("<img ") == 1 and "base64," in page and not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("<table>") == 9 and "amplified" in page and "figure7, fleurs: what compression changed" in page
    assert "What compression did to each bias" in text and "40.8 (" in text
    saved = pd.read_csv(tmp_path / "tables/classes.csv", keep_default_na=False)
    low = one(saved, data_set="fleurs", model="base", by="resource", group="extremely low")
    assert float(low["worse"]) == pytest.approx(100 * 20 / 49)


def test_a_card_has_the_findings_of_its_model_and_names_the_gender_with_more_errors(study, tmp_path):
    write_tables(study, tmp_path)
    rows = pd.DataFrame(card_rows(tmp_path, "base"))
    findings = {
        name: table[table["model"] == "base"] for name, table in vars(study).items() if name in ("before", "after")
    }
    assert len(rows) == (study.genders["model"] == "base").sum() + len(findings["before"]) + len(findings["after"])
    german = one(rows, **{"data set": "fleurs", "precision": "float32", "groups": "women and men, German (de)"})
    assert german["finding"] == "more errors for women"
    assert "WER 15.0 % of women, 10.0 % of men; relative difference +40.0 % (+40.0 to +40.0)" in german["numbers"]
    speakers = {"data set": "cv", "precision": "float32"}
    maltese, russian = (
        one(rows, **speakers, groups=f"women and men, {name}") for name in ("Maltese (mt)", "Russian (ru)")
    )
    assert maltese["finding"] == "more errors for women" and russian["finding"] == "not shown"
    assert "absolute difference +10.0 points" in maltese["numbers"] and "60 utterances" in maltese["numbers"]
    assert one(rows, **{**speakers, "precision": "nf4"}, groups="gender")["finding"] == "amplified by compression"
    assert one(rows, **{**speakers, "precision": "nf4"}, groups="accent")["finding"] == "not shown"
    hours = one(rows, **{"data set": "fleurs", "groups": "the more hours, the lower the WER"})
    assert (hours["finding"], hours["precision"]) == ("shown", "before compression")


def test_where_men_fare_worse_a_card_does_not_say_women(study, tmp_path):
    genders = study.genders.rename(columns={"female": "male", "male": "female"})
    genders[["difference", "low", "high"]] = -genders[["difference", "high", "low"]]
    write_tables(replace(study, genders=genders), tmp_path)
    rows = pd.DataFrame(card_rows(tmp_path, "tiny"))
    german = one(rows, precision="float32", groups="women and men, German (de)")
    assert german["finding"] == "more errors for men" and "WER 20.0 % of women, 30.0 % of men" in german["numbers"]
