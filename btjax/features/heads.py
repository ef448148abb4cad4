"""Classical classifiers on frozen features (as Deepak and Ameer 2019 use GoogLeNet's), through scikit-learn."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.errors import InputError, foreign
from btjax.base.objects import load_objects, save_objects

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable


def _linear_probe(inverse_strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=inverse_strength, max_iter=2000)


def _knn(neighbours: float) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(int(neighbours), weights="distance", algorithm="brute")


def _svm(c: float) -> Any:
    from sklearn.svm import SVC

    return SVC(C=c, kernel="rbf", decision_function_shape="ovr")


HEADS: dict[str, tuple[Callable[[float], Any], tuple[float, ...]]] = {
    "linear_probe": (_linear_probe, (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)),
    "knn": (_knn, (1, 3, 5, 9, 15)),
    "svm": (_svm, (0.1, 1.0, 10.0, 100.0)),
}
"""Each classifier by its name, with the settings that are tried.

`linear_probe` is multinomial logistic regression; its setting is the inverse strength of the L2 term. `knn` is nearest
neighbours, weighted by distance; its setting is their number. `svm` is a support vector machine with a radial kernel;
its setting is C.
"""

WEIGHTED = ("linear_probe", "svm")
"""The classifiers whose loss can weigh classes: a nearest neighbour has none."""


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """A fitted classifier.

    Attributes:
      name: a key of `HEADS`.
      setting: the one of its settings that the validation rows chose.
      pipeline: scikit-learn's standardisation and classifier.
    """

    name: str
    setting: float
    pipeline: Any

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Logits float32 [N, classes] of features float32 [N, ...].

        They are log probabilities where the classifier gives probabilities, and the decision values of `svm`.
        """
        flat = features.reshape(len(features), -1)
        if self.name == "svm":
            values = self.pipeline.decision_function(flat)
            if values.ndim == 1:  # of two classes scikit-learn gives one value
                values = np.stack([-values, values], axis=1)
        else:
            values = self.pipeline.predict_proba(flat)
            # A class without a single vote is unlikely, not impossible.
            values = np.log(np.clip(values, 1e-3 if self.name == "knn" else np.finfo(np.float64).tiny, 1))
        return values.astype(np.float32)

    def save(self, path: pathlib.Path) -> None:
        """Writes the classifier, complete or not at all; see `btjax.base.objects`."""
        save_objects(path, {"name": self.name, "setting": self.setting, "pipeline": self.pipeline})


def load_head(path: pathlib.Path) -> Head:
    """Reads what `Head.save` wrote.

    Raises:
      InputError: there is none, or it is damaged or holds other types.
    """
    content = load_objects(path, "a fitted head")
    with foreign(f"{path}: damaged, or not written by btjax"):
        head = Head(content["name"], float(content["setting"]), content["pipeline"])
    if head.name not in HEADS:
        raise InputError(f"{path}: head {head.name!r}, expected one of {', '.join(HEADS)}")
    return head


def check_weights(name: str, class_weights: str) -> None:
    """Raises InputError where a classifier of this name cannot weigh classes."""
    if class_weights != "none" and name in HEADS and name not in WEIGHTED:
        raise InputError(f"--class_weights={class_weights}: --head={name} has no loss to weigh, expected none")


def fit_head(
    name: str,
    features: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    *,
    class_weights: str = "none",
) -> Head:
    """Fits a classifier on standardised features; its setting is chosen by accuracy on the validation rows.

    Args:
      name: a key of `HEADS`.
      features: float32 [N, ...].
      labels: int32 [N]; every class has training rows.
      train: int32 [n], rows to fit.
      validation: int32 [m], rows that choose the setting, by plain accuracy; of equal ones the first.
      class_weights: none, or balanced: scikit-learn's weights of the training rows' classes.

    Raises:
      InputError: weights for a classifier without a loss.

    Example:
      >>> features = np.eye(3, dtype=np.float32)[np.arange(30) % 3]
      >>> head = fit_head("knn", features, np.arange(30) % 3, np.arange(20), np.arange(20, 30))
      >>> head.setting, head.logits(features[:2]).argmax(axis=1).tolist()
      (1.0, [0, 1])
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    check_weights(name, class_weights)
    make, settings = HEADS[name]
    flat = features.reshape(len(features), -1)
    weights = {} if class_weights == "none" else {"class_weight": class_weights}
    classifiers = [make(setting).set_params(**weights) for setting in settings]
    fitted = [make_pipeline(StandardScaler(), one).fit(flat[train], labels[train]) for one in classifiers]
    scores = [pipeline.score(flat[validation], labels[validation]) for pipeline in fitted]
    best = int(np.argmax(scores))
    return Head(name, float(settings[best]), fitted[best])
