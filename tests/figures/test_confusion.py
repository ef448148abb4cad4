"""The confusion matrix shows every count and its share of the row."""

import io
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from btjax.figures.confusion import confusion_matrix

CLASSES = ("meningioma", "glioma", "pituitary")


def test_counts_and_row_shares_stand_in_their_cells():
    figure = confusion_matrix([[6, 1, 1], [0, 13, 0], [2, 0, 2]], CLASSES, title="Test")
    panel = figure.axes[0]
    cells = {(text.xy, text.get_text()) for text in panel.texts}
    assert ((0.5, 0.5), "6") in cells
    assert ((0.5, 0.5), "75.0%") in cells
    assert ((0.5, 2.5), "2") in cells
    assert ((1.5, 1.5), "100.0%") in cells
    assert panel.yaxis_inverted()
    assert panel.get_yticklabels()[0].get_text() == "meningioma\nn = 8"
    assert panel.get_title(loc="left") == "Test"
    figure.savefig(io.BytesIO(), format="svg")


def test_a_class_without_rows_shows_zeros_and_no_share():
    panel = confusion_matrix([[1, 0], [0, 0]], ("a", "b")).axes[0]
    assert sorted(text.get_text() for text in panel.texts) == ["0", "0", "0", "0.0%", "1", "100.0%"]


def test_text_is_dark_on_light_cells_and_light_on_dark_cells():
    panel = confusion_matrix([[9, 0], [0, 9]], ("a", "b")).axes[0]
    colours = {text.xy: text.get_color() for text in panel.texts}
    assert colours == {(0.5, 0.5): "white", (1.5, 0.5): "black", (0.5, 1.5): "black", (1.5, 1.5): "white"}


def test_a_matrix_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\[3, 3\], found \(2, 2\)"):
        confusion_matrix([[1, 0], [0, 1]], CLASSES)


LONG = (
    "oligodendroglioma, anaplastic",
    "glioblastoma",
    "a class with $x_{ in its name",
    *(f"class {index}" for index in range(7)),
)


def drawn(figure):
    """Draws the figure, and gives the renderer that knows where its texts are."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


@pytest.mark.parametrize("size", [2, 4, 10])
def test_any_number_of_classes_and_long_names_are_drawn_in_full(size):
    figure = confusion_matrix(np.eye(size, dtype=int), LONG[:size], title="$a_{")
    renderer = drawn(figure)
    panel = figure.axes[0]
    assert [label.get_text().replace("\n", " ") for label in panel.get_xticklabels()] == list(LONG[:size])
    width, height = figure.get_size_inches() * figure.dpi
    boxes = [label.get_window_extent(renderer) for label in (*panel.get_xticklabels(), *panel.get_yticklabels())]
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    # Cells stay large enough for a count and a share.
    box = panel.get_window_extent(renderer)
    assert box.width / size > 0.6 * figure.dpi and box.height / size > 0.45 * figure.dpi


@pytest.mark.parametrize(("size", "turned"), [(4, 0), (10, 45)])
def test_names_that_would_run_into_each_other_are_turned(size, turned):
    figure = confusion_matrix(np.eye(size, dtype=int), ["meningioma", "schwannoma"] * (size // 2))
    renderer = drawn(figure)
    labels = figure.axes[0].get_xticklabels()
    assert {label.get_rotation() for label in labels} == {turned}
    boxes = [label.get_window_extent(renderer) for label in labels]
    assert turned or all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_share_below_one_is_never_printed_as_the_whole():
    panel = confusion_matrix([[99_999, 1], [0, 5]], ("a", "b")).axes[0]
    assert [text.get_text() for text in panel.texts if text.xy == (0.5, 0.5)] == ["99999", "99.9%"]
