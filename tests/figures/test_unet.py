"""The paper's figures of the U-Net draw what the rows and matrices say."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from btjax.figures import unet

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


def column_labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


@pytest.mark.parametrize(
    ("classes", "columns"),
    [
        (("no", "yes"), ["no", "yes"]),
        (("glioma", "glial cyst", "cyst"), ["glio", "glia", "cyst"]),
        (("tumour a", "tumour b"), ["1", "2"]),
        (tuple(f"class {index}" for index in range(10)), [str(index) for index in range(1, 11)]),
    ],
)
def test_short_names_of_columns_are_distinct(classes, columns):
    figure = unet.confusion_by_epoch({1: np.eye(len(classes), dtype=int)}, classes)
    assert column_labels(figure) == columns
    names = [label.get_text().replace("\n", " ") for label in figure.axes[0].get_yticklabels()]
    assert names == [
        f"{short} {name}" if short.isdigit() else name for short, name in zip(columns, classes, strict=True)
    ]
    figure.savefig(io.BytesIO(), format="png")


def test_a_matrix_without_counts_has_no_accuracy():
    assert texts(unet.confusion_by_epoch({3: np.zeros((2, 2), int)}, ("a", "b"))) == ["epoch 3: \N{EN DASH}"]


def test_a_matrix_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\[3, 3\], found \(2, 2\)"):
        unet.confusion_by_epoch({1: np.eye(2, dtype=int)}, ("a", "b", "c"))


def test_classes_with_signs_of_mathematics_are_drawn_as_they_are():
    figure = unet.confusion_by_epoch({1: np.eye(2, dtype=int)}, ("$a_{$", "$b^"))
    figure.savefig(io.BytesIO(), format="png")
    assert column_labels(figure) == ["$a_", "$b^"]
