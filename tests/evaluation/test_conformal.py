"""Prediction sets: by patients drawn, against a closed form, and on phantom slices of new patients."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from btjax.data.phantom import make_phantom
from btjax.evaluation.baselines import box_averages
from btjax.evaluation.conformal import _one_of_each, conformal_p_values, conformal_report
from btjax.evaluation.labelled import Labelled

CLASSES = ("a", "b", "c")


def patients_of(count: int, seed: int, most: int = 25) -> Labelled:
    """Patients of 1 to `most` slices that resemble each other."""
    random = np.random.default_rng(seed)
    patients = np.repeat(np.arange(count), random.integers(1, most + 1, size=count))
    labels = random.integers(3, size=count)[patients]
    logits = 2 * np.eye(3)[labels] + random.normal(size=(count, 3))[patients] + random.normal(size=(len(labels), 3))
    return Labelled(logits, labels, patients.astype(str))


def test_a_p_value_is_the_share_of_patients_as_unusual_with_the_new_one():
    """One over the patient's slices is the weight of each (Lee, Barber and Willett 2023)."""
    calibration, new = patients_of(60, 0), patients_of(5, 1)
    found = conformal_p_values(calibration, new.logits)
    for index in range(3):
        rows = calibration.labels == index
        names = calibration.patients[rows]
        scores = 1 - calibration.probabilities[rows, index]
        weights = np.array([1 / np.sum(names == name) for name in names])
        for row, score in enumerate(1 - new.probabilities[:, index]):
            expected = (weights[scores >= score].sum() + 1) / (len(set(names)) + 1)
            assert found[row, index] == pytest.approx(expected, abs=0.02)


def test_p_values_are_the_mean_of_those_of_an_independent_library_over_the_draws():
    crepes = pytest.importorskip("crepes", reason="needs crepes, of the extra `test`")
    calibration, new = patients_of(60, 0), patients_of(20, 1)
    logits = np.concatenate([new.logits, calibration.logits[:50]])  # with ties
    probabilities = Labelled(logits, np.zeros(len(logits), int)).probabilities
    found = conformal_p_values(calibration, logits)
    for index in range(3):
        rows = calibration.labels == index
        draws = _one_of_each(1 - calibration.probabilities[rows, index], calibration.voters.numbers[rows])
        assert len(draws) == 20
        scores = 1 - probabilities[:, [index]]
        parts = [crepes.ConformalClassifier().fit(draw).predict_p(scores, smoothing=False)[:, 0] for draw in draws]
        np.testing.assert_allclose(found[:, index], np.mean(parts, axis=0), atol=1e-12)


def test_coverage_of_new_patients_is_what_was_promised():
    calibration, new = patients_of(600, 2, 5), patients_of(900, 3, 5)
    for one in conformal_report(calibration, new, classes=CLASSES):
        assert one.coverage_by_patient == pytest.approx(one.level, abs=0.03)
        assert all(value == pytest.approx(one.level, abs=0.05) for value in one.coverage_by_class.values())
        assert sum(one.calibration_patients.values()) == 600
        assert one.single + one.empty <= 1 <= one.mean_size < 3


def test_few_patients_of_a_class_leave_it_in_every_set():
    calibration = patients_of(30, 4)
    kept = calibration.labels != 2
    calibration = Labelled(calibration.logits[kept], calibration.labels[kept], calibration.patients[kept])
    found = conformal_report(calibration, patients_of(50, 5), classes=CLASSES)[1]
    assert found.calibration_patients["c"] == 0 and found.coverage_by_class["c"] == 1
    assert found.mean_size >= 1


def test_slices_without_patients_count_by_themselves():
    rows = patients_of(100, 6)
    calibration = Labelled(rows.logits, rows.labels)
    found = conformal_report(calibration, patients_of(50, 7), classes=CLASSES, levels=(0.9,))[0]
    assert sum(found.calibration_patients.values()) == len(rows)


def test_sets_of_phantom_slices_cover_new_patients_within_two_points():
    """A linear model of coarse pixels; training, calibration and test patients are drawn anew twenty times.

    With 59 calibration patients of a class, exactly 9 or 19 of 20 new ones are promised to be covered.
    """
    slices = make_phantom(90, 2, 32)
    pixels, labels = box_averages(slices.images, 8), slices.labels
    by_class = [np.unique(slices.patients[labels == index]) for index in range(3)]
    by_level = {0.9: [], 0.95: []}
    for seed in range(20):
        random = np.random.default_rng(seed)
        parts = zip(*(np.split(random.permutation(names), [12, 71]) for names in by_class), strict=True)
        trained, calibrated, tested = (np.isin(slices.patients, np.concatenate(part)) for part in parts)
        model = LogisticRegression(C=0.1, max_iter=2000).fit(pixels[trained], labels[trained])
        sides = [
            Labelled(model.decision_function(pixels[rows]), labels[rows], slices.patients[rows])
            for rows in (calibrated, tested)
        ]
        for one in conformal_report(*sides, classes=slices.classes):
            by_level[one.level].append(one.coverage_by_patient)
    for level, values in by_level.items():
        assert np.mean(values) == pytest.approx(level, abs=0.02)
