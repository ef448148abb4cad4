"""A learned metric: closed-form metric learning (Alipanahi, Biggs and Ghodsi, AAAI 2008), as Cheng et al. 2016 use."""

from __future__ import annotations

import numpy as np


def closed_form_metric(vectors: np.ndarray, labels: np.ndarray, regularisation: float, dimensions: int) -> np.ndarray:
    """Directions in which rows of different classes lie far apart and those of one class close together.

    With the mean scatter of pairs of different classes, D, and of pairs of one class, S, these are the first
    eigenvectors v of D v = e (S + r I) v, each times the root of its eigenvalue e. They lie in the span of the rows,
    so the problem is solved there: n x n, however long the rows are.

    Args:
      vectors: float32 [n, D].
      labels: int [n].
      regularisation: r.
      dimensions: how many directions are kept.

    Returns:
      float32 [D, dimensions], to multiply rows with.

    Example:
      >>> vectors = np.array([[0, 0, 1], [0, 1, 1], [2, 0, 1], [2, 1, 1]], np.float32)
      >>> directions = closed_form_metric(vectors, np.array([0, 0, 1, 1]), 1e-3, 1)
      >>> bool(abs(directions[0, 0]) > 100 * abs(directions[2, 0]))
      True
    """
    from scipy import linalg

    gram = (vectors @ vectors.T).astype(np.float64)
    values, basis = linalg.eigh(gram)
    kept = values > values[-1] * 1e-7  # below, float32 holds nothing but rounding
    values, basis = values[kept], basis[:, kept]
    rows = basis * np.sqrt(values)  # the vectors in an orthonormal basis of their span
    same, different = _scatters(rows, labels)
    size = min(dimensions, len(values))
    bounds = (len(values) - size, len(values) - 1)
    spread, directions = linalg.eigh(different, same + regularisation * np.eye(len(values)), subset_by_index=bounds)
    directions = (directions * np.sqrt(np.maximum(spread, 0)))[:, ::-1]
    return (vectors.T @ (basis / np.sqrt(values) @ directions).astype(np.float32)).astype(np.float32)


def _scatters(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of (x - y)(x - y)^T over pairs of rows of one class, and over pairs of two."""

    def scatter(chosen: np.ndarray) -> np.ndarray:
        total = chosen.sum(axis=0)
        return 2 * (len(chosen) * chosen.T @ chosen - np.outer(total, total))

    groups = [rows[labels == label] for label in np.unique(labels)]
    within = sum((scatter(group) for group in groups), np.zeros((rows.shape[1],) * 2))
    pairs = sum(len(group) * (len(group) - 1) for group in groups)
    others = len(rows) * (len(rows) - 1) - pairs
    return within / max(pairs, 1), (scatter(rows) - within) / max(others, 1)
