"""The metrics of a classifier on all rows, and with each cluster of rows left out.

One implementation gives the values and what their intervals need. Tests compare it with scikit-learn and statsmodels.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from btjax.evaluation import calibration
from btjax.evaluation.intervals import Carriers, Clusters, Interval, Scale, interval

CLASS_METRICS = ("precision", "recall", "specificity", "f1", "roc_auc")
"""The metrics of one class against all others."""

_SCALES: dict[str, Scale] = {"log_loss": "positive", "calibration_slope": "real", "calibration_intercept": "real"}
"""What values a metric can have where it cannot be brought to [0, 1]."""

_RANGES = {"mcc": (-1.0, 1.0), "brier_score": (0.0, 2.0)}
"""Ranges that are brought to [0, 1], other than that itself."""

_GRADED = ("roc_auc", "expected_calibration_error", "brier_score")
"""Metrics in a range that are more than counts of rows."""


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Rows to score: float64 [N, C] finite logits, int64 [N] labels, and the clusters of the rows."""

    logits: np.ndarray
    labels: np.ndarray
    clusters: Clusters

    @property
    def classes(self) -> int:
        """C."""
        return self.logits.shape[1]

    @property
    def predictions(self) -> np.ndarray:
        """int64 [N]: the class of the highest logit, the first of equals."""
        return self.logits.argmax(axis=1)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A metric's value and its 95% interval; None where undefined."""

    value: float | None
    ci95: Interval | None


@dataclasses.dataclass(frozen=True)
class Measures:
    """Every metric: of all classes together, and of each class by itself, of `CLASS_METRICS`."""

    main: dict[str, Measured]
    by_class: dict[str, list[Measured]]


def measure(rows: Rows) -> Measures:
    """Every metric with its interval."""
    (main, by_class), (carriers, class_carriers) = left_out_values(rows), _carriers(rows)
    single = rows.clusters.single
    return Measures(
        {name: _measured(name, values, carriers[name], single) for name, values in main.items()},
        {
            name: [
                _measured(name, values, carrier, single)
                for values, carrier in zip(each.T, class_carriers[name], strict=True)
            ]
            for name, each in by_class.items()
        },
    )


def _measured(name: str, values: np.ndarray, carriers: Carriers, single: bool) -> Measured:
    """Of float [1 + K]: the value, then with each cluster left out."""
    value, left_out = float(values[0]), values[1:]
    if not np.isfinite(value):
        return Measured(None, None)
    if name in _SCALES:
        return Measured(value, interval(value, left_out, carriers, scale=_SCALES[name]))
    low, high = _RANGES.get(name, (0.0, 1.0))
    place, places = (value - low) / (high - low), (left_out - low) / (high - low)
    counted = name not in _GRADED
    bounds = interval(place, places, carriers, scale="share", counted=counted, independent=counted and single)
    if bounds is not None and name == "expected_calibration_error":
        # Noise raises a sum of absolute values: the lower bound is that of the value less the jackknife's bias.
        bias = max(0.0, (len(left_out) - 1) * (float(left_out.mean()) - value))
        corrected = interval(max(0.0, value - bias), left_out - bias, carriers) or bounds
        bounds = max(0.0, min(bounds[0], corrected[0])), bounds[1]
    return Measured(value, bounds and (low + (high - low) * bounds[0], low + (high - low) * bounds[1]))


def _carriers(rows: Rows) -> tuple[dict[str, Carriers], dict[str, list[Carriers]]]:
    """How many rows and clusters each metric rests on; the same of each class."""
    clusters, labels, predictions = rows.clusters, rows.labels, rows.predictions
    every = Carriers.of(clusters.sizes)
    by_class: dict[str, list[Carriers]] = {name: [] for name in CLASS_METRICS}
    for index in range(rows.classes):
        true, called = labels == index, predictions == index
        positives, negatives = Carriers.of(clusters.sums(true)), Carriers.of(clusters.sums(~true))
        by_class["recall"].append(positives)
        by_class["specificity"].append(negatives)
        by_class["precision"].append(Carriers.of(clusters.sums(called)))
        by_class["f1"].append(Carriers.of(clusters.sums((true + called.astype(float)) / 2)))
        least = [np.minimum(getattr(positives, name), getattr(negatives, name)) for name in ("effective", "units")]
        by_class["roc_auc"].append(Carriers(len(labels), *least))
    means = {_mean_name(name): Carriers.of_mean(parts) for name, parts in by_class.items()}
    others = ("accuracy", "mcc", "brier_score", "expected_calibration_error", *_SCALES)
    return dict.fromkeys(others, every) | means, by_class


