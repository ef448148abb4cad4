"""Figures of saliency: galleries, scores, randomisation."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from btjax.figures import saliency

RANDOM = np.random.default_rng(0)


def texts(figure: Figure) -> list[str]:
    return [panel.get_title() for panel in figure.axes]


@pytest.mark.parametrize("masks", [None, np.repeat(np.eye(8, dtype=bool)[None], 2, axis=0)])
def test_panels_stand_in_a_row_for_each_slice_the_tumour_outlined_in_the_outer_ones(masks):
    pictures = {name: RANDOM.random((2, 8, 8, 3)) for name in ("slice", "output", "final", "gradient", "over")}
    figure = saliency.panels(["a", "b"], pictures, masks)
    assert len(figure.axes) == 10 and texts(figure)[:5] == list(pictures)
    outlined = [bool(panel.collections) for panel in figure.axes[:5]]
    assert outlined == [masks is not None, False, False, False, masks is not None]


def test_slices_without_a_tumour_have_no_outline_and_titles_are_drawn_as_they_are():
    masks = np.zeros((3, 8, 8), bool)
    masks[0, 2:5, 2:5] = True
    masks[2] = True
    titles = ["$a_{, a long name of a class, called something else", "b", "c"]
    drawn = saliency.panels(titles, {"$x^{": RANDOM.random((3, 8, 8, 3)), "y": RANDOM.random((3, 8, 8, 3))}, masks)
    images, maps = RANDOM.integers(0, 256, (3, 8, 8)).astype(np.uint8), {"$m_{": RANDOM.random((3, 8, 8))}
    for figure in (drawn, saliency.gallery(images, titles, maps, masks)):
        assert [bool(panel.collections) for panel in figure.axes] == [True, True, False, False, False, False]
        figure.savefig(io.BytesIO(), format="png")


def test_names_of_methods_and_layers_are_drawn_as_they_are():
    rows = [{"method": "$m_{", "layer": "$l^{", "spearman": 0.5, "ssim": 0.2}]
    bars = [{"method": "$m_{", "mean": 0.5, "ci95": (0.4, 0.6), "control": False}]
    values = np.arange(3.0)
    for figure in (
        saliency.randomisation_curves(rows),
        saliency.score_bars(bars, "energy", 0.1, True),
        saliency.score_by_size(values, {"$m_{": values}, {"$c^{": values}, "$s_{"),
    ):
        figure.savefig(io.BytesIO(), format="png")


def test_twelve_methods_have_lines_that_can_be_told_apart():
    rows = [{"method": f"m{index}", "layer": "a", "spearman": 0.5, "ssim": 0.2} for index in range(12)]
    lines = saliency.randomisation_curves(rows).axes[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 12


def test_heat_goes_from_the_least_to_the_largest_value_of_each_map():
    maps = np.stack([np.linspace(-1, 1, 9).reshape(3, 3), np.zeros((3, 3))])
    heat = saliency.heat(maps)
    assert heat.shape == (2, 3, 3, 3)
    np.testing.assert_allclose(heat[0, 0, 0], heat[1, 0, 0])
    assert heat[0, 2, 2].sum() > heat[0, 0, 0].sum()


def test_a_gallery_has_a_column_for_each_method():
    images = RANDOM.integers(0, 256, (2, 8, 8)).astype(np.uint8)
    maps = {
        "gradient": RANDOM.random((2, 8, 8)),
        "signed": RANDOM.standard_normal((2, 8, 8)),
        "flat": np.zeros((2, 8, 8)),
    }
    figure = saliency.gallery(images, ["a", "b"], maps, images > 128)
    assert len(figure.axes) == 8 and texts(figure)[:4] == ["slice", "gradient", "signed", "flat"]


@pytest.mark.parametrize("higher", [True, False])
def test_the_best_score_stands_at_the_top(higher):
    rows = [
        {"method": "good", "mean": 0.9 if higher else 0.1, "ci95": [0.1, 0.95], "control": False},
        {"method": "noise", "mean": 0.5, "ci95": None, "control": True},
    ]
    panel = saliency.score_bars(rows, "pointing", 0.05, higher).axes[0]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["noise", "good"]


def test_scores_by_size_are_means_of_fifths():
    areas = np.arange(10) / 10
    panel = saliency.score_by_size(areas, {"gradient": areas}, {"noise": 0 * areas}, "pointing").axes[0]
    line, control = panel.get_lines()
    np.testing.assert_allclose(line.get_ydata(), [0.05, 0.25, 0.45, 0.65, 0.85])
    np.testing.assert_array_equal(control.get_ydata(), 0)
    assert control.get_linestyle() == "--" and line.get_linestyle() == "-"


def test_randomisation_has_a_panel_for_each_quantity():
    rows = [
        {"method": method, "layer": layer, "spearman": 0.5, "ssim": 0.2}
        for method in ("gradient", "grad_cam")
        for layer in ("trained", "logits")
    ]
    figure = saliency.randomisation_curves(rows)
    assert texts(figure) == ["spearman", "ssim"]
    assert len(figure.axes[0].get_lines()) == 2
