"""The cluster bootstrap: intervals that hold when the slices of one patient resemble each other.

Slices of one patient are not independent, so resampling slices makes intervals too narrow. Here whole clusters
(patients, or single slices where no ids exist) are drawn with replacement, as many as there are; a resample is written
as the number of times each cluster was drawn, and every metric is computed from those counts for all resamples at once.

References: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3 (percentile intervals); Field and
Welsh, Bootstrapping clustered data, J. R. Stat. Soc. B 69, 2007.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_CELLS_AT_ONCE = 1 << 20
"""Resamples times slices held in memory together: 8 MiB of float64 an array."""

DEFINED_SHARE = 0.9
"""An interval needs its metric to be defined in at least this share of the resamples."""


def resampled_counts(clusters: int, resamples: int, seed: int) -> np.ndarray:
    """How often each cluster is drawn in each resample: int64 [resamples, clusters], every row sums to `clusters`."""
    draws = np.random.default_rng(seed).integers(clusters, size=(resamples, clusters))
    draws += clusters * np.arange(resamples)[:, None]
    return np.bincount(draws.ravel(), minlength=resamples * clusters).reshape(resamples, clusters)


def resampled_confusion(
    labels: np.ndarray, predictions: np.ndarray, classes: int, clusters: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """The confusion matrix of every resample.

    Args:
      labels: int [N], true classes.
      predictions: int [N], predicted classes.
      classes: C, the number of classes.
      clusters: int [N] in [0, K), the cluster of each row.
      counts: int [R, K] from `resampled_counts`.

    Returns:
      int64 [R, C, C], rows true, columns predicted.
    """
    cells = (clusters * classes + labels) * classes + predictions
    by_cluster = np.bincount(cells, minlength=counts.shape[1] * classes**2).reshape(-1, classes**2)
    # Products in float64 run through BLAS and are exact for counts below 2**53.
    matrices = counts.astype(np.float64) @ by_cluster.astype(np.float64)
    return matrices.astype(np.int64).reshape(-1, classes, classes)


def resampled_mean(values: np.ndarray, clusters: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean over rows of `values` (float [N]) in every resample: float64 [R]."""
    sums = np.bincount(clusters, weights=values, minlength=counts.shape[1])
    sizes = np.bincount(clusters, minlength=counts.shape[1])
    return (counts @ sums) / (counts @ sizes)


def resampled_roc_auc(scores: np.ndarray, labels: np.ndarray, clusters: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The one-vs-rest area under the ROC curve of each class in every resample.

    Args:
      scores: float [N, C], column c grows with the belief in class c.
      labels: int [N], true classes.
      clusters: int [N] in [0, K).
      counts: int [R, K].

    Returns:
      float64 [R, C]; NaN where a resample has no row of the class or no other row.
    """
    areas = np.empty((len(counts), scores.shape[1]))
    for part, weights in _row_weights(clusters, counts):
        for index in range(scores.shape[1]):
            areas[part, index] = weighted_roc_auc(scores[:, index], labels == index, weights)
    return areas


def weighted_roc_auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The area under the ROC curve for many weightings of the same rows: the Mann-Whitney statistic, ties as one half.

    Args:
      scores: float [N].
      positive: bool [N].
      weights: float [R, N], at least 0.

    Returns:
      float64 [R]; NaN where all weight is on one side.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores[order]) != 0]))
    ordered = weights[:, order]
    positives = ordered * positive[order]
    negatives = ordered - positives
    if len(starts) < len(scores):
        positives = np.add.reduceat(positives, starts, axis=1)
        negatives = np.add.reduceat(negatives, starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    wins = np.einsum("rn,rn->r", positives, below)
    return np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def percentile_interval(samples: np.ndarray, coverage: float = 0.95) -> list[float] | None:
    """The percentile interval [low, high] of a metric's resamples.

    Args:
      samples: float [R], NaN where the metric is undefined in a resample (a class was not drawn).
      coverage: the share of resamples that the interval holds.

    Returns:
      Two floats, or None if fewer than `DEFINED_SHARE` of the resamples define the metric: too few clusters carry the
      class to say how uncertain the value is.
    """
    defined = samples[np.isfinite(samples)]
    if len(defined) == 0 or len(defined) < DEFINED_SHARE * len(samples):
        return None
    tail = 50 * (1 - coverage)
    return [float(bound) for bound in np.percentile(defined, [tail, 100 - tail])]


def _row_weights(clusters: np.ndarray, counts: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The weight of every row, float64 [r, N], a block of resamples at a time: all together would be large."""
    step = max(1, _CELLS_AT_ONCE // len(clusters))
    for start in range(0, len(counts), step):
        part = slice(start, start + step)
        yield part, counts[part].astype(np.float64)[:, clusters]
