"""Weights of classes in the training loss, so that classes of different size count the same."""

from __future__ import annotations

import numpy as np


def balanced_weights(labels: np.ndarray) -> np.ndarray:
    """The weight of each class, N / (C * n_c), which makes all C classes that there are weigh the same.

    Args:
      labels: int32, of any shape: the N labels of the rows to train on; n_c of them are of class c.

    Returns:
      float32 [largest label + 1]; 0 for a class that is not among the labels. Over the rows their mean is 1.

    Example:
      >>> balanced_weights(np.array([0, 0, 0, 1])).tolist()
      [0.6666666865348816, 2.0]
    """
    counts = np.bincount(labels.ravel())
    shares = labels.size / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts > 0, shares, 0).astype(np.float32)
