"""Does a probability of 0.9 come true nine times in ten? And the temperature that makes it so.

Bins hold equally many rows: with bins of equal width nearly all rows of a good classifier fall into the last one.

References: Guo et al., On calibration of modern neural networks, ICML 2017 (temperature, expected calibration error);
Nixon et al., Measuring calibration in deep learning, CVPR workshops 2019 (bins of equal mass); Cox, Two further
applications of a model for binary regression, Biometrika 45, 1958 (slope and intercept).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from btjax.evaluation.intervals import Clusters

if TYPE_CHECKING:
    from btjax.evaluation.labelled import Labelled

BINS = 15
"""Bins of the expected calibration error; fewer where there are fewer rows."""

TEMPERATURES = (0.01, 100.0)
"""The range that `fit_temperature` searches."""


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Confidence beside accuracy, in bins of equally many predictions.

    Attributes:
      counts: predictions in each bin.
      confidence: the mean probability of the predicted class.
      accuracy: the share of correct predictions.
    """

    counts: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Temperature:
    """What dividing all logits by one number does to a classifier's calibration; its predictions stay as they are.

    Attributes:
      value: the number, fitted on `fitted_rows` rows; above 1 the classifier was too sure of itself.
      fitted_rows: validation rows, none of which is scored.
      rows: rows that are scored.
      log_loss, log_loss_before: of them, with and without the temperature.
      calibration_error, calibration_error_before: the same of the expected calibration error.
    """

    value: float
    fitted_rows: int
    rows: int
    log_loss: float
    log_loss_before: float
    calibration_error: float
    calibration_error_before: float


