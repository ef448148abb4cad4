"""Calibration against its closed forms, and the temperature against a search."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from btjax.evaluation.calibration import (
    calibration_errors,
    equal_mass_bins,
    expected_calibration_error,
    fit_temperature,
    recalibration,
    reliability,
    temperature_report,
)
from btjax.evaluation.intervals import Clusters
from btjax.evaluation.labelled import Labelled


def draws(rows: int, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax at sharpness 1 is the chance of the labels."""
    random = np.random.default_rng(0)
    logits = 1.5 * random.normal(size=(rows, 3))
    return sharpness * logits, (logits + random.gumbel(size=logits.shape)).argmax(axis=1)


def test_a_constant_confidence_is_wrong_by_its_distance_to_the_accuracy():
    probabilities = np.tile([0.8, 0.15, 0.05], (10, 1))
    labels = np.array([0] * 5 + [1] * 5)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.3)


def test_certain_and_right_is_perfect_and_certain_and_wrong_is_one():
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0
    assert expected_calibration_error(np.eye(3), np.array([1, 2, 0])) == 1


def test_bins_hold_equally_many_rows_and_equal_confidences_share_one():
    random = np.random.default_rng(0)
    assert np.bincount(equal_mass_bins(random.random(300), 15)).tolist() == [20] * 15
    assert np.unique(equal_mass_bins(np.array([0.5, 0.9, 0.9, 0.9, 0.95]), 5)).size == 3
    assert equal_mass_bins(np.array([0.3, 0.2]), 15).tolist() == [1, 0]


def test_reliability_holds_every_row_once():
    logits, labels = draws(1000)
    probabilities = softmax(logits, axis=1)
    table = reliability(probabilities, labels)
    counts = np.array(table.counts)
    assert counts.sum() == 1000
    assert counts @ table.accuracy / 1000 == pytest.approx(np.mean(probabilities.argmax(axis=1) == labels))
    assert counts @ table.confidence / 1000 == pytest.approx(probabilities.max(axis=1).mean())
    gaps = np.abs(np.array(table.accuracy) - table.confidence)
    assert counts @ gaps / 1000 == pytest.approx(expected_calibration_error(probabilities, labels))


def test_draws_from_the_probabilities_themselves_are_calibrated():
    logits, labels = draws(20_000)
    assert expected_calibration_error(softmax(logits, axis=1), labels) < 0.02
    assert expected_calibration_error(softmax(3 * logits, axis=1), labels) > 0.1


def test_errors_with_a_patient_left_out_are_those_of_the_other_rows_in_the_same_bins():
    logits, labels = draws(60)
    probabilities, clusters = softmax(logits, axis=1), Clusters(np.arange(60) % 6)
    errors = calibration_errors(probabilities, labels, clusters, bins=4)
    bins, confidence = equal_mass_bins(probabilities.max(axis=1), 4), probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    for cluster in range(6):
        kept = clusters.numbers != cluster
        gaps = [abs(np.sum((correct - confidence)[kept & (bins == index)])) for index in range(4)]
        assert errors[1 + cluster] == pytest.approx(sum(gaps) / kept.sum())


@pytest.mark.parametrize("sharpness", [0.25, 1.0, 4.0])
def test_the_temperature_undoes_a_factor_of_the_logits(sharpness):
    assert fit_temperature(*draws(20_000, sharpness)) == pytest.approx(sharpness, rel=0.05)


def test_no_other_temperature_has_a_lower_loss():
    logits, labels = draws(500, 2.5)
    best = fit_temperature(logits, labels)
    losses = [log_loss(labels, softmax(logits / (best * factor), axis=1)) for factor in (0.99, 1, 1.01)]
    assert losses[1] == min(losses)


def test_a_temperature_fitted_on_some_rows_calibrates_others():
    logits, labels = draws(8000, 3.0)
    found = temperature_report(Labelled(logits[:4000], labels[:4000]), Labelled(logits[4000:], labels[4000:]))
    assert (found.fitted_rows, found.rows) == (4000, 4000)
    assert found.value == pytest.approx(3, rel=0.1)
    assert found.calibration_error < 0.03 < 0.1 < found.calibration_error_before
    assert (
        found.log_loss < found.log_loss_before == pytest.approx(log_loss(labels[4000:], softmax(logits[4000:], axis=1)))
    )


def test_a_temperature_needs_rows_of_one_length():
    with pytest.raises(ValueError, match="logits"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, int))
    with pytest.raises(ValueError, match="shapes"):
        fit_temperature(np.zeros((2, 3)), np.zeros(3, int))


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e3, 1e6, 1e12])
def test_the_surest_claims_end_no_report(scale):
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 300)
    logits = scale * (random.normal(size=(300, 3)) + 2 * np.eye(3)[labels])
    slope, intercept = recalibration(logits, labels, Clusters.of(np.arange(300) // 5))
    assert slope.shape == intercept.shape == (61,)
    assert np.isnan(slope[0]) or 0 < slope[0] < 3
