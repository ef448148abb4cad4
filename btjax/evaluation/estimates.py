"""A number with its 95% interval by cluster, for studies: means, differences, balanced accuracy, ROC areas.

The intervals are those of `btjax.evaluation.intervals`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from btjax.evaluation.intervals import Carriers, Clusters, Interval, interval
from btjax.evaluation.metrics import ratio, roc_areas


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
      value: the number; None where it is not defined, such as the recall of a class without rows.
      ci95: its 95% interval, or None where there are too few clusters for one.
      rows: the number of rows that it is taken over.
      clusters: the number of clusters of these rows, such as families.
    """

    value: float | None
    ci95: Interval | None
    rows: int
    clusters: int

    def above(self, level: float) -> bool:
        """Whether the whole interval lies above a level."""
        return self.ci95 is not None and self.ci95[0] > level

    def below(self, level: float) -> bool:
        """Whether the whole interval lies below a level."""
        return self.ci95 is not None and self.ci95[1] < level


UNKNOWN = Estimate(None, None, 0, 0)
"""What no row says anything about."""


def share(right: np.ndarray, clusters: np.ndarray) -> Estimate:
    """The share of rows that are True (bool [N]), by `clusters` ([N], names or numbers).

    Example:
      >>> found = share(np.array([False, True, True, True]), np.array(["a", "a", "b", "b"]))
      >>> found.value, found.rows, found.clusters
      (0.75, 4, 2)
    """
    if len(right) == 0:
        return UNKNOWN
    found = Clusters.of(clusters).mean(np.asarray(right, np.float64), "share")
    return Estimate(found.value, found.ci95, found.rows, found.clusters)


def mean(values: np.ndarray, clusters: np.ndarray) -> Estimate:
    """The mean of numbers from 0 to 1 (float [N]), by `clusters` ([N], names or numbers).

    Example:
      >>> mean(np.array([0.5, 1.0]), np.array(["a", "b"])).value
      0.75
    """
    if len(values) == 0:
        return UNKNOWN
    found = Clusters.of(clusters).mean(values)
    return Estimate(found.value, found.ci95 and _within(found.ci95, 0, 1), found.rows, found.clusters)


def pooled(parts: np.ndarray, wholes: np.ndarray, clusters: np.ndarray) -> Estimate:
    """The sum of `parts` over the sum of `wholes`, such as pixels: float [N] each, 0 <= parts <= wholes.

    Rows and clusters whose whole is 0 say nothing and are not counted.

    Example:
      >>> pooled(np.array([1, 3]), np.array([2, 6]), np.array(["a", "b"])).value
      0.5
    """
    chosen = wholes > 0
    if not chosen.any():
        return UNKNOWN
    of = Clusters.of(np.asarray(clusters)[chosen])
    above, below = of.totals(np.asarray(parts)[chosen]), of.totals(np.asarray(wholes)[chosen])
    shares = ratio(above, below, below > 0)
    bounds = interval(shares[0], shares[1:], Carriers.of(of.sums(wholes[chosen])))
    return Estimate(float(shares[0]), bounds and _within(bounds, 0, 1), int(chosen.sum()), of.units)


def difference(first: np.ndarray, second: np.ndarray, clusters: np.ndarray) -> Estimate:
    """The share of rows of which `first` is True less that of `second`, both bool [N] of the same rows, in pairs."""
    found = Clusters.of(clusters).mean(np.asarray(first, np.float64) - np.asarray(second, np.float64))
    return Estimate(found.value, _within_one(found.ci95), found.rows, found.clusters)


def contrast(right: np.ndarray, chosen: np.ndarray, clusters: np.ndarray) -> Estimate:
    """The share of `right` (bool [N]) among the rows of `chosen` (bool [N]) less that among the others.

    A cluster may have rows of both kinds.

    Example:
      >>> contrast(np.array([1, 1, 0, 1]), np.array([True, True, False, False]), np.arange(4)).value
      0.5
    """
    values, chosen = np.asarray(right, np.float64), np.asarray(chosen, bool)
    if chosen.all() or not chosen.any():
        return dataclasses.replace(UNKNOWN, rows=len(values))
    of = Clusters.of(clusters)
    means = _mean_of(values, chosen, of) - _mean_of(values, ~chosen, of)
    bounds = _within_one(interval(means[0], means[1:], _fewer(chosen, of)))
    return Estimate(float(means[0]), bounds, len(values), of.units)


def balanced_accuracy(predictions: np.ndarray, labels: np.ndarray, clusters: np.ndarray) -> Estimate:
    """The mean of the recalls of the classes that `labels` (int [N]) holds; `predictions` int [N].

    Example:
      >>> labels = np.array([0, 0, 0, 1])
      >>> balanced_accuracy(np.zeros(4, int), labels, np.arange(4)).value
      0.5
    """
    if len(labels) == 0:
        return UNKNOWN
    of, right = Clusters.of(clusters), np.asarray(predictions == labels, np.float64)
    members = [labels == label for label in np.unique(labels)]
    means = np.mean([_mean_of(right, one, of) for one in members], axis=0)
    carriers = Carriers.of_mean([Carriers.of(of.sums(one)) for one in members])
    return Estimate(float(means[0]), interval(means[0], means[1:], carriers, scale="share"), len(labels), of.units)


def area(scores: np.ndarray, positive: np.ndarray, clusters: np.ndarray) -> Estimate:
    """The area under the ROC curve of `scores` (float [N]) for `positive` (bool [N]); .5 is chance.

    Example:
      >>> area(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]), np.arange(4)).value
      0.75
    """
    positive = np.asarray(positive, bool)
    if positive.all() or not positive.any():
        return dataclasses.replace(UNKNOWN, rows=len(scores))
    of = Clusters.of(clusters)
    areas = roc_areas(np.asarray(scores, np.float64), positive, of)
    bounds = interval(areas[0], areas[1:], _fewer(positive, of), scale="share", counted=False)
    return Estimate(float(areas[0]), bounds, len(scores), of.units)


def _within_one(bounds: Interval | None) -> Interval | None:
    """The interval of a difference of two shares, none of which lies beyond 1."""
    return bounds and _within(bounds, -1, 1)


def _within(bounds: Interval, low: float, high: float) -> Interval:
    return max(bounds[0], float(low)), min(bounds[1], float(high))


def _mean_of(values: np.ndarray, chosen: np.ndarray, of: Clusters) -> np.ndarray:
    """float64 [1 + K]: the mean over the chosen rows, then with each cluster left out; NaN where none is left."""
    above, below = of.totals(values * chosen), of.totals(chosen)
    return ratio(above, below, below > 0)


def _fewer(chosen: np.ndarray, of: Clusters) -> Carriers:
    """What a comparison of the chosen rows with the others rests on: the side with fewer clusters."""
    sides = Carriers.of(of.sums(chosen)), Carriers.of(of.sums(~chosen))
    effective, units = (np.minimum(*(getattr(side, name) for side in sides)) for name in ("effective", "units"))
    return Carriers(len(chosen), effective, units)
