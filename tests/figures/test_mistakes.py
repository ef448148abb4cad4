"""The worst mistakes: the right slices, in order, and a figure whatever there is to show."""

import io
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from btjax.figures.mistakes import worst_mistakes

CLASSES = ("meningioma", "glioma", "pituitary")


def titles(figure) -> list[str]:
    return [panel.get_title(loc="left") for panel in figure.axes if panel.images]


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, size=(30, 16, 16), dtype=np.uint8)


def test_the_most_confident_mistakes_come_first(images):
    probabilities = np.array([[0.6, 0.3, 0.1], [0.9, 0.05, 0.05], [0.1, 0.2, 0.7], [0.8, 0.1, 0.1]])
    figure = worst_mistakes(images[:4], np.array([1, 0, 0, 2]), probabilities, CLASSES, ids=np.array(list("pqrs")))
    assert titles(figure) == [
        "true: pituitary\npredicted: meningioma, 80.0%",
        "true: meningioma\npredicted: pituitary, 70.0%",
        "true: glioma\npredicted: meningioma, 60.0%",
    ]
    drawn = [panel for panel in figure.axes if panel.images]
    assert [panel.texts[0].get_text() for panel in drawn] == ["slice s", "slice r", "slice p"]
    np.testing.assert_array_equal(drawn[0].images[0].get_array(), images[3])
    assert figure.get_suptitle() == "3 of 4 slices wrong, all shown"
    figure.savefig(io.BytesIO(), format="png")


def test_no_more_are_drawn_than_asked(images):
    figure = worst_mistakes(images, np.zeros(30, int), np.tile([0.1, 0.9, 0.0], (30, 1)), CLASSES, most=5)
    assert len(titles(figure)) == 5
    assert figure.get_suptitle() == "30 of 30 slices wrong, the 5 most confident shown"


@pytest.mark.parametrize("rows", [0, 3])
def test_without_mistakes_the_figure_says_so(images, rows):
    figure = worst_mistakes(images[:rows], np.arange(rows), np.eye(3)[:rows], CLASSES)
    assert figure.texts[0].get_text() == f"No mistakes: all {rows} slices are classified correctly."
    figure.savefig(io.BytesIO(), format="png")


def test_masks_are_outlined_and_empty_ones_left_alone(images):
    masks = np.zeros((3, 16, 16), bool)
    masks[0, 4:9, 4:9] = True
    masks[2] = True
    probabilities = np.array([[0.0, 0.9, 0.1], [0.0, 0.8, 0.2], [0.0, 0.7, 0.3]])
    figure = worst_mistakes(images[:3], np.zeros(3, int), probabilities, CLASSES, masks=masks)
    assert [len(panel.collections) for panel in figure.axes if panel.images] == [1, 0, 0]
    figure.savefig(io.BytesIO(), format="png")


def test_names_with_signs_of_mathematics_are_drawn_as_they_are(images):
    classes = ("a$_{b", "c\\frac")
    figure = worst_mistakes(images[:1], np.array([0]), np.array([[0.0, 1.0]]), classes, ids=np.array(["$x^{"]))
    figure.savefig(io.BytesIO(), format="png")
    assert titles(figure) == ["true: a$_{b\npredicted: c\\frac, >99.9%"]


def test_long_names_and_ids_are_drawn_in_full_and_inside_the_figure(images):
    classes = tuple(f"a class with a very long name, number {index}" for index in range(10))
    ids = np.array([f"patient/a/very/long/path/to/the/slice/file_{index}.png" for index in range(3)])
    figure = worst_mistakes(images[:3], np.array([3, 4, 5]), np.tile(np.eye(10)[9], (3, 1)), classes, ids=ids)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    expected = [f"true: {classes[row]} predicted: {classes[9]}, >99.9%" for row in (3, 4, 5)]
    assert [title.replace("\n", " ") for title in titles(figure)] == expected
    renderer, panels = canvas.get_renderer(), [panel for panel in figure.axes if panel.images]
    assert [panel.texts[0].get_text().replace("\n", "") for panel in panels] == [f"slice {name}" for name in ids]
    boxes = [panel.get_tightbbox(renderer) for panel in panels]
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes))
