"""Fisher vectors of patches: how a part of a slice differs from a Gaussian mixture of all training patches.

Perronnin, Sanchez and Mensink, Improving the Fisher Kernel for Large-Scale Image Classification, ECCV 2010; as Cheng et
al. use them, PLOS ONE 2016, doi 10.1371/journal.pone.0157112.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from btjax.base.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """Principal axes of patches, and a Gaussian mixture with diagonal covariances of their coordinates.

    Attributes:
      centre: float32 [D], the mean patch.
      axes: float32 [D, d], the principal axes that are kept.
      weights: float32 [K], of the Gaussians; their sum is 1.
      means: float32 [K, d].
      variances: float32 [K, d].
    """

    centre: np.ndarray
    axes: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    @property
    def size(self) -> int:
        """Length of the Fisher vector of one part."""
        return 2 * self.means.size

    def coordinates(self, patches: np.ndarray) -> np.ndarray:
        """float32 [P, d] of patches float32 [P, D]."""
        return (patches - self.centre) @ self.axes

    def posteriors(self, coordinates: np.ndarray) -> np.ndarray:
        """float32 [P, K]: how likely each Gaussian made each patch, float32 [P, d]."""
        precisions = 1 / self.variances
        constant = np.log(self.weights) - (np.log(self.variances) + self.means**2 * precisions).sum(axis=1) / 2
        values = constant + coordinates @ (self.means * precisions).T - coordinates**2 @ precisions.T / 2
        values = np.exp(values - values.max(axis=1, keepdims=True))
        return values / values.sum(axis=1, keepdims=True)


def fit_mixture(sample: np.ndarray, gaussians: int, explained: float, seed: int) -> Mixture:
    """Fits principal axes and a Gaussian mixture to patches.

    Args:
      sample: float32 [n, D], patches of training slices.
      gaussians: how many.
      explained: share of the variance that the axes keep, above 0 and below 1.
      seed: of the mixture's first means.

    Raises:
      InputError: fewer patches than Gaussians.
    """
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    if len(np.unique(sample, axis=0)) < gaussians:
        raise InputError(f"--gaussians={gaussians}: the training regions have {len(sample)} patches, expected more")
    reduced: Any = PCA(explained, svd_solver="full").fit(sample)
    coordinates = reduced.transform(sample)
    mixture = GaussianMixture(
        gaussians, covariance_type="diag", random_state=seed, tol=1e-2, max_iter=100, init_params="kmeans"
    ).fit(coordinates)
    arrays = (reduced.mean_, reduced.components_.T, mixture.weights_, mixture.means_, mixture.covariances_)
    return Mixture(*(np.ascontiguousarray(array, np.float32) for array in arrays))


def fisher_vector(mixture: Mixture, patches: np.ndarray, parts: np.ndarray, count: int) -> np.ndarray:
    """The improved Fisher vector of every part of a region: signed square roots, then length 1.

    Args:
      mixture: of the training patches.
      patches: float32 [P, D].
      parts: int [P], the part of each patch, 0 to count - 1.
      count: how many parts.

    Returns:
      float32 [count * 2 K d]: part by part the gradients by the means, then by the deviations; zeros for an empty part.
    """
    coordinates = mixture.coordinates(patches)
    posteriors = mixture.posteriors(coordinates)
    found = []
    for part in range(count):
        chosen = parts == part
        found.append(_gradients(mixture, coordinates[chosen], posteriors[chosen]))
    return np.concatenate(found)


def _gradients(mixture: Mixture, coordinates: np.ndarray, posteriors: np.ndarray) -> np.ndarray:
    """float32 [2 K d] of the patches of one part."""
    if not len(coordinates):
        return np.zeros(mixture.size, np.float32)
    means, deviations = mixture.means, np.sqrt(mixture.variances)
    # Sums over patches of p, p x and p x^2 give those of p (x - m) / s and of p ((x - m)^2 / s^2 - 1).
    total = posteriors.sum(axis=0)[:, None]
    first = posteriors.T @ coordinates
    second = posteriors.T @ coordinates**2
    by_mean = (first - total * means) / deviations
    by_deviation = (second - 2 * means * first + total * means**2) / mixture.variances - total
    scale = len(coordinates) * np.sqrt(mixture.weights)[:, None]
    vector = np.concatenate([(by_mean / scale).ravel(), (by_deviation / (scale * np.sqrt(2))).ravel()])
    vector = np.sign(vector) * np.sqrt(np.abs(vector))
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
