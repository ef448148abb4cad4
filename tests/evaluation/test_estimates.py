"""Estimates are plain means, areas and differences, with intervals by cluster."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from btjax.evaluation import estimates


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), random.integers(1, 9, 40))
    labels = random.integers(0, 3, 40)[clusters]
    said = np.where(random.random(len(labels)) < 0.7, labels, random.integers(0, 3, len(labels)))
    return clusters, labels, said


def test_values_are_those_of_scikit_learn(rows):
    clusters, labels, said = rows
    balanced = estimates.balanced_accuracy(said, labels, clusters)
    assert balanced.value == pytest.approx(balanced_accuracy_score(labels, said), abs=1e-12)
    scores = said + np.random.default_rng(1).normal(size=len(said))
    area = estimates.area(scores, labels == 2, clusters)
    assert area.value == pytest.approx(roc_auc_score(labels == 2, scores), abs=1e-12)
    assert (area.rows, area.clusters) == (len(labels), 40)


def test_every_interval_holds_its_value_and_is_wider_by_cluster_than_by_row(rows):
    clusters, labels, said = rows
    right = said == labels
    widths = []
    for by in (clusters, np.arange(len(labels))):
        found = estimates.share(right, by)
        low, high = found.ci95
        assert 0 < low < found.value < high < 1
        widths.append(high - low)
    everything = [
        estimates.balanced_accuracy(said, labels, clusters),
        estimates.area(said + 0.0, labels == 1, clusters),
        estimates.contrast(right, clusters < 20, clusters),
        estimates.difference(right, ~right, clusters),
    ]
    for one in everything:
        assert one.ci95[0] < one.value < one.ci95[1]


def test_a_contrast_is_the_difference_of_means_and_tells_parts_that_differ(rows):
    clusters, _, _ = rows
    random, first = np.random.default_rng(2), clusters % 2 == 0
    values = random.random(len(clusters)) < np.where(first, 0.95, 0.4)
    found = estimates.contrast(values, first, clusters)
    assert found.value == pytest.approx(values[first].mean() - values[~first].mean())
    assert found.above(0.2) and not found.below(0.2)
    same = estimates.contrast(random.random(len(clusters)) < 0.5, first, clusters)
    assert not same.above(0) and not same.below(0)


def test_what_no_row_tells_is_unknown(rows):
    clusters, labels, said = rows
    assert estimates.share(np.zeros(0, bool), clusters[:0]) is estimates.UNKNOWN
    assert estimates.contrast(said, np.ones(len(said), bool), clusters).value is None
    assert estimates.area(said + 0.0, labels > 5, clusters).ci95 is None
    assert not estimates.UNKNOWN.above(0) and not estimates.UNKNOWN.below(1)
