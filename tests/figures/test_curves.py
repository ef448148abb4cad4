"""The training curves draw what the metrics say, at any length."""

import io

import numpy as np
import pytest

from btjax.evaluation import published as paper
from btjax.figures.curves import training_curves


def metrics(epochs: int) -> list[dict]:
    return [
        {
            "epoch": epoch,
            "train_loss": 2 / epoch,
            "train_accuracy": 1 - 0.5 / epoch,
            "validation_loss": 2.2 / epoch,
            "validation_accuracy": 0.9 - 0.4 / epoch,
        }
        for epoch in range(1, epochs + 1)
    ]


def lines(panel) -> dict:
    return {line.get_label(): line for line in panel.get_lines()}


@pytest.mark.parametrize("epochs", [0, 1, 2, 20, 100])
def test_any_number_of_epochs_draws(epochs):
    figure = training_curves(metrics(epochs))
    figure.savefig(io.BytesIO(), format="png")
    accuracy, loss = figure.axes
    np.testing.assert_allclose(lines(accuracy)["training"].get_ydata(), 1 - 0.5 / np.arange(1, epochs + 1))
    np.testing.assert_allclose(lines(loss)["validation"].get_ydata(), 2.2 / np.arange(1, epochs + 1))


def test_missing_and_infinite_values_leave_gaps():
    rows = metrics(3)
    rows[1]["validation_accuracy"] = None
    del rows[2]["validation_accuracy"]
    rows[0]["train_loss"] = float("inf")
    accuracy, loss = training_curves(rows).axes
    np.testing.assert_array_equal(np.isnan(lines(accuracy)["validation"].get_ydata()), [False, True, True])
    np.testing.assert_array_equal(np.isnan(lines(loss)["training"].get_ydata()), [True, False, False])


def test_the_papers_curves_stand_beside_only_when_asked():
    assert set(lines(training_curves(metrics(5)).axes[0])) == {"training", "validation"}
    accuracy, loss = training_curves(metrics(5), paper=True).axes
    np.testing.assert_array_equal(lines(accuracy)["validation, paper"].get_ydata(), paper.VALIDATION_ACCURACY)
    np.testing.assert_array_equal(lines(loss)["training, paper"].get_ydata(), paper.TRAIN_LOSS)
    np.testing.assert_array_equal(lines(loss)["training, paper"].get_xdata(), np.arange(1, 21))


def test_a_first_epoch_that_towers_over_the_rest_is_cut():
    rows = metrics(6)
    rows[0]["train_loss"] = 40.0
    assert training_curves(rows).axes[1].get_ylim() == (0, 1.25 * 1.1)
    rows[0]["train_loss"] = 2.0
    assert training_curves(rows).axes[1].get_ylim()[1] > 2.2


def test_the_chosen_epoch_is_marked():
    for panel in training_curves(metrics(5), checkpoint_epoch=4).axes:
        np.testing.assert_array_equal(lines(panel)["checkpoint"].get_xdata(), [4, 4])


def test_a_run_without_validation_slices_has_no_line_for_them():
    rows = [{"epoch": epoch, "train_accuracy": 0.5, "train_loss": 1.0} for epoch in (1, 2)]
    figure = training_curves(rows)
    assert [line.get_label() for line in figure.axes[0].lines] == ["training"]
