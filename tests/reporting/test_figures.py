"""Pictures show the figures they were given, and are whole or not there."""

import numpy as np
import pytest
from matplotlib.image import imread

from modeling_distilwhisper.reporting import figures


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, to look into."""
    kept, save = [], figures.save_figure
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: (kept.append(figure), save(figure, path)))
    return kept


def test_each_bar_stands_for_its_score(drawn, tmp_path):
    rows = [
        {
            "data_set": "in",
            "language": "gl",
            "words": 10,
            "normalizer": "marks",
            "before": 0.5,
            "after": 0.1,
            "teacher": None,
        },
        {
            "data_set": "in",
            "language": "en",
            "words": 7,
            "normalizer": "marks",
            "before": 0.2,
            "after": 0.25,
            "teacher": 0.15,
        },
        {
            "data_set": "out",
            "language": "gl",
            "words": 10,
            "normalizer": "marks",
            "before": 1.5,
            "after": 0.3,
            "teacher": 0.0,
        },
    ]
    figures.draw_wer(rows, ["before", "after", "teacher"], tmp_path / "wer.png")
    assert [path.name for path in tmp_path.iterdir()] == ["wer.png"], "nothing half written beside it"
    assert imread(tmp_path / "wer.png").ndim == 3
    inside, outside = drawn[0].axes
    heights = [[bar.get_height() for bar in bars] for bars in inside.containers]
    assert heights == [[50, 20], [10, 25], [15]]
    centres = [bar.get_x() + bar.get_width() / 2 for bar in inside.containers[2]]
    assert 0.5 < centres[0] < 1.5, "the missing teacher of gl leaves its place empty"
    assert [bar.get_height() for bars in outside.containers for bar in bars] == [150, 30, 0]


def test_each_line_is_a_language_over_its_layers(drawn, tmp_path):
    usage = {
        "gl": {"encoder": 0.5, "decoder": 0.2, "all": 0.4, "encoder 0": 0.4, "encoder 1": 0.6, "decoder 0": 0.2},
        "ca": {"encoder": 0.5, "decoder": 0.3, "all": 0.4, "encoder 0": 0.45, "encoder 1": 0.55, "decoder 0": 0.3},
    }
    figures.draw_expert_usage(usage, [0.5], tmp_path / "expert_usage.png")
    assert imread(tmp_path / "expert_usage.png").ndim == 3
    lines = [[list(line.get_ydata()) for line in panel.lines] for panel in drawn[0].axes]
    assert lines == [[[0.4, 0.6], [0.45, 0.55], [0.5, 0.5]], [[0.2], [0.3], [0.5, 0.5]]]


def usage_row(model, data_set, language, share, budget=0.5, **other):
    row = {"model": model, "method": None, "data_set": data_set, "language": language, "all": share, "budget": budget}
    return row | {"is_set_by_budget": False} | other


def test_usage_by_model_has_a_panel_for_each_language_and_a_bar_for_each_data_set(drawn, tmp_path):
    """Models may lack a language, and none of the bars that are there may move to another model."""
    rows = [
        usage_row("a", "in", "gl", 0.4, budget=0.3),
        usage_row("a", "out", "gl", 0.6, budget=0.3),
        usage_row("_b", "out", "gl", 0.5, method="CLSR-FT", is_set_by_budget=True),
        usage_row("_b", "_new", "ca", 0.7, method="CLSR-FT", is_set_by_budget=True),
    ]
    figures.draw_usage_by_model(rows, tmp_path / "usage.png")
    figure = drawn[0]
    galician, catalan = figure.axes
    bars = [(round(bar.get_x() + bar.get_width() / 2), bar.get_height()) for bar in galician.patches]
    assert bars == [(0, 0.4), (0, 0.6), (1, 0.5)] and [bool(bar.get_hatch()) for bar in galician.patches] == [0, 0, 1]
    assert [(round(bar.get_x() + bar.get_width() / 2), bar.get_height()) for bar in catalan.patches] == [(1, 0.7)]
    assert [text.get_text().strip() for text in figure.legends[0].get_texts()] == ["in", "out", "_new"]
    assert [label.get_text() for label in galician.get_xticklabels()] == ["a", "_b\nCLSR-FT"]
    assert "Hatched" in figure.get_suptitle()
    figures.draw_usage_by_model(rows[:2], tmp_path / "usage.png")
    assert drawn[1].get_suptitle() == ""


def test_usage_over_the_layers_says_which_of_it_the_budget_sets(drawn, tmp_path):
    usage = {name: {"encoder 0": 0.5, "decoder 0": 0.5} for name in ("hard gl", "soft gl")}
    for names in ([], ["hard gl"], list(usage)):
        figures.draw_expert_usage(usage, [0.5], tmp_path / "usage.png", set_by_budget=names)
    none, one, both = (figure.get_suptitle() for figure in drawn)
    assert none == "" and one.endswith("(hard gl)") and both == figures.SET_BY_BUDGET


def test_the_gates_of_an_utterance_lie_over_its_time_and_its_tokens(drawn, tmp_path):
    gates = {"encoder": np.eye(2, 100), "decoder": np.ones((3, 4))}
    figures.draw_gates(gates, 2.0, ["<|gl|>", "la", "ri", "."], tmp_path / "gates.png", title="la ri.")
    assert imread(tmp_path / "gates.png").ndim == 3
    time, tokens = drawn[0].axes
    assert np.array_equal(time.images[0].get_array(), gates["encoder"]) and time.get_xlim() == (0, 2)
    assert [label.get_text() for label in tokens.get_xticklabels()] == ["<|gl|>", "la", "ri", "."]
    assert tokens.get_ylim() == (2.5, -0.5), "a row for each layer, the first on top"


def test_a_name_that_begins_with_an_underscore_is_in_the_legend(drawn, tmp_path):
    row = {"data_set": "a", "language": "gl", "words": 1, "normalizer": "marks", "_ours": 0.3, "plain": 0.4}
    figures.draw_wer([row], ["plain", "_ours"], tmp_path / "wer.png")
    figures.draw_expert_usage({"_ours, gl": {"encoder 0": 0.5, "decoder 0": 0.5}}, [], tmp_path / "usage.png")
    names = [[text.get_text().strip() for text in figure.legends[0].get_texts()] for figure in drawn]
    assert names == [["plain", "_ours"], ["_ours, gl"]]


def test_a_name_with_dollar_signs_is_drawn_as_it_is_not_as_a_formula(drawn, tmp_path):
    row = {"data_set": r"a $\frac$ b", "language": "gl", "words": 1, "normalizer": "$x_$", r"$\no$": 0.3}
    figures.draw_wer([row], [r"$\no$"], tmp_path / "wer.png")
    usage = {r"$\no$, gl": {"encoder 0": 0.5, "decoder 0": 0.5}}
    figures.draw_expert_usage(usage, [0.5], tmp_path / "usage.png")
    assert drawn[0].axes[0].get_title() == r"a $\frac$ b"
    assert len(list(tmp_path.iterdir())) == 2
