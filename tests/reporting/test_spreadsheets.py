"""A spreadsheet computes nothing of what comes from outside, and what is read back is what was written."""

import csv
import io

import pytest

from modeling_distilwhisper.reporting.spreadsheets import read_csv, to_csv

FORMULAS = [
    *('=cmd|" /C calc"!A0', '=HYPERLINK("http://x","y")', "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1"),
    *("＝1+1", "'=1", "''=1", "=", "@", "-x", "+x", "-1;=2"),
]
TEXTS = [
    "base",
    "",
    "a,b",
    'a"b',
    "two\nlines",
    "é",
    "a=b",
    "x-y",
    "'quoted'",
    "-",
    "+",
    "-0.5",
    "+12 %",
    "-1e-05",
    "'",
]


@pytest.mark.parametrize("text", [*FORMULAS, *TEXTS])
def test_a_cell_is_no_formula_and_is_read_back(text):
    content = to_csv(["name", text], [[text, 1], ["x", text]])
    cells = [cell for row in csv.reader(io.StringIO(content, newline="")) for cell in row]
    for cell in cells:
        assert not cell.startswith(("=", "@", "\t", "\r", "\n", "＝")) and not (cell[:1] in "+-" and "1+1" in cell)
    assert (text in cells) == (text in TEXTS), "what is harmless stays as it is"
    text = text.replace("\r", "\n")
    assert read_csv(content) == [{"name": text, text: "1"}, {"name": "x", text: text}]


def test_numbers_stay_numbers_and_what_is_missing_is_empty():
    assert to_csv(["a", "b", "c"], [[-0.5, None, float("nan")], [True, 3, 1e-7]]) == "a,b,c\n-0.5,,\nTrue,3,1e-07\n"
