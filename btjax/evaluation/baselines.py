"""What a classifier has to beat: the class frequencies, and a linear model on coarse pixels.

Both learn from the training rows alone and return logits, so that `classification_report` scores them as it scores a
network. Nothing in them is tuned: the settings are constants of this file, fixed before any test row was seen.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

SIDE = 32
"""Height and width in pixels of what the linear model sees."""

INVERSE_PENALTY = 0.01
"""scikit-learn's C: half the squared norm of the weights is added to C times the summed cross-entropy."""


def class_prior(train_labels: np.ndarray, rows: int, *, classes: int) -> np.ndarray:
    """Logits of the classifier that knows nothing but how common the classes are.

    Args:
      train_labels: int [M].
      rows: N, the number of rows to predict.
      classes: C.

    Returns:
      float64 [N, C], in every row the logarithms of (count + 1) / (M + C), Laplace's rule, finite for a class without
      training rows.
    """
    counts = np.bincount(np.asarray(train_labels), minlength=classes)
    return np.tile(np.log((counts + 1) / (counts.sum() + classes)), (rows, 1))


def linear_model(images_train: np.ndarray, labels_train: np.ndarray, images: np.ndarray, *, classes: int) -> np.ndarray:
    """Logits of multinomial logistic regression on pixels averaged to 32x32 and standardised on the training rows.

    Args:
      images_train: uint8 [M, S, S].
      labels_train: int [M], at least two classes.
      images: uint8 [N, S, S], the rows to predict.
      classes: C.

    Returns:
      float64 [N, C]. A class without training rows gets each row's lowest logit less log(M), so it is never predicted.

    Raises:
      ValueError: fewer than two classes among the training labels.
    """
    labels_train = np.asarray(labels_train)
    return fitted_linear(box_averages(images_train), labels_train, box_averages(images), classes=classes)


# Its products are so small that several threads wait for each other longer than they compute; the bits are the same.
@threadpool_limits.wrap(limits=1, user_api="blas")
def fitted_linear(train: np.ndarray, labels: np.ndarray, features: np.ndarray, *, classes: int) -> np.ndarray:
    """Logits of multinomial logistic regression on features that are standardised on the training rows.

    Args:
      train: float [M, F], the training rows' features.
      labels: int [M], at least two classes.
      features: float [N, F], of the rows to predict.
      classes: C.

    Returns:
      float64 [N, C]. A class without training rows gets each row's lowest logit less log(M), so it is never predicted.

    Raises:
      ValueError: fewer than two classes among the training labels.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    present = np.unique(labels)
    if len(present) < 2:
        raise ValueError(f"the linear model needs training rows of at least two classes, found {len(present)}")
    scaler = StandardScaler()
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(scaler.fit_transform(train), labels)
    scores = model.decision_function(scaler.transform(features))
    if scores.ndim == 1:
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    logits = np.repeat(scores.min(axis=1, keepdims=True) - np.log(len(labels)), classes, axis=1)
    logits[:, present] = scores
    return logits


def box_averages(images: np.ndarray, side: int = SIDE) -> np.ndarray:
    """uint8 [N, S, S] -> float64 [N, side * side] in [0, 1]: the mean of each of side x side equal boxes."""
    small = np.empty((len(images), side, side), np.float32)
    for row, image in enumerate(images):
        # On float32: Pillow rounds uint8 after each of its two passes.
        small[row] = np.asarray(Image.fromarray(image.astype(np.float32)).resize((side, side), Image.Resampling.BOX))
    return small.reshape(len(images), -1) / np.float64(255)
