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
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    # Bins are closed above, so that a probability of exactly 1 falls into the last.
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.bincount(index, weights=values, minlength=bins)
        return np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0)

    return {"counts": counts, "confidence": mean(confidence), "accuracy": mean(correct)}


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
