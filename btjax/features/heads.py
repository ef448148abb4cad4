"""Classical classifiers on frozen features (as Deepak and Ameer 2019 use GoogLeNet's), through scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

HEADS: dict[str, tuple[Callable, tuple]] = {
    "linear_probe": (lambda c: LogisticRegression(C=c, max_iter=2000), (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)),
    "knn": (lambda neighbours: KNeighborsClassifier(neighbours, weights="distance"), (1, 3, 5, 9, 15)),
    "svm": (lambda c: SVC(C=c, kernel="rbf", decision_function_shape="ovr"), (0.1, 1.0, 10.0, 100.0)),
}
"""name -> (classifier of its one setting, the settings tried): multinomial logistic regression by the inverse strength
of its L2 term, nearest neighbours by their number, a support vector machine with radial kernel by its C."""


def fit_head(
    name: str, features: np.ndarray, labels: np.ndarray, train: np.ndarray, validation: np.ndarray
) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """Fits a classifier on standardised features; the setting is chosen by accuracy on the validation rows.

    Args:
      name: a key of `HEADS`.
      features: float32 [N, ...].
      labels: int32 [N], each class among the training rows.
      train: int32 [n], rows to fit.
      validation: int32 [m], rows to choose the setting by; the first of equal ones wins.

    Returns:
      (logits, setting): a function from rows to float32 [rows, classes], log probabilities where the classifier
      gives probabilities and the machine's decision values for `svm`, and the setting that was chosen.
    """
    make, settings = HEADS[name]
    flat = features.reshape(len(features), -1)
    fitted = [make_pipeline(StandardScaler(), make(setting)).fit(flat[train], labels[train]) for setting in settings]
    scores = [model.score(flat[validation], labels[validation]) for model in fitted]
    best = int(np.argmax(scores))

    def logits(rows: np.ndarray) -> np.ndarray:
        if name == "svm":
            values = fitted[best].decision_function(flat[rows])
        else:
            # A vote that nobody cast is rare, not impossible.
            values = np.log(np.clip(fitted[best].predict_proba(flat[rows]), 1e-3, 1))
        return values.astype(np.float32)

    return logits, float(settings[best])
