"""A measured number with its 95% interval by cluster: means, their differences, balanced accuracy, ROC areas.

Everything here resamples whole clusters through `btjax.evaluation.bootstrap`; a study asks here and nowhere else.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from btjax.evaluation.bootstrap import Interval, Resampling, resample, resampled_mean, resampled_roc_auc


@dataclasses.dataclass(frozen=True)
class Measured:
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


UNKNOWN = Measured(None, None, 0, 0)
"""What no row says anything about."""


def mean(values: np.ndarray, clusters: np.ndarray) -> Measured:
    """The mean of `values` (float or bool [N]) with its interval by `clusters` ([N], names or numbers).

    Example:
      >>> mean(np.array([0.0, 1.0, 1.0, 1.0]), np.array(["a", "a", "b", "b"]))
      Measured(value=0.75, ci95=(0.5, 1.0), rows=4, clusters=2)
    """
    if len(values) == 0:
        return UNKNOWN
    found = resample(clusters).mean(np.asarray(values, np.float64))
    return Measured(found.value, found.ci95, found.rows, found.clusters)


def difference(first: np.ndarray, second: np.ndarray, clusters: np.ndarray) -> Measured:
    """The mean of `first` less that of `second`, both [N] of the same rows."""
    return mean(np.asarray(first, np.float64) - np.asarray(second, np.float64), clusters)


def contrast(values: np.ndarray, chosen: np.ndarray, clusters: np.ndarray) -> Measured:
    """The mean of `values` ([N]) over the rows of `chosen` (bool [N]) less that over the others.

    A cluster may have rows of both kinds; a resample takes or leaves it as a whole.
    """
    values, chosen = np.asarray(values, np.float64), np.asarray(chosen, bool)
    if chosen.all() or not chosen.any():
        return dataclasses.replace(UNKNOWN, rows=len(values))
    drawn = resample(clusters)
    with np.errstate(invalid="ignore", divide="ignore"):
        sides = [_conditional(values, side, drawn) for side in (chosen, ~chosen)]
    value = float(values[chosen].mean() - values[~chosen].mean())
    return Measured(value, drawn.interval(sides[0] - sides[1]), len(values), drawn.units)


def balanced_accuracy(predictions: np.ndarray, labels: np.ndarray, clusters: np.ndarray) -> Measured:
    """The mean of the recalls of the classes that `labels` (int [N]) holds; `predictions` int [N].

    Example:
      >>> labels = np.array([0, 0, 0, 1])
      >>> balanced_accuracy(np.zeros(4, int), labels, np.arange(4)).value
      0.5
    """
    if len(labels) == 0:
        return UNKNOWN
    present, right = np.unique(labels), np.asarray(predictions == labels, np.float64)
    drawn = resample(clusters)
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = np.mean([_conditional(right, labels == label, drawn) for label in present], axis=0)
    value = float(np.mean([right[labels == label].mean() for label in present]))
    return Measured(value, drawn.interval(recalls), len(labels), drawn.units)


def area(scores: np.ndarray, positive: np.ndarray, clusters: np.ndarray) -> Measured:
    """The area under the ROC curve of `scores` (float [N]) for `positive` (bool [N]); .5 is chance.

    Example:
      >>> area(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]), np.arange(4)).value
      0.75
    """
    positive = np.asarray(positive, bool)
    if positive.all() or not positive.any():
        return dataclasses.replace(UNKNOWN, rows=len(scores))
    from sklearn.metrics import roc_auc_score

    drawn = resample(clusters, resamples=1000)
    areas = resampled_roc_auc(scores[:, None], np.where(positive, 0, 1), drawn.clusters, drawn.counts)[:, 0]
    return Measured(float(roc_auc_score(positive, scores)), drawn.interval(areas), len(scores), drawn.units)


def _conditional(values: np.ndarray, chosen: np.ndarray, drawn: Resampling) -> np.ndarray:
    """float64 [R]: the mean over the chosen rows in every resample, NaN where it draws none of them."""
    above = resampled_mean(values * chosen, drawn.clusters, drawn.counts)
    return above / resampled_mean(chosen.astype(np.float64), drawn.clusters, drawn.counts)