def equal_mass_bins(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """int64 [N]: the bin of each row, in the order of its confidence; equal confidences share the lowest bin."""
    bins = max(1, min(bins, len(confidence)))
    order = np.sort(confidence)
    first = np.searchsorted(order, confidence, side="left")
    return first * bins // len(confidence)


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Reliability:
    """Confidence and accuracy of the predictions, in bins of equally many rows.

    Args:
      probabilities: float [N, C], rows sum to 1, N at least 1.
      labels: int [N].
      bins: the number of bins; those that ties leave empty are left out.

    Example:
      >>> import numpy as np
      >>> reliability(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]), bins=2)
      Reliability(counts=(1, 1), confidence=(0.8, 0.9), accuracy=(0.0, 1.0))
    """
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    index = np.unique(equal_mass_bins(confidence, bins), return_inverse=True)[1]
    counts = np.bincount(index)
    sums = [np.bincount(index, weights=values) for values in (confidence, correct)]
    means = [tuple(float(value) for value in values / counts) for values in sums]
    return Reliability(tuple(int(count) for count in counts), *means)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """The mean distance between confidence and accuracy over the bins of `reliability`, weighted by their counts.

    In [0, 1]; 0 is perfect. Noise raises it: a perfectly calibrated classifier has an error above 0 on few rows.

    Args:
      probabilities: float [N, C], rows sum to 1.
      labels: int [N].
      bins: the number of bins.
    """
    return float(calibration_errors(probabilities, labels, Clusters(np.zeros(len(labels), np.int64)), bins)[0])


def calibration_errors(
    probabilities: np.ndarray, labels: np.ndarray, clusters: Clusters, bins: int = BINS
) -> np.ndarray:
    """The expected calibration error of all rows, then with each cluster left out, in the bins of all rows.

    Returns:
      float64 [1 + K]; NaN where no row is left.
    """
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    gaps = np.zeros((len(labels), bins))
    gaps[np.arange(len(labels)), equal_mass_bins(confidence, bins)] = correct - confidence
    sums, rows = np.abs(clusters.totals(gaps)).sum(axis=1), clusters.totals(np.ones(len(labels)))
    return np.divide(sums, rows, out=np.full(len(rows), np.nan), where=rows > 0)


def recalibration(logits: np.ndarray, labels: np.ndarray, clusters: Clusters) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept of the confidence: the log odds of a correct prediction against those that it claims.

    The slope is that of the logistic regression log odds(correct) = a + slope * log odds(confidence): 1 for a
    calibrated classifier, below 1 for one whose high confidences are too high. The intercept is that of
    log odds(correct) = intercept + log odds(confidence), calibration in the large: 0 for a calibrated classifier, below
    0 for one that is too sure on average.

    Args:
      logits: float [N, C].
      labels: int [N].
      clusters: of the rows.

    Returns:
      slopes and intercepts, float64 [1 + K]: of all rows, then with each cluster left out by a first-order step from
      the regression on all rows, as in a cluster-robust (sandwich) variance. NaN where all predictions are correct,
      none is, or the claims separate them.
    """
    correct = logits.argmax(axis=1) == labels
    undefined = np.full(1 + clusters.units, np.nan)
    if correct.all() or not correct.any() or logits.shape[1] == 1:
        return undefined, undefined
    claimed = _top_log_odds(np.asarray(logits, np.float64))
    slope = undefined
    if np.ptp(claimed) > 0 and not _separated(claimed, correct):
        slope = _regressed(np.stack([np.ones_like(claimed), claimed], axis=1), None, correct, clusters)[:, 1]
    return slope, _regressed(np.ones((len(claimed), 1)), claimed, correct, clusters)[:, 0]


def _top_log_odds(logits: np.ndarray) -> np.ndarray:
    """float64 [N]: the log odds of each row's most probable class."""
    from scipy.special import logsumexp

    ordered = np.sort(logits, axis=1)
    return ordered[:, -1] - logsumexp(ordered[:, :-1], axis=1)


def _separated(claimed: np.ndarray, correct: np.ndarray) -> bool:
    """Whether a threshold tells right from wrong: the regression has no finite slope then."""
    right, wrong = claimed[correct], claimed[~correct]
    return bool(right.min() >= wrong.max() or right.max() <= wrong.min())


def _regressed(design: np.ndarray, offset: np.ndarray | None, correct: np.ndarray, clusters: Clusters) -> np.ndarray:
    """Logistic regression by Newton's method: float64 [1 + K, P] coefficients, with all rows and without clusters."""
    from scipy.special import expit

    shift = np.zeros(len(correct)) if offset is None else offset
    found, hessian = np.zeros(design.shape[1]), np.eye(design.shape[1])
    found[0] = -shift.mean()  # where not all chances are 0 or 1
    step = np.full(design.shape[1], np.inf)
    for _ in range(200):
        odds = design @ found + shift
        hessian = design.T @ (design * (expit(odds) * expit(-odds))[:, None])
        if not (np.linalg.cond(hessian) < 1e15 and np.abs(hessian).max() > 1e-300):
            break
        step = np.linalg.solve(hessian, design.T @ (correct - expit(odds)))
        found = found + step * min(1, 2 / max(np.abs(step).max(), 1e-300))
        if np.abs(step).max() < 1e-12:
            break
    # Where claims are so sure that no row has a chance between 0 and 1, nothing can be told from them.
    if not (np.abs(step).max() < 1e-6 and np.linalg.cond(hessian) < 1e15 and np.abs(hessian).max() > 1e-12):
        return np.full((1 + clusters.units, design.shape[1]), np.nan)
    scores = clusters.sums(design * (correct - expit(design @ found + shift))[:, None])
    return np.concatenate([found[None], found - np.linalg.solve(hessian, scores.T).T])


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The number by which logits are divided so that the mean cross-entropy of some rows is least.

    The cross-entropy is convex in the reciprocal of the temperature, which is searched within `TEMPERATURES`.

    Args:
      logits: float [N, C], of rows that are not scored afterwards (validation rows).
      labels: int [N].

    Raises:
      ValueError: no rows, or shapes that disagree.

    Example:
      >>> import numpy as np
      >>> random = np.random.default_rng(0)
      >>> logits = random.normal(size=(4000, 3))
      >>> labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
      >>> bool(abs(fit_temperature(5 * logits, labels) - 5) < 0.3)
      True
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or len(labels) == 0:
        raise ValueError(f"expected logits [N, C] and labels [N], found shapes {logits.shape} and {labels.shape}")

    def loss(inverse: float) -> float:
        return -float(np.take_along_axis(log_softmax(inverse * logits, axis=1), labels[:, None], axis=1).mean())

    low, high = TEMPERATURES
    found: float = minimize_scalar(loss, bounds=(1 / high, 1 / low), method="bounded", options={"xatol": 1e-9}).x  # type: ignore[attr-defined]
    return float(1 / found)


def temperature_report(fitted: Labelled, scored: Labelled) -> Temperature:
    """Fits a temperature on some rows, and scores it on others.

    Args:
      fitted: such as the validation rows.
      scored: such as the test rows.
    """
    from scipy.special import log_softmax

    value, labels = fit_temperature(fitted.logits, fitted.labels), np.asarray(scored.labels)
    losses, errors = [], []
    for divisor in (value, 1.0):
        logs = log_softmax(np.asarray(scored.logits, np.float64) / divisor, axis=1)
        losses.append(-float(np.take_along_axis(logs, labels[:, None], axis=1).mean()))
        errors.append(expected_calibration_error(np.exp(logs), labels))
    return Temperature(value, len(fitted), len(scored), *losses, *errors)
