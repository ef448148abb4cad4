"""Tables of scores: means and intervals by patient, and a verdict that only a real difference wins."""

import json

import msgspec
import numpy as np
import pytest

from btjax.evaluation.intervals import mean_interval
from btjax.studies import saliency_tables as tables


@pytest.fixture
def patients():
    """60 slices of 20 patients, unevenly."""
    random = np.random.default_rng(0)
    return np.concatenate([np.arange(20), random.integers(20, size=40)]).astype(str)


def test_rows_hold_the_mean_and_the_interval_by_patient(patients):
    numbers = np.random.default_rng(1).normal(size=60)
    planes = np.array(["axial", "coronal"] * 30)
    rows = tables.score_rows({"gradient": {"roc_auc": numbers}}, patients, {"plane": planes})
    assert [(row.group, row.value) for row in rows] == [
        ("all", "all"),
        ("plane", "axial"),
        ("plane", "coronal"),
    ]
    whole, axial = rows[:2]
    assert (whole.method, whole.score, whole.slices, whole.patients) == ("gradient", "roc_auc", 60, 20)
    assert whole.ci95 == mean_interval(numbers, patients).ci95
    assert whole.ci95[0] < numbers.mean() < whole.ci95[1]
    assert axial.mean == pytest.approx(numbers[::2].mean()) and axial.slices == 30
    assert axial.patients == len(set(patients[::2]))
    json.dumps(msgspec.to_builtins(rows), allow_nan=False)


def test_hits_of_every_slice_have_an_interval_with_a_width(patients):
    found = tables.score_rows({"gradient": {"pointing": np.ones(60)}}, patients)[0]
    assert found.ci95 == pytest.approx((0.025 ** (1 / 20), 1))


def test_scores_from_0_to_1_have_an_interval_within_0_and_1(patients):
    values = np.zeros(len(patients))
    values[patients == patients[0]] = 0.9  # one patient of several is found
    values[patients != patients[0]] = 0.01
    row = tables.score_rows({"m": {"average_precision": values}}, patients)[0]
    assert 0 <= row.ci95[0] < row.mean < row.ci95[1] <= 1
    assert mean_interval(values, patients).ci95[0] < 0  # as a number that may be negative


def test_one_patient_has_no_interval_and_no_verdict():
    values = {"gradient": {"roc_auc": np.array([0.9, 0.8])}}
    controls = {"centre": {"roc_auc": np.array([0.1, 0.1])}}
    patients = np.array(["a", "a"])
    assert tables.score_rows(values, patients)[0].ci95 is None
    assert tables.comparison_rows(values, controls, patients)[0].beats_best_control is False


def test_the_best_control_is_beaten_only_by_a_clear_difference_in_the_scores_direction(patients):
    random = np.random.default_rng(2)
    base = random.uniform(0.2, 0.6, 60)
    wiggle = random.normal(0, 0.01, 60)
    controls = {
        "centre": {"roc_auc": base, "peak_distance": base},
        "noise": {"roc_auc": base - 0.3, "peak_distance": base + 0.3},
    }
    methods = {
        "higher": {"roc_auc": base + 0.05 + wiggle, "peak_distance": base + 0.05 + wiggle},
        "lower": {"roc_auc": base - 0.05 + wiggle, "peak_distance": base - 0.05 + wiggle},
        "alike": {"roc_auc": base + wiggle - wiggle.mean(), "peak_distance": base + wiggle - wiggle.mean()},
    }
    rows = tables.comparison_rows(methods, controls, patients)
    found = {(row.method, row.score): row for row in rows}
    assert {key for key, row in found.items() if row.beats_best_control} == {
        ("higher", "roc_auc"),
        ("lower", "peak_distance"),
    }
    assert {row.best_control for row in rows} == {"centre"}
    row = found["lower", "peak_distance"]
    assert row.difference == pytest.approx(0.05, abs=0.005) and row.control_mean == pytest.approx(base.mean())
    assert row.difference_ci95[0] < row.difference < row.difference_ci95[1]
    assert row.mean == pytest.approx(row.control_mean - row.difference)
    # Paired: the interval is that of the small difference, not that of the widely spread scores.
    assert np.ptp(row.difference_ci95) < 0.02
    json.dumps(msgspec.to_builtins(rows), allow_nan=False)


def test_the_best_control_is_chosen_in_each_group(patients):
    plane = np.array(["axial"] * 30 + ["coronal"] * 30)
    first = (plane == "axial").astype(float)
    controls = {"centre": {"energy": first}, "edges": {"energy": 1 - first}}
    rows = tables.comparison_rows({"gradient": {"energy": first}}, controls, patients, {"plane": plane})
    assert [row.best_control for row in rows[1:]] == ["centre", "edges"]
    assert [row.difference for row in rows[1:]] == [0, -1]


def test_lesion_sizes_are_terciles_or_fall_between_the_given_edges():
    areas = np.arange(1, 10) / 100
    sizes, edges = tables.lesion_sizes(areas)
    assert sizes.tolist() == ["small"] * 3 + ["medium"] * 3 + ["large"] * 3
    assert areas[2] <= edges[0] < areas[3] and areas[5] <= edges[1] < areas[6]
    sizes, edges = tables.lesion_sizes(areas, (0.01, 0.02))
    assert sizes.tolist() == ["small", "medium"] + ["large"] * 7 and edges == (0.01, 0.02)


def test_lengths_that_disagree_are_refused(patients):
    values = {"gradient": {"roc_auc": np.zeros(59)}}
    with pytest.raises(ValueError, match="gradient: roc_auc has shape"):
        tables.score_rows(values, patients)
    with pytest.raises(ValueError, match="plane has shape"):
        tables.score_rows({"gradient": {"roc_auc": np.zeros(60)}}, patients, {"plane": np.array(["axial"])})
    with pytest.raises(ValueError, match="at least one control"):
        tables.comparison_rows(values, {}, patients)
    with pytest.raises(ValueError, match="unknown scores: beauty"):
        tables.comparison_rows({"gradient": {"beauty": np.zeros(60)}}, {"c": {"beauty": np.zeros(60)}}, patients)
