"""Scores of outlines against plain computations."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from btjax.evaluation.estimates import mean, pooled
from btjax.evaluation.segmentation import Compared, segmentation_scores

RANDOM = np.random.default_rng(0)
MASKS = RANDOM.random((12, 8, 8)) < 0.2
OUTLINES = np.where(RANDOM.random((12, 8, 8)) < 0.7, MASKS, RANDOM.random((12, 8, 8)) < 0.2)
POINTS = RANDOM.integers(0, 8, (12, 2))
LABELS = np.repeat([0, 1, 2], 4)
PATIENTS = np.array([f"P{row // 2}" for row in range(12)])


def test_dice_is_the_f1_of_pixels_of_each_slice():
    found = Compared.of(OUTLINES, MASKS, POINTS).dice
    expected = [f1_score(mask.ravel(), outline.ravel()) for mask, outline in zip(MASKS, OUTLINES, strict=True)]
    np.testing.assert_allclose(found, expected)


def test_empty_outlines_agree_with_empty_masks_alone():
    empty, full = np.zeros((1, 4, 4), bool), np.ones((1, 4, 4), bool)
    dice = [Compared.of(one, other, np.zeros((1, 2), int)).dice[0] for one in (empty, full) for other in (empty, full)]
    assert dice == [1, 0, 0, 1]


def test_scores_are_those_of_plain_loops_over_slices_and_pixels():
    compared = Compared.of(OUTLINES, MASKS, POINTS)
    scores = segmentation_scores(
        compared, LABELS, ("a", "b", "c"), clusters=PATIENTS, unit="patient", patients=PATIENTS
    )
    both = int((OUTLINES & MASKS).sum())
    assert scores.dice.value == pytest.approx(np.mean(compared.dice))
    assert scores.recall.value == pytest.approx(both / MASKS.sum())
    assert scores.precision.value == pytest.approx(both / OUTLINES.sum())
    hits = [bool(MASKS[row][tuple(POINTS[row])]) for row in range(12)]
    assert scores.pointing.value == pytest.approx(np.mean(hits))
    assert scores.empty.value == 0 and scores.slices == 12 and scores.patients == 6
    assert (scores.interval.unit, scores.interval.units) == ("patient", 6)
    assert scores.by_class["b"].dice.value == pytest.approx(compared.dice[4:8].mean())
    low, high = scores.dice.ci95
    assert low < scores.dice.value < high


def test_slices_without_tumour_have_no_part_in_pointing_and_recall():
    masks = MASKS.copy()
    masks[:6] = False
    scores = Compared.of(OUTLINES, masks, POINTS).scores(PATIENTS)
    assert scores.pointing.rows == scores.recall.rows == 6 and scores.dice.rows == 12
    nothing = Compared.of(np.zeros_like(MASKS), masks, POINTS).scores(PATIENTS)
    assert nothing.precision.value is None and nothing.empty.value == 1 and nothing.dice.value == 0.5


def test_a_class_without_slices_has_no_scores():
    compared = Compared.of(OUTLINES, MASKS, POINTS)
    scores = segmentation_scores(compared, np.zeros(12, int), ("a", "b"))
    assert list(scores.by_class) == ["a"] and scores.patients is None and scores.interval.unit == "slice"


def test_means_and_pooled_shares_stay_within_0_and_1():
    names = np.arange(4)
    assert mean(np.array([0.0, 1.0, 0.0, 1.0]), names).ci95 == (0.0, 1.0)
    found = pooled(np.array([9, 0, 9, 0]), np.array([9, 9, 9, 9]), names)
    assert found.value == 0.5 and found.ci95 == (0.0, 1.0)
    assert mean(np.zeros(0), np.zeros(0)).value is None and pooled(np.zeros(2), np.zeros(2), names[:2]).value is None
