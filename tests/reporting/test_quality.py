"""WER against size and time: the page says what was measured, and in the picture every system can be told."""

from itertools import combinations

import numpy as np
import pytest
from helpers.quality import content
from matplotlib.image import imread
from matplotlib.transforms import Bbox

from modeling_distilwhisper.reporting import quality_figure
from modeling_distilwhisper.reporting.quality import quality_page

MANY = {
    "plain": (0.23, 290, 900),
    "full experts": (0.10, 393, 960),
    "full experts, int8": (0.101, 316, 958),
    "rank 128": (0.11, 323, 1000),
    "rank 128, int8": (0.111, 299, 1001),
    "LoRA 32": (0.12, 298, 1100),
    "LoRA 32, merged": (0.12, 290, 902),
    "exported": (0.13, 290, 899),
}
CASES = {
    "many": MANY,
    "one": {"plain": (0.2, 290, 900)},
    "equal": dict.fromkeys(["plain", "a copy of it", "another"], (0.2, 290, 900)),
    "no error": dict.fromkeys(["plain", "ours"], (0.05, 290, 900)),
    "far apart": {"tiny": (0.5, 150, 300), "large": (0.1, 6000, 20_000)},
    "a long name": {"plain": (0.2, 290, 900), "whisper-base with experts of rank 128, int8": (0.1, 299, 950)},
}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, to look into."""
    kept, save = [], quality_figure.save_figure
    monkeypatch.setattr(quality_figure, "save_figure", lambda figure, path: (kept.append(figure), save(figure, path)))
    return kept


def boxes_of(panel) -> dict[str, Bbox]:
    renderer = panel.get_figure().canvas.get_renderer()
    return {text.get_text(): text.get_window_extent(renderer) for text in panel.texts if text.get_text()}


@pytest.mark.parametrize("case", CASES)
def test_every_system_has_its_name_in_both_panels_and_no_name_covers_another(case, drawn, tmp_path):
    quality_figure.draw_quality(content(CASES[case]), tmp_path / "quality.png")
    assert imread(tmp_path / "quality.png").ndim == 3
    for panel in drawn[0].axes:
        boxes = boxes_of(panel)
        assert boxes.keys() == CASES[case].keys()
        inside = panel.get_window_extent()
        for one, other in combinations(boxes.values(), 2):
            assert not one.overlaps(other)
        for box in boxes.values():
            assert inside.x0 - 2 <= box.x0 and box.x1 <= inside.x1 + 2 and inside.y0 - 2 <= box.y0


def test_no_name_covers_the_marker_of_a_system(drawn, tmp_path):
    quality_figure.draw_quality(content(MANY), tmp_path / "quality.png")
    for panel in drawn[0].axes:
        markers = [line.get_transform().transform(line.get_xydata())[0] for line in panel.lines if line.get_label()]
        for box in boxes_of(panel).values():
            assert not any(box.contains(x, y) for x, y in markers)


def test_points_and_bars_are_at_what_was_measured(drawn, tmp_path):
    quality_figure.draw_quality(content({"plain": (0.2, 290, 900), "ours": (0.1, 393, 1000)}), tmp_path / "quality.png")
    sizes, times = drawn[0].axes
    values = [
        [(line[0].get_xdata()[0], line[0].get_ydata()[0]) for line in panel.containers] for panel in (sizes, times)
    ]
    assert values == [[(290, 20), (393, 10)], [(900, 20), (1000, 10)]]
    _, _, (across, upright) = times.containers[1]
    np.testing.assert_allclose(across.get_segments()[0][:, 0], [980, 1040])
    np.testing.assert_allclose(upright.get_segments()[0][:, 1], [5, 15])
    assert "clips, batch 1, 4.0 s in the mean" in times.get_xlabel()


def test_systems_of_one_size_stand_side_by_side_in_different_colours_and_shapes(drawn, tmp_path):
    quality_figure.draw_quality(content(MANY), tmp_path / "quality.png")
    lines = [container[0] for container in drawn[0].axes[0].containers]
    places = sorted(line.get_transform().transform(line.get_xydata())[0][0] for line in lines)
    assert min(np.diff(places)) > 5
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == len(MANY)


def test_a_name_with_dollar_signs_or_an_underscore_is_drawn_as_it_is(drawn, tmp_path):
    names = [r"$\no$", "_ours"]
    quality_figure.draw_quality(content(dict.fromkeys(names, (0.2, 290, 900))), tmp_path / "quality.png")
    assert [*boxes_of(drawn[0].axes[0])] == names


def test_a_system_without_an_interval_has_its_point(drawn, tmp_path):
    measured = content({"plain": (0.2, 290, 900)})
    measured["systems"][0] |= {"wer_low": None, "wer_high": None}  # one clip alone
    quality_figure.draw_quality(measured, tmp_path / "quality.png")
    assert "| plain | 0.200 | - " in " ".join(quality_page(measured).split())


def test_one_round_and_an_interval_that_rounding_moved_off_its_value_are_drawn(drawn, tmp_path):
    measured = content({"plain": (0.2, 290, 900)})
    system = measured["systems"][0] | {"wer_low": 0.2 + 1e-12, "wer_high": 0.2}
    task = "clips, batch 1"
    measured["systems"] = [system | {"seconds": {task: [45.0]}, "seconds per hour": {task: 900 - 1e-10}}]
    quality_figure.draw_quality(measured, tmp_path / "quality.png")
    assert (tmp_path / "quality.png").is_file()


def test_the_page_says_how_long_the_clips_are_and_what_was_compared_with_what():
    measured = content({"plain": (0.2, 290, 900), "ours": (0.1, 393.04, 1000)})
    page = " ".join(quality_page(measured).split())
    assert (
        "45 clips of 4.0 s in the mean, 3.0 minutes. Whisper computes 30 s for each; packed, they are 7 windows" in page
    )
    assert "2 cores of a Xeon; 2 threads, cpu, float32, 3 rounds, 30 minutes." in page
    assert "take 400 MB of memory before a model is loaded" in page
    assert "| ours | 0.100 | 0.050 to 0.150 | -0.100 (-0.200 to 0.050) | 393 | 25.0 | 393 | 900 |" in page
    assert "| ours | 1000 (1.11) | 125 (1.11) |" in page
    measured["systems"][1]["less first"]["real"] = True
    assert "**-0.100 (-0.200 to 0.050)**" in quality_page(measured)


def test_names_from_outside_are_text_in_the_page():
    page = quality_page(content({"<b>plain</b>": (0.2, 290, 900), "a|b": (0.1, 300, 900)}))
    assert "<b>" not in page and r"a\|b" in page
