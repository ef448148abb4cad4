"""Does a probability of 0.9 come true nine times in ten?"""

from __future__ import annotations

import numpy as np


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> dict[str, np.ndarray]:
    """Confidence and accuracy of the predictions, binned by confidence.

    Args:
      probabilities: float [N, C], rows sum to 1.
      labels: int [N].
      bins: the number of bins of equal width on (0, 1].

    Returns:
      `counts` int64 [bins], `confidence` float64 [bins], the mean probability of the predicted class, and `accuracy`
      float64 [bins]; the last two are NaN in an empty bin.
    """
    confidence, correct, index = _binned(probabilities, labels, bins)
    counts = np.bincount(index, minlength=bins)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.bincount(index, weights=values, minlength=bins)
        return np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0)

    return {"counts": counts, "confidence": mean(confidence), "accuracy": mean(correct)}


def _binned(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row the confidence, whether the prediction is correct, and the bin."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    # Bins are closed above, so that a probability of exactly 1 falls into the last.
    return confidence, correct, np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """The mean distance between confidence and accuracy over the bins of `reliability`, weighted by their counts.

    In [0, 1]; 0 is perfect. Reference: Guo et al., On calibration of modern neural networks, ICML 2017, equation 3.

    Args:
      probabilities: float [N, C], rows sum to 1.
      labels: int [N].
      bins: the number of bins of equal width.
    """
    table = reliability(probabilities, labels, bins)
    gaps = np.abs(table["accuracy"] - table["confidence"])
    return float(np.nansum(gaps * table["counts"]) / len(labels))


def resampled_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, clusters: np.ndarray, counts: np.ndarray, *, bins: int = 15
) -> np.ndarray:
    """The expected calibration error in every resample.

    The error is a sum of absolute values, so noise raises it: resamples, which are noisier than the rows themselves,
    lie on average above the value, and near perfection all of them may.

    Args:
      probabilities: float [N, C], rows sum to 1.
      labels: int [N].
      clusters: int [N] in [0, K).
      counts: [R, K] as in `btjax.evaluation.bootstrap.Resampling`.
      bins: the number of bins of equal width.

    Returns:
      float64 [R].
    """
    confidence, correct, index = _binned(probabilities, labels, bins)
    gaps = np.zeros((counts.shape[1], bins))
    np.add.at(gaps, (clusters, index), correct - confidence)
    return np.abs(counts @ gaps).sum(axis=1) / (counts @ np.bincount(clusters, minlength=counts.shape[1]))
