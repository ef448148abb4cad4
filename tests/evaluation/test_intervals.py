"""Intervals by cluster: against statsmodels and closed forms, and against the truth on simulated patients."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from btjax.evaluation.intervals import (
    Carriers,
    Clusters,
    clopper_pearson,
    degrees_of_freedom,
    jackknife_variance,
    mean_interval,
    share_bounds,
)
from experiments.coverage import PATIENTS_OF_SIZE, SIZES, accuracy_coverage, metric_coverage


@pytest.mark.parametrize(("hits", "rows"), [(0, 20), (13, 20), (20, 20), (611, 613)])
def test_the_binomial_interval_is_statsmodels(hits, rows):
    assert clopper_pearson(hits, rows) == pytest.approx(proportion_confint(hits, rows, method="beta"), abs=1e-12)


@pytest.mark.parametrize("hits", [0, 1, 30, 45, 46])
def test_one_row_a_patient_gives_the_binomial_interval(hits):
    found = mean_interval(np.arange(46) < hits, scale="share")
    assert found.ci95 == pytest.approx(proportion_confint(hits, 46, method="beta"), abs=1e-12)


def test_no_mistake_gives_the_interval_of_patients_without_mistakes():
    patients = np.repeat(np.arange(46), 13)
    low, high = mean_interval(np.ones(598), patients, scale="share").ci95
    assert (low, high) == (pytest.approx(0.025 ** (1 / 46)), 1)
    low, high = mean_interval(np.zeros(598), patients, scale="share").ci95
    assert (low, high) == (0, pytest.approx(1 - 0.025 ** (1 / 46)))


def test_a_mistake_never_raises_the_lower_bound():
    patients, right = np.repeat(np.arange(46), 13), np.ones(598)
    before = mean_interval(right, patients, scale="share").ci95
    for row in range(0, 598, 40):
        right[row] = 0
        low, high = mean_interval(right, patients, scale="share").ci95
        assert low <= before[0] and high <= before[1] and low < right.mean() < high


def test_one_mistake_among_clusters_of_nearly_one_row_is_nearly_binomial():
    clusters = np.concatenate([np.arange(36), np.repeat(np.arange(36, 41), 2)])
    low, high = mean_interval(np.arange(46) != 3, clusters, scale="share").ci95
    expected = proportion_confint(45, 46, method="beta")
    assert (low, high) == pytest.approx(expected, abs=0.03)


def test_alike_slices_of_a_patient_count_once():
    """Each patient's slices are all right or all wrong: what they say is the patients' binomial, nearly."""
    right = np.repeat(np.arange(60) < 48, 10)
    low, high = mean_interval(right, np.repeat(np.arange(60), 10), scale="share").ci95
    assert (low, high) == pytest.approx(proportion_confint(48, 60, method="beta"), abs=0.015)


def test_independent_slices_are_worth_nearly_their_number():
    random = np.random.default_rng(0)
    right = random.random(6000) < 0.8
    low, high = mean_interval(right, np.repeat(np.arange(600), 10), scale="share").ci95
    expected = proportion_confint(right.sum(), 6000, method="beta")
    assert high - low == pytest.approx(expected[1] - expected[0], rel=0.15)


def test_a_mean_of_single_rows_has_students_interval():
    """The jackknife of a mean is its standard error, and normal values have nearly N - 1 degrees of freedom."""
    values = np.random.default_rng(1).normal(5, 2, size=200)
    low, high = mean_interval(values).ci95
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 199, values.mean(), stats.sem(values)), rel=2e-3)


def test_positive_means_have_their_interval_on_the_logarithm():
    low, high = mean_interval(np.array([0.01, 0.02, 3.0, 0.01, 0.5]), scale="positive").ci95
    assert 0 < low < 0.708 < high
    assert low * high == pytest.approx(0.708**2)


def test_degrees_of_freedom_are_those_of_what_carries_the_variance():
    one, alike = np.zeros(46), np.resize([1.0, -1.0], 46)
    one[3] = 0.2
    assert degrees_of_freedom(one, 46) == pytest.approx(2)
    assert degrees_of_freedom(alike, 40) == 39
    assert degrees_of_freedom(np.zeros(5), 5) == 4


def test_left_out_means_are_those_of_the_other_rows():
    random = np.random.default_rng(3)
    names = random.choice(list("abcde"), size=40)
    values, clusters = random.normal(size=40), Clusters.of(names)
    means = clusters.means(values)
    assert means[0] == pytest.approx(values.mean())
    for mean, name in zip(means[1:], np.unique(names), strict=True):
        assert mean == pytest.approx(values[names != name].mean())
    assert clusters.sizes.tolist() == [np.sum(names == name) for name in np.unique(names)]


def test_the_jackknife_of_equal_clusters_is_the_variance_of_their_means():
    values = np.random.default_rng(4).normal(size=(12, 5))
    clusters = Clusters(np.repeat(np.arange(12), 5))
    means = clusters.means(values.ravel())
    expected = values.mean(axis=1).var(ddof=1) / 12
    assert jackknife_variance(means[1:] - means[0]) == pytest.approx(expected)


def test_a_ratio_varies_only_where_its_parts_do():
    random = np.random.default_rng(0)
    below = random.uniform(1, 2, size=40)
    clusters = Clusters.of(np.arange(40) // 2)
    assert clusters.ratio(3 * below, below) == pytest.approx((3, 3))
    above = below + random.uniform(0, 1, size=40)
    low, high = clusters.ratio(above, below)
    assert low < above.sum() / below.sum() < high
    assert clusters.ratio(above, np.zeros(40)) is None


def test_a_mean_of_one_cluster_or_of_infinite_values_has_no_interval():
    assert mean_interval(np.array([1.0, 2.0]), np.array(["a", "a"])).ci95 is None
    infinite = mean_interval(np.array([1.0, np.inf]))
    assert (infinite.value, infinite.ci95) == (np.inf, None)


def test_a_mean_needs_rows_and_one_cluster_for_each():
    with pytest.raises(ValueError, match="at least 1"):
        mean_interval(np.zeros(0))
    with pytest.raises(ValueError, match="each of 3 rows"):
        mean_interval(np.zeros(2), np.arange(3))


def test_what_carries_a_mean_of_shares_is_least_where_one_class_is_rare():
    common, rare = Carriers.of(np.full(40, 10)), Carriers.of(np.array([3, 2]))
    both = Carriers.of_mean([common, rare])
    assert both.units == pytest.approx(4 / (1 / 40 + 1 / 2))
    assert Carriers.of_mean([common, common]).rows == pytest.approx(800)


def test_many_shares_at_once_are_the_same_as_one_by_one():
    random = np.random.default_rng(2)
    sizes = random.integers(1, 20, size=(5, 30))
    hits = random.binomial(sizes, 0.9)
    values = hits.sum(axis=1) / sizes.sum(axis=1)
    left_out = (hits.sum(axis=1, keepdims=True) - hits) / (sizes.sum(axis=1, keepdims=True) - sizes)
    low, high = share_bounds(values, left_out, Carriers.of(sizes))
    for row in range(5):
        one = share_bounds(values[row], left_out[row], Carriers.of(sizes[row]))
        assert (low[row], high[row]) == pytest.approx(one)


@pytest.mark.parametrize(("patients", "correlation", "truth"), [(9, 0.5, 0.9), (46, 0.5, 0.93), (233, 0.5, 0.99)])
def test_accuracies_are_covered_where_the_bootstrap_fails(patients, correlation, truth):
    found = accuracy_coverage(patients, correlation, truth, 600)
    # The standard error of a coverage of 0.95 over 600 data sets is 0.009.
    assert found["effective-sample Clopper-Pearson"]["coverage"] > 0.92
    assert found["effective-sample Clopper-Pearson"]["without_width"] == 0
    assert found["percentile bootstrap"]["coverage"] < 0.9


def test_the_simulated_patients_are_as_many_as_the_real_ones():
    assert len(SIZES) == 233 and SIZES.sum() == 3064
    assert sum(PATIENTS_OF_SIZE.values()) == 233


def test_metrics_of_three_classes_are_covered():
    found = metric_coverage(46, 60, by_patient=False)
    for name in ("accuracy", "macro_recall", "macro_f1", "roc_auc"):
        assert found[name]["coverage"] > 0.85, name  # of 60 data sets