def _mean_name(metric: str) -> str:
    """The mean over classes of a class metric."""
    return metric if metric == "roc_auc" else f"macro_{metric}"


def left_out_values(rows: Rows) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The metrics of all rows, then with each cluster left out, NaN where undefined.

    Returns:
      name -> float64 [1 + K], and `CLASS_METRICS` -> float64 [1 + K, C].
    """
    labels, clusters, classes = rows.labels, rows.clusters, rows.classes
    cells = np.eye(classes**2)[labels * classes + rows.predictions]
    matrices = clusters.totals(cells).reshape(-1, classes, classes)
    hits, total = np.diagonal(matrices, axis1=1, axis2=2), matrices.sum(axis=(1, 2))
    predicted, actual = matrices.sum(axis=1), matrices.sum(axis=2)
    others, odds = total[:, None] - actual, log_odds(rows.logits)
    by_class = {
        "precision": ratio(hits, predicted, (predicted > 0) & (actual > 0)),
        "recall": ratio(hits, actual, actual > 0),
        "specificity": ratio(others - (predicted - hits), others, others > 0),
        "f1": ratio(2 * hits, predicted + actual, actual > 0),
        "roc_auc": np.array([roc_areas(odds[:, c], labels == c, clusters) for c in range(classes)]).T,
    }
    probabilities, losses = probabilities_and_losses(rows.logits, labels)
    squares = ((probabilities - np.eye(rows.classes)[labels]) ** 2).sum(axis=1)
    slope, intercept = calibration.recalibration(rows.logits, labels, clusters)
    main = {
        "accuracy": ratio(hits.sum(axis=1), total, total > 0),
        "mcc": _matthews(hits, predicted, actual),
        "log_loss": clusters.means(losses),
        "brier_score": clusters.means(squares),
        "expected_calibration_error": calibration.calibration_errors(probabilities, labels, clusters),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        **{_mean_name(name): values.mean(axis=1) for name, values in by_class.items()},
    }
    return main, by_class


def roc_areas(scores: np.ndarray, positive: np.ndarray, clusters: Clusters) -> np.ndarray:
    """The area under the ROC curve of all rows, then with each cluster left out: the Mann-Whitney statistic.

    Args:
      scores: float [N].
      positive: bool [N].
      clusters: of the rows.

    Returns:
      float64 [1 + K], ties as one half; NaN where all rows that are left are on one side.
    """
    won = np.empty(len(scores))  # of each row the pairs with rows of the other side that are in the right order
    won[positive] = _wins(scores[positive], scores[~positive])
    won[~positive] = _wins(-scores[~positive], -scores[positive])
    wins = clusters.totals(won * positive)
    wins[1:] -= clusters.sums(won * ~positive)
    # Pairs within a cluster were taken off with each of their rows.
    for cluster in np.flatnonzero((clusters.sums(positive) > 0) & (clusters.sums(~positive) > 0)):
        inside = clusters.numbers == cluster
        wins[1 + cluster] += _wins(scores[inside & positive], scores[inside & ~positive]).sum()
    pairs = clusters.totals(positive) * clusters.totals(~positive)
    return ratio(wins, pairs, pairs > 0)


def _wins(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """float64 [N]: how many of the others lie below each score, ties as one half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / 2


def ratio(numerator: np.ndarray, denominator: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """Their quotient, NaN where undefined."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=defined)


def _matthews(hits: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Matthews' correlation coefficient of C classes (Gorodkin 2004); NaN where all rows or predictions are of one."""
    total = actual.sum(axis=1)
    covariance = hits.sum(axis=1) * total - (predicted * actual).sum(axis=1)
    spreads = [total**2 - (counts**2).sum(axis=1) for counts in (predicted, actual)]
    product = spreads[0] * spreads[1]
    return ratio(covariance, np.sqrt(np.maximum(product, 0)), product > 0)


def probabilities_and_losses(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 [N, C], and the cross-entropy of each row in nats, float64 [N]."""
    from scipy.special import log_softmax

    logs = log_softmax(np.asarray(logits, np.float64), axis=1)
    return np.exp(logs), -np.take_along_axis(logs, labels[:, None], axis=1)[:, 0]


def log_odds(logits: np.ndarray) -> np.ndarray:
    """float64 [N, C]: the log odds of each class. They rank rows as the probabilities do, but never round to 1."""
    from scipy.special import logsumexp

    logits = np.asarray(logits, np.float64)
    if logits.shape[1] == 1:
        return logits
    others = [np.asarray(logsumexp(np.delete(logits, index, axis=1), axis=1)) for index in range(logits.shape[1])]
    return logits - np.stack(others, axis=1)
