"""The confusion matrix shows every count and its share of the row."""

import io

import pytest

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
