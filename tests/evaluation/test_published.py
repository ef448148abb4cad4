"""The paper's numbers agree with each other where the paper's own arithmetic does."""

import numpy as np
import pytest

from btjax.evaluation import published as paper
from btjax.readers import slices


def test_classes_are_ours_in_another_order():
    assert set(paper.CLASSES) == set(slices.CLASSES)


@pytest.mark.parametrize("name", ["cnn", "vgg16"])
def test_the_table_follows_from_the_matrix(name):
    result = paper.RESULTS[name]
    matrix = np.array(result.matrix)
    hits = np.diagonal(matrix)
    predicted, actual = matrix.sum(axis=0), matrix.sum(axis=1)
    computed = [hits / predicted, hits / actual, 2 * hits / (predicted + actual)]
    for index, class_name in enumerate(paper.CLASSES):
        assert result.percents[class_name] == tuple(round(100 * values[index]) for values in computed)
    assert result.macro_f1 == pytest.approx(computed[2].mean())
    # The average row is cut or rounded from the means, by the paper's own habit.
    assert np.abs(100 * np.mean(computed, axis=1) - result.percents["average"]).max() < 1


def test_accuracies_are_those_of_the_figures():
    assert paper.RESULTS["cnn"].accuracy == 30 / 32
    assert paper.RESULTS["vgg16"].accuracy == 176 / 192
    # Clopper and Pearson for 30 of 32, from the beta distribution's quantiles.
    assert paper.RESULTS["cnn"].accuracy_ci95 == pytest.approx([0.79193, 0.99234], abs=1e-5)


def test_curves_have_twenty_epochs():
    for values in (paper.TRAIN_ACCURACY, paper.VALIDATION_ACCURACY, paper.TRAIN_LOSS, paper.VALIDATION_LOSS):
        assert len(values) == 20
