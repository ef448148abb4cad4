"""The cluster bootstrap: intervals that hold when the slices of one patient resemble each other.

Slices of one patient are not independent, so resampling slices makes intervals too narrow. Here whole clusters
(patients, or single slices where no ids exist) are drawn with replacement, as many as there are. A resample is written
as the number of times each cluster was drawn, and every metric is computed from those counts for all resamples at once.

References: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3 (percentile intervals); Field and
Welsh, Bootstrapping clustered data, J. R. Stat. Soc. B 69, 2007.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

Interval = tuple[float, float]
"""The lower and the upper bound of a 95% interval."""

_CELLS_AT_ONCE = 1 << 20
"""Resamples times slices held in memory together: 8 MiB of float64 an array."""

DEFINED_SHARE = 0.9
"""An interval needs its metric to be defined in at least this share of the resamples."""


@dataclasses.dataclass(frozen=True)
class IntervalSettings:
    """How the intervals of a report were computed.

    Attributes:
      method: of the interval.
      resamples: the number of bootstrap resamples.
      seed: of the resampling.
      unit: what is resampled: 'patient', 'group' of linked slices, or 'slice'.
      units: how many of them there are.
    """

    method: str
    resamples: int
    seed: int
    unit: str
    units: int


@dataclasses.dataclass(frozen=True)
class MeanInterval:
    """A mean with its 95% interval.

    Attributes:
      value: the mean over rows.
      ci95: its percentile interval; None with fewer than two clusters, or if a row is not finite.
      rows: the number of rows.
      clusters: the number of clusters that were resampled.
    """

    value: float
    ci95: Interval | None
    rows: int
    clusters: int


@dataclasses.dataclass(frozen=True, eq=False)
class Resampling:
    """Resamples of clusters, drawn once and used for every metric of the same rows.

    Attributes:
      clusters: int [N] in [0, K), the cluster of each row.
      counts: float64 [R, K], how often each resample draws each cluster.
    """

    clusters: np.ndarray
    counts: np.ndarray

    @property
    def units(self) -> int:
        """K, the number of clusters."""
        return self.counts.shape[1]

    def mean(self, values: np.ndarray) -> MeanInterval:
        """The mean over rows of `values` (float [N]) with its interval.

        Raises:
          ValueError: not one value for each row.
        """
        values = self._checked(values)
        interval = self.interval(resampled_mean(values, self.clusters, self.counts)) if _finite(values) else None
        return MeanInterval(float(values.mean()), interval, len(values), self.units)

    def ratio(self, numerators: np.ndarray, denominators: np.ndarray) -> Interval | None:
        """The interval of the mean of `numerators` over the mean of `denominators`, both float [N].

        A resample takes the same rows above and below. None as in `MeanInterval.ci95`, or where more than a tenth of
        the resamples have a denominator of 0.

        Raises:
          ValueError: not one value for each row.
        """
        above, below = self._checked(numerators), self._checked(denominators)
        if not (_finite(above) and _finite(below)):
            return None
        means = [resampled_mean(values, self.clusters, self.counts) for values in (above, below)]
        return self.interval(np.divide(*means, out=np.full(len(self.counts), np.nan), where=means[1] != 0))

    def interval(self, samples: np.ndarray) -> Interval | None:
        """`percentile_interval` of a metric's resamples (float [R]); None with fewer than two clusters."""
        return percentile_interval(samples) if self.units > 1 else None

    def _checked(self, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values)
        if values.shape != self.clusters.shape:
            raise ValueError(f"expected one value for each of {len(self.clusters)} rows, found shape {values.shape}")
        return values


def _finite(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all())


def resample(clusters: np.ndarray, *, resamples: int = 2000, seed: int = 0) -> Resampling:
    """Draws the resamples of some rows.

    Args:
      clusters: [N], the cluster of each row: patient ids, or any other values that can be sorted.
      resamples: R.
      seed: of the draws.

    Raises:
      ValueError: no rows.
    """
    clusters = np.asarray(clusters)
    if clusters.ndim != 1 or len(clusters) == 0:
        raise ValueError(f"clusters must be [N] with N at least 1, found shape {clusters.shape}")
    numbers = np.unique(clusters, return_inverse=True)[1]
    # float64 runs through BLAS and is exact for counts below 2**53.
    counts = resampled_counts(int(numbers.max()) + 1, resamples, seed).astype(np.float64)
    return Resampling(numbers, counts)


def mean_interval(
    values: np.ndarray, clusters: np.ndarray | None = None, *, resamples: int = 2000, seed: int = 0
) -> MeanInterval:
    """A mean with its 95% interval, resampled by cluster. For many means of the same rows use `resample` once.

    Args:
      values: float [N], N at least 1.
      clusters: [N], such as the patient of each row, or None to resample single rows.
      resamples: the number of bootstrap resamples.
      seed: of the resampling.

    Raises:
      ValueError: no rows, or not one value for each row.

    Example:
      >>> import numpy as np
      >>> mean_interval(np.array([0.0, 1.0, 1.0, 1.0]), np.array(["a", "a", "b", "b"]))
      MeanInterval(value=0.75, ci95=(0.5, 1.0), rows=4, clusters=2)
    """
    rows = np.arange(len(values)) if clusters is None else clusters
    return resample(rows, resamples=resamples, seed=seed).mean(values)


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
      counts: [R, K] as in `Resampling`.

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
      counts: [R, K] as in `Resampling`.

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


def percentile_interval(samples: np.ndarray, coverage: float = 0.95) -> Interval | None:
    """The percentile interval (low, high) of a metric's resamples.

    Args:
      samples: float [R], NaN where the metric is undefined in a resample (a class was not drawn).
      coverage: the share of resamples that the interval holds.

    Returns:
      The bounds, or None if fewer than `DEFINED_SHARE` of the resamples define the metric: too few clusters carry the
      class to say how uncertain the value is.
    """
    defined = samples[np.isfinite(samples)]
    if len(defined) == 0 or len(defined) < DEFINED_SHARE * len(samples):
        return None
    tail = 50 * (1 - coverage)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def _row_weights(clusters: np.ndarray, counts: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The weight of every row, float64 [r, N], a block of resamples at a time: all together would be large."""
    step = max(1, _CELLS_AT_ONCE // len(clusters))
    for start in range(0, len(counts), step):
        part = slice(start, start + step)
        yield part, counts[part].astype(np.float64)[:, clusters]
