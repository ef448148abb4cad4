"""Abstaining: the risk-coverage curve by hand and by its properties."""

import numpy as np
import pytest
from scipy.special import log_softmax

from btjax.evaluation.labelled import Labelled
from btjax.evaluation.selective import risks, selective_report


def test_the_curve_by_hand():
    found = risks(np.array([0.6, 0.9, 0.7, 0.8]), np.array([False, True, False, True]))
    np.testing.assert_allclose(found, [0, 0, 1 / 3, 1 / 2])


def test_equal_confidences_share_their_errors():
    found = risks(np.array([0.5, 0.5, 0.5, 0.5]), np.array([True, False, False, True]))
    np.testing.assert_allclose(found, 0.5)


def rows_of(correct: np.ndarray, margin: np.ndarray, patients: np.ndarray | None = None) -> Labelled:
    """Two classes; the predicted one is 1."""
    logits = np.stack([np.zeros(len(margin)), margin], axis=1)
    return Labelled(logits, correct.astype(int), patients)


def test_the_report_holds_the_curve_its_area_and_the_surest_rows():
    random = np.random.default_rng(0)
    margin = random.uniform(0.1, 5, size=500)
    correct = random.random(500) < 1 / (1 + np.exp(-margin))
    rows = rows_of(correct, margin, np.arange(500) // 10)
    found = selective_report(rows)
    curve = risks(-log_softmax(-rows.logits, axis=1).max(axis=1) + margin, correct)
    assert found.aurc == pytest.approx(risks(margin, correct).mean()) == pytest.approx(curve.mean())
    surest = np.argsort(-margin)[:400]
    assert found.accuracy == pytest.approx(correct[surest].mean())
    assert found.accuracy_ci95[0] < found.accuracy < found.accuracy_ci95[1]
    assert found.aurc_ci95[0] < found.aurc < found.aurc_ci95[1]
    assert found.coverage[-1] == 1 and found.risk[-1] == pytest.approx(1 - correct.mean())
    assert list(found.coverage) == sorted(found.coverage) and len(found.coverage) == 50


def test_a_confidence_that_knows_its_mistakes_is_better_than_one_that_does_not():
    correct = np.arange(100) >= 20
    knows = selective_report(rows_of(correct, 1 + np.arange(100) / 50))
    not_so = selective_report(rows_of(correct, 1 + np.arange(100)[::-1] / 50))
    assert knows.aurc < 0.2 < not_so.aurc
    assert knows.accuracy == 1 and knows.accuracy_ci95[0] == pytest.approx(0.025 ** (1 / 80))
