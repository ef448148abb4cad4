"""Calibration against its closed forms."""

import numpy as np
import pytest

from btjax.evaluation import bootstrap
from btjax.evaluation.calibration import expected_calibration_error, reliability, resampled_calibration_error


def test_a_constant_confidence_is_wrong_by_its_distance_to_the_accuracy():
    probabilities = np.tile([0.8, 0.15, 0.05], (10, 1))
    labels = np.array([0] * 5 + [1] * 5)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.3)


def test_certain_and_right_is_perfect_and_certain_and_wrong_is_one():
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0
    assert expected_calibration_error(np.eye(3), np.array([1, 2, 0])) == 1


def test_bins_hold_every_row_once_and_empty_bins_are_undefined():
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.81, 0.19]])
    table = reliability(probabilities, np.array([0, 1, 0]), bins=10)
    np.testing.assert_array_equal(table["counts"], [0, 0, 0, 0, 1, 0, 0, 0, 1, 1])
    assert table["confidence"][8] == pytest.approx(0.81)
    assert table["accuracy"][4] == 0
    assert np.isnan(table["accuracy"][0])


def test_draws_from_the_probabilities_themselves_are_calibrated():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([1, 1, 1], size=20_000)
    labels = (random.random((20_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert expected_calibration_error(probabilities, np.minimum(labels, 2)) < 0.015


def test_resampled_errors_are_those_of_the_rows_written_out():
    random = np.random.default_rng(1)
    probabilities, labels = random.dirichlet([1, 1, 1], size=60), random.integers(3, size=60)
    clusters = np.concatenate([np.arange(15), random.integers(15, size=45)])
    counts = bootstrap.resampled_counts(15, 20, seed=0)
    errors = resampled_calibration_error(probabilities, labels, clusters, counts)
    for error, drawn in zip(errors, counts, strict=True):
        written = np.repeat(np.arange(60), drawn[clusters])
        assert error == pytest.approx(expected_calibration_error(probabilities[written], labels[written]))
