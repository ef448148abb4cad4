"""Classifiers of histograms, against scikit-learn on precomputed kernels and plain loops."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from btjax.features.histogram_heads import CLASSIFIERS, PENALTIES, fit_histogram_head
from btjax.features.kernels import intersection_kernel

RANDOM = np.random.default_rng(0)
LABELS = np.repeat(np.arange(3), 40)
PEAKS = np.full((3, 12), 0.3) + np.kron(np.eye(3), np.ones(4))
HISTOGRAMS = np.stack([RANDOM.dirichlet(3 * PEAKS[label]) for label in LABELS]).astype(np.float32)
GROUPS = np.arange(120) // 2


def test_the_kernel_is_the_sum_of_smaller_entries():
    first, second = RANDOM.random((300, 7)).astype(np.float32), RANDOM.random((41, 7)).astype(np.float32)
    expected = [[np.minimum(one, other).sum() for other in second] for one in first]
    np.testing.assert_allclose(intersection_kernel(first, second), expected, rtol=1e-5)


def test_the_machine_is_scikit_learns_on_the_precomputed_kernel():
    train, test = np.arange(0, 120, 2), np.arange(1, 120, 2)
    head = fit_histogram_head("svm", HISTOGRAMS[train], LABELS[train], GROUPS[train], seed=0)
    kernel = np.minimum(HISTOGRAMS[train][:, None], HISTOGRAMS[train][None]).sum(axis=-1)
    tested = np.minimum(HISTOGRAMS[test][:, None], HISTOGRAMS[train][None]).sum(axis=-1)
    machine = SVC(C=head.setting, kernel="precomputed").fit(kernel, LABELS[train])
    assert head.setting in PENALTIES
    np.testing.assert_array_equal(head.logits(HISTOGRAMS[test]).argmax(axis=1), machine.predict(tested))
    np.testing.assert_allclose(head.logits(HISTOGRAMS[test]), machine.decision_function(tested), atol=1e-4)


def test_neighbours_vote_as_scikit_learns():
    train, test = np.arange(0, 120, 2), np.arange(1, 120, 2)
    head = fit_histogram_head("knn", HISTOGRAMS[train], LABELS[train], GROUPS[train], seed=0, neighbours=5)
    voting = KNeighborsClassifier(5).fit(HISTOGRAMS[train], LABELS[train])
    np.testing.assert_allclose(
        np.exp(head.logits(HISTOGRAMS[test])), np.clip(voting.predict_proba(HISTOGRAMS[test]), 1e-3, 1), rtol=1e-5
    )


def test_a_sparse_code_of_a_training_histogram_rebuilds_it_by_its_own_class():
    head = fit_histogram_head("src", HISTOGRAMS, LABELS, GROUPS, seed=0)
    logits = head.logits(HISTOGRAMS)
    np.testing.assert_array_equal(logits.argmax(axis=1), LABELS)
    np.testing.assert_allclose(logits.max(axis=1), 0, atol=1e-3)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_tells_classes_that_differ(name):
    train, test = np.arange(0, 120, 2), np.arange(1, 120, 2)
    head = fit_histogram_head(name, HISTOGRAMS[train], LABELS[train], GROUPS[train], seed=0)
    assert np.mean(head.logits(HISTOGRAMS[test]).argmax(axis=1) == LABELS[test]) > 0.8


def test_two_classes_have_two_logits():
    chosen = LABELS < 2
    head = fit_histogram_head("svm", HISTOGRAMS[chosen], LABELS[chosen], GROUPS[chosen], seed=0)
    assert head.logits(HISTOGRAMS[chosen]).shape == (80, 2)
