"""Every measured number in a page is in the data, and a page that was changed by hand is noticed."""

import json
import re
import sys
from collections import Counter

import pytest
from helpers.page_numbers import DATA, KINDS, ROOT, has, missing, numbers_of, values_of

sys.path.insert(0, str(ROOT / "benchmarks"))

import declared_tables
import render

TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in render.pages()}
BLOCKS = [block for text in TEXTS.values() for block in render.BLOCK.finditer(text)]
RESULTS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "results").glob("*.json")}
QUICK = [block for block in BLOCKS if block[2] != render.PROMPTS]  # test_results.py has the others


@pytest.mark.parametrize("page", TEXTS)
def test_a_number_in_a_page_is_in_the_data_of_its_section(page):
    unknown = [f"{number.text!r}, data: {', '.join(number.data) or 'none'}" for number in missing(TEXTS[page])]
    assert not unknown, "put it into results/ with its run, or name the data: <!-- data: ... -->"


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_of_this_kind_that_was_mistyped_is_noticed(kind):
    noticed = Counter()
    for page, text in TEXTS.items():
        for number in numbers_of(text):
            if number.kind == kind:
                place = text.index(number.text, number.start)
                assert missing(f"{text[:place]}9{text[place:]}"), f"{page}: 9{number.text}"
                for digit in set("0123456789") - {number.text[-1]}:
                    other = number._replace(text=number.text[:-1] + digit)
                    noticed[any(has(values_of(name), other) for name in number.data)] += 1
    assert noticed[False] > 0.6 * noticed.total() > 0, "even where another digit makes a number that the data have too"


def test_a_measured_number_in_a_section_without_data_is_noticed():
    with_data = "## One\n\n<!-- data: russian -->\n\nIt is 0.095.\n\n### Within\n\n0.095"
    text = f"# Title\n\n{with_data}\n\n## Two\n\nIt took 40 minutes."
    assert [number.text for number in missing(text)] == ["40"]


@pytest.mark.parametrize(
    "text", ["Python 3.10 to 3.14", "`0.123`", "section 4.3.1", "```\n0.123\n```", "whisper 1.8.5", "[x](a/0.123.md)"]
)
def test_versions_code_and_places_in_the_report_are_no_measurements(text):
    assert numbers_of(text) == []


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if render.BLOCK.search(text)])
def test_the_tables_of_a_page_are_rendered_from_the_data(page):
    text = TEXTS[page]
    assert render.render(text, lambda name: name != render.PROMPTS) == text, "python benchmarks/render.py"


def test_a_cell_that_was_changed_by_hand_is_noticed():
    for block in QUICK:
        for number in re.finditer(r"\d", block[0][block[0].index("-->") :]):
            place = block[0].index("-->") + number.start()
            changed = block[0][:place] + str((int(block[0][place]) + 1) % 10) + block[0][place + 1 :]
            assert render.render(changed) == block[0] != changed


def test_a_page_cannot_ask_for_a_table_or_data_that_are_not_there():
    for name in ("russian/sistems", "rusian/systems"):
        with pytest.raises(KeyError, match="sistems|rusian"):
            render.render(f"<!-- table: {name} -->\n\nx\n\n<!-- end of table -->")
    with pytest.raises(KeyError, match="rusian"):
        missing("<!-- data: rusian -->\n\n0.095")


def test_pages_say_of_which_commit_their_numbers_are():
    """A number without it is taken for one of the code beside it."""
    with_origin = {block[2] for block in BLOCKS if block[3] == "origin"}
    named = {name.strip() for text in TEXTS.values() for match in DATA.finditer(text) for name in match[1].split(",")}
    used = {name.partition("/")[0] for name in named} | {block[2] for block in BLOCKS}
    assert used - with_origin == {"given", "parameters"}, "what no run of ours gave, and what is counted"
    assert set(RESULTS) == used - {render.PROMPTS}, "data that no page uses, or the other way round"
    for name in RESULTS.keys() - {"given", "parameters"}:
        origin = declared_tables.origin_of(RESULTS[name])
        assert re.match(r"Commit [0-9a-f]{7}", origin), name


def test_no_data_name_a_path_of_a_machine():
    assert not re.findall(r'"(?:/\S|~/|[A-Z]:\\)[^"]*"', json.dumps(RESULTS))


def test_a_declared_table_is_refused_where_a_row_has_too_few_cells():
    with pytest.raises(ValueError, match="Row 0 has 1 cells and the table 2 columns"):
        declared_tables.table_of({"columns": [{"title": "a"}, {"title": "b"}], "rows": [[1]]})


@pytest.mark.parametrize(
    ("cell", "digits", "is_bold", "text"),
    [
        (0.2, 3, False, "0.200"),
        ([0.08, 0.049, 0.123], 3, True, "**0.080** (0.049 to 0.123)"),
        ([629, 1.0], [0, 2, 2], False, "629 (1.00)"),
        (440, None, False, "440"),
        (None, 3, False, ""),
        ("two words", 3, False, "two words"),
    ],
)
def test_cells_are_printed_with_the_digits_of_their_column(cell, digits, is_bold, text):
    column = {"title": "x"} | ({} if digits is None else {"digits": digits})
    assert declared_tables.cell_text(cell, column, is_bold) == text


def test_the_line_of_a_comparison_says_what_differs_between_its_runs():
    first = {"commit": "a" * 40, "date": "2026-01-02", "machine": "2 cores of X", "threads": 1, "minutes": 2.4}
    second = first | {"commit": "b" * 40, "date": "2026-01-01", "minutes": 1, "modified": ["x"]}
    code, days = "Commit aaaaaaa, bbbbbbb with changes", "2026-01-01 to 2026-01-02"
    expected = f"{code}; {days}; 2 cores of X (1 thread); 2 runs, together 3 minutes."
    assert declared_tables.origin_of({"runs": [first, second]}) == expected
    assert declared_tables.origin_of({"runs": [{"version": "0.1.0", "machine": "Y"}]}) == "Version 0.1.0; Y."
