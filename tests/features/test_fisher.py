"""Fisher vectors and the learned metric, against plain references in float64."""

import numpy as np
import pytest
from scipy import linalg
from scipy.stats import multivariate_normal

from btjax.base.errors import InputError
from btjax.features.fisher import Mixture, fisher_vector, fit_mixture
from btjax.features.metric import closed_form_metric

RANDOM = np.random.default_rng(0)
SAMPLE = (RANDOM.normal(size=(600, 9)) @ np.diag([3, 2, 1, 0.5, 0.01, 0.01, 0.01, 0.01, 0.01])).astype(np.float32)


@pytest.fixture(scope="module")
def mixture():
    return fit_mixture(SAMPLE, gaussians=4, explained=0.99, seed=0)


def reference(mixture: Mixture, patches: np.ndarray) -> np.ndarray:
    """The improved Fisher vector by the formulas of Perronnin et al., patch by patch, in float64."""
    weights, means, variances = (
        np.asarray(array, np.float64) for array in (mixture.weights, mixture.means, mixture.variances)
    )
    points = (patches.astype(np.float64) - mixture.centre) @ mixture.axes.astype(np.float64)
    densities = np.stack(
        [w * multivariate_normal(m, np.diag(v)).pdf(points) for w, m, v in zip(weights, means, variances, strict=True)],
        axis=1,
    )
    shares = densities / densities.sum(axis=1, keepdims=True)
    first, second = np.zeros_like(means), np.zeros_like(means)
    for point, share in zip(points, shares, strict=True):
        away = (point - means) / np.sqrt(variances)
        first += share[:, None] * away
        second += share[:, None] * (away**2 - 1)
    scale = len(points) * np.sqrt(weights)[:, None]
    vector = np.concatenate([(first / scale).ravel(), (second / scale / np.sqrt(2)).ravel()])
    vector = np.sign(vector) * np.sqrt(np.abs(vector))
    return vector / np.linalg.norm(vector)


def test_a_fisher_vector_is_the_formulas_in_float64(mixture):
    patches, parts = SAMPLE[:200], np.arange(200) % 3
    found = fisher_vector(mixture, patches, parts, 3).reshape(3, -1)
    for part in range(3):
        np.testing.assert_allclose(found[part], reference(mixture, patches[parts == part]), atol=2e-3)


def test_the_axes_keep_the_variance_that_is_asked_for(mixture):
    kept = np.var(mixture.coordinates(SAMPLE), axis=0).sum() / np.var(SAMPLE, axis=0).sum()
    assert mixture.axes.shape == (9, 4) or kept >= 0.99
    assert kept >= 0.99
    assert mixture.size == 2 * 4 * mixture.axes.shape[1]


def test_posteriors_are_shares(mixture):
    shares = mixture.posteriors(mixture.coordinates(SAMPLE))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert shares.min() >= 0


def test_an_empty_part_is_zero_and_the_others_have_length_one(mixture):
    found = fisher_vector(mixture, SAMPLE[:50], np.zeros(50, int), 2).reshape(2, -1)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 0], atol=1e-6)


def test_fewer_patches_than_gaussians_are_refused_in_one_line():
    with pytest.raises(InputError, match=r"^--gaussians=50: the training regions have 10 patches, expected more$"):
        fit_mixture(SAMPLE[:10], gaussians=50, explained=0.9, seed=0)


def scatters(vectors, labels):
    """The mean of (x - y)(x - y)^T over all ordered pairs, of one class and of two, by loops."""
    sums, counts = [np.zeros((vectors.shape[1],) * 2) for _ in range(2)], [0, 0]
    for row, one in enumerate(vectors):
        for column, other in enumerate(vectors):
            if row != column:
                kind = int(labels[row] != labels[column])
                sums[kind] += np.outer(one - other, one - other)
                counts[kind] += 1
    return sums[0] / counts[0], sums[1] / counts[1]


@pytest.mark.parametrize("length", [6, 60])
def test_the_metric_solves_the_full_eigenproblem(length):
    labels = np.repeat(np.arange(3), 8)
    vectors = RANDOM.normal(size=(24, length)) + np.eye(3, length)[labels] * 3
    same, different = scatters(vectors, labels)
    values, directions = linalg.eigh(different, same + 0.1 * np.eye(length))
    expected = (directions * np.sqrt(np.maximum(values, 0)))[:, ::-1][:, :2]
    found = closed_form_metric(vectors.astype(np.float32), labels, 0.1, 2)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())
