"""The tables of the comparison on real prompts: every number in the pages is what the published runs give."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "results/prompts_comparison"
sys.path.insert(0, str(ROOT / "benchmarks"))

import comparison_data  # noqa: E402
import comparison_scores  # noqa: E402
import comparison_tables  # noqa: E402

PAGES = {
    "docs/results.md": {"systems", "differences", "ablations"},
    "docs/what_holds.md": {"claims", "limits"},
}


@pytest.fixture(scope="module")
def tables():
    return comparison_tables.make_tables(PUBLISHED)


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_in_a_page_are_those_that_the_runs_give(page, tables):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert {block[2] for block in comparison_tables.BLOCK.finditer(text)} == PAGES[page]
    made = comparison_tables.with_tables(text, tables)
    assert text == made, f"python benchmarks/comparison_tables.py results/prompts_comparison --write {page}"


def test_a_number_that_was_changed_in_a_table_is_noticed(tables):
    changed = 0
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for block in comparison_tables.BLOCK.finditer(text):
            for number in re.finditer(r"\d\.\d\d\d", block[0]):
                place = block.start() + number.end() - 1
                other = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]
                assert comparison_tables.with_tables(other, tables) == text, "it is not as the page says"
                changed += 1
    assert changed > 200


def test_no_measured_number_stands_beside_the_tables():
    for page, heading in {
        "docs/results.md": "## Real prompts, eight systems",
        "docs/what_holds.md": "# What holds",
    }.items():
        section = (ROOT / page).read_text(encoding="utf-8").partition(f"{heading}\n")[2].partition("\n## ")[0]
        outside = comparison_tables.BLOCK.sub("", section)
        assert not re.findall(r"\d\.\d\d+", outside), page


def test_a_page_cannot_ask_for_a_table_that_is_not_made(tables):
    with pytest.raises(KeyError, match="syntems"):
        comparison_tables.with_tables("<!-- table: syntems -->\n\nx\n\n<!-- end of table -->", tables)


def test_the_counts_in_the_records_are_those_of_the_transcripts():
    _, runs = comparison_data.read(PUBLISHED)
    for run in runs[::10]:
        scored = comparison_scores.score(run)
        for row in run["counts"]:
            cell = row["language"], row["split"], row["domain"]
            errors = [one for utterance, one in scored.errors.items() if utterance[:3] == cell]
            assert sum(one.words for one in errors) == row["words"]
            assert sum(one.insertions for one in errors) == row["insertions"]
            assert comparison_scores.wer(errors) == pytest.approx(row["wer"])
            assert sum(one.loops for one in errors) == row["loops"]


def test_runs_are_published_and_read_without_a_loss(tmp_path):
    common, runs = comparison_data.read(PUBLISHED)
    comparison_data.publish(common, runs, tmp_path)
    for name in (comparison_data.RUNS, comparison_data.TRANSCRIPTS):
        assert (tmp_path / name).read_bytes() == (PUBLISHED / name).read_bytes(), name


def test_every_run_says_what_it_was_made_of_and_no_path_of_a_machine():
    content = json.loads((PUBLISHED / "runs.json").read_text(encoding="utf-8"))
    for run in content["runs"]:
        for name in ("seed", "commit", "machine", "versions", "minutes"):
            assert run[name] not in (None, "", {}), run["job"]
        assert ("settings" in run) == (run["kind"] != "plain")
    assert not re.findall(r'"[^"]*/[^"]*"', json.dumps(content)), "a path"
