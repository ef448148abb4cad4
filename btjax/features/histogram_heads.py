"""Classifiers of histograms: a support vector machine on their intersections, nearest neighbours, sparse codes."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from btjax.features.kernels import intersection_kernel

CLASSIFIERS = ("svm", "knn", "src")
"""See `fit_histogram_head`."""

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""The values of C that are tried."""

CODED = 30
"""At most so many training histograms stand for one in a sparse code."""


@dataclasses.dataclass(frozen=True, eq=False)
class HistogramHead:
    """A fitted classifier of histograms.

    Attributes:
      name: of `CLASSIFIERS`.
      setting: C of svm, the number of neighbours of knn, the length of the codes of src.
      train: float32 [n, D], the training histograms.
      labels: int [n].
      estimator: scikit-learn's, on kernel values (svm) or histograms (knn); None for src.
    """

    name: str
    setting: float
    train: np.ndarray
    labels: np.ndarray
    estimator: Any = None

    def logits(self, histograms: np.ndarray) -> np.ndarray:
        """Logits float32 [N, classes] of float32 [N, D].

        They are the votes and margins of svm, the log shares of the neighbours of knn, and the negative residuals of
        src.
        """
        if self.name == "src":
            return _residuals(self, histograms)
        if self.name == "knn":
            return np.log(np.clip(self.estimator.predict_proba(histograms), 1e-3, 1)).astype(np.float32)
        values = self.estimator.decision_function(intersection_kernel(histograms, self.train))
        if values.ndim == 1:  # of two classes scikit-learn gives one value
            values = np.stack([-values, values], axis=1)
        return values.astype(np.float32)


def fit_histogram_head(
    name: str, histograms: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int, neighbours: int = 7
) -> HistogramHead:
    """Fits a classifier on the histograms of the training rows.

    Args:
      name: svm, a support vector machine on intersections, one class against another, whose C is that of the highest
        accuracy in a cross-validation within these rows, of five folds where every class has five groups (the smallest
        of equal ones); knn, the vote of the nearest histograms by Euclidean distance; or src, sparse representation
        (Wright et al. 2009): the class whose training histograms rebuild one best, with codes found by orthogonal
        matching pursuit.
      histograms: float32 [n, D], not negative.
      labels: int [n].
      groups: [n], such as patients: all rows of a group are in one fold of the cross-validation.
      seed: of the cross-validation's folds.
      neighbours: of knn.
    """
    if name == "src":
        return HistogramHead(name, CODED, histograms, labels)
    if name == "knn":
        from sklearn.neighbors import KNeighborsClassifier

        voting = KNeighborsClassifier(neighbours, algorithm="brute").fit(histograms, labels)
        return HistogramHead(name, neighbours, histograms, labels, voting)
    penalty, machine = _fit_svm(intersection_kernel(histograms, histograms), labels, groups, seed)
    return HistogramHead(name, penalty, histograms, labels, machine)


def _fit_svm(kernel: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int) -> tuple[float, Any]:
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.svm import SVC

    right = np.zeros(len(PENALTIES))
    smallest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    splits: Any = ()  # a class of a single group cannot be both fitted and held out: then the smallest C is taken
    if smallest > 1:
        splits = StratifiedGroupKFold(min(5, smallest), shuffle=True, random_state=seed).split(kernel, labels, groups)
    for inner, held in splits:
        for place, penalty in enumerate(PENALTIES):
            machine = SVC(C=penalty, kernel="precomputed").fit(kernel[np.ix_(inner, inner)], labels[inner])
            right[place] += np.sum(machine.predict(kernel[np.ix_(held, inner)]) == labels[held])
    penalty = PENALTIES[int(np.argmax(right))]
    return penalty, SVC(C=penalty, kernel="precomputed", decision_function_shape="ovr").fit(kernel, labels)


def _residuals(head: HistogramHead, histograms: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import orthogonal_mp_gram

    unit = head.train / np.maximum(np.linalg.norm(head.train, axis=1, keepdims=True), 1e-12)
    given = histograms / np.maximum(np.linalg.norm(histograms, axis=1, keepdims=True), 1e-12)
    with warnings.catch_warnings():
        # A code may need fewer histograms than it is allowed: then it ends early, as it should.
        warnings.filterwarnings("ignore", "Orthogonal matching pursuit ended", RuntimeWarning)
        length = min(int(head.setting), len(unit))
        found: Any = orthogonal_mp_gram(unit @ unit.T, unit @ given.T, n_nonzero_coefs=length)
    codes = found.T
    classes = range(int(head.labels.max()) + 1)
    rebuilt = [np.where(head.labels == label, codes, 0) @ unit for label in classes]
    return -np.stack([np.linalg.norm(given - one, axis=1) for one in rebuilt], axis=1).astype(np.float32)
