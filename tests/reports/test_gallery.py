"""Pages of tables and figures, and the figures of the U-Net and of saliency."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from btjax.figures import saliency, unet
from btjax.reports.gallery import render_gallery

RANDOM = np.random.default_rng(0)
HISTORY = [
    {
        "epoch": 1 + i,
        "train_loss": 1 / (1 + i),
        "validation_loss": 1.0,
        "train_accuracy": 0.9,
        "validation_accuracy": 0.8,
    }
    for i in range(6)
]


def texts(figure: Figure) -> list[str]:
    return [panel.get_title() for panel in figure.axes]


def test_a_page_holds_its_tables_and_figures_and_escapes_every_text():
    figure = unet.loss_by_epoch(HISTORY)
    table = {"title": "a < b", "head": ["x"], "rows": [["<script>"]]}
    section = {"title": "Part & parcel", "tables": [table], "figures": [{"figure": figure, "caption": "Loss"}]}
    page = render_gallery("Title <1>", [section], ["A lead."])
    assert "Title &lt;1&gt;" in page and "&lt;script&gt;" in page and "<script>" not in page
    assert "a &lt; b" in page and "Part &amp; parcel" in page and "A lead." in page
    assert re.search(r'<img src="data:image/[a-z+]+;base64,[^"]+" alt="Loss">', page)


def test_the_loss_is_drawn_by_epoch_beside_the_papers():
    lines = unet.loss_by_epoch(HISTORY).axes[0].get_lines()
    assert [len(line.get_xdata()) for line in lines] == [3, 6, 7, 6]
    np.testing.assert_allclose(lines[1].get_ydata(), [row["train_loss"] for row in HISTORY])
    assert len(unet.loss_by_epoch(HISTORY, published=False).axes[0].get_lines()) == 2


def test_accuracy_is_drawn_for_the_papers_epochs_or_for_all():
    assert list(unet.accuracy_by_epoch(HISTORY, 2, 4).axes[0].get_lines()[0].get_xdata()) == [2, 3, 4]
    assert len(unet.accuracy_by_epoch(HISTORY).axes[0].get_lines()[0].get_xdata()) == 6


@pytest.mark.parametrize("count", [1, 2, 6])
def test_outputs_stand_under_their_epochs(count):
    outputs = {5 * (index + 1): RANDOM.random((8, 8, 3)) for index in range(count)}
    figure = unet.outputs_by_epoch(outputs, dict.fromkeys(outputs, 0.25))
    assert texts(figure)[:count] == [f"epoch {epoch}, MAE 0.250" for epoch in outputs]


def test_confusion_matrices_say_their_accuracy():
    figure = unet.confusion_by_epoch({10: np.eye(3, dtype=int), 20: np.ones((3, 3), int)}, ("a", "b", "c"))
    assert texts(figure) == ["epoch 10: 100.0%", "epoch 20: 33.3%"]


@pytest.mark.parametrize("masks", [None, np.repeat(np.eye(8, dtype=bool)[None], 2, axis=0)])
def test_panels_stand_in_a_row_for_each_slice_the_tumour_outlined_in_the_outer_ones(masks):
    pictures = {name: RANDOM.random((2, 8, 8, 3)) for name in ("slice", "output", "final", "gradient", "over")}
    figure = saliency.panels(["a", "b"], pictures, masks)
    assert len(figure.axes) == 10 and texts(figure)[:5] == list(pictures)
    outlined = [bool(panel.collections) for panel in figure.axes[:5]]
    assert outlined == [masks is not None, False, False, False, masks is not None]


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
