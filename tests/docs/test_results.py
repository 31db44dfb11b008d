"""The tables of the comparison on real prompts are what the published runs give."""

import json
import re
import sys
from pathlib import Path

import pytest
from helpers import quality

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "results/prompts_comparison"
sys.path.insert(0, str(ROOT / "benchmarks"))

import comparison_data  # noqa: E402
import comparison_scores  # noqa: E402
import declared_tables  # noqa: E402
import render  # noqa: E402

PAGES = {
    "README.md": {"front page", "origin"},
    "docs/results.md": {"systems", "learning rates", "differences", "claims", "limits", "ablations", "origin"},
    "docs/what_holds.md": {"claims in short", "origin"},
}


def rendered(text: str) -> str:
    return render.render(text, lambda name: name == render.PROMPTS)


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_in_a_page_are_those_that_the_runs_give(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert {block[3] for block in render.BLOCK.finditer(text) if block[2] == render.PROMPTS} == PAGES[page]
    assert text == rendered(text), "python benchmarks/render.py"


def test_a_number_that_was_changed_in_a_table_is_noticed():
    changed = 0
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for block in render.BLOCK.finditer(text):
            if block[2] != render.PROMPTS:
                continue
            for number in re.finditer(r"\d\.\d\d\d", block[0]):
                place = block.start() + number.end() - 1
                other = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]
                assert rendered(other) == text, "it is not as the page says"
                changed += 1
    assert changed > 200


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


def test_what_benchmark_quality_wrote_is_data_as_it_is():
    content = quality.content({"plain": (0.25, 290, 900.0), "experts": (0.125, 392, 950.0)})
    tables = declared_tables.tables_of(content | {"minutes": 1234.6})
    assert "| plain | 0.250 |" in tables["wer"] and "| experts | 0.125 |" in tables["wer"]
    assert "| experts | 950 (1.06) |" in tables["times"]
    assert "2 cores of a Xeon" in tables["origin"] and "; 1235 minutes." in tables["origin"]
