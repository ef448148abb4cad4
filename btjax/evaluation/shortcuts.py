"""What a classifier can use instead of the tumour: the border, the size and brightness of the head, the source.

Models of these alone are floors: a network that is hardly better has shown no more than they do. Like the baselines
they learn from the training rows alone, and nothing in them is tuned.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from btjax.evaluation.baselines import box_averages
from btjax.readers.head import head_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

BORDER_SIDE = 64
"""Height and width in pixels at which the border is looked at."""

BORDER = 5
"""Width of the border in these pixels."""

STATISTICS = (
    "mean",
    "standard deviation",
    "10th percentile",
    "median",
    "90th percentile",
    "99th percentile",
    "share of black pixels",
    "top of the head",
    "height of the head",
    "width of the head",
)
"""The ten statistics of `image_statistics`: none says what is where within the head."""

BLACK = 12
"""Grey levels up to this one, of 255, count as black."""

NUMERIC = "numeric"
"""The source of patient ids that begin with no letter."""

MOST_SOURCES = 8
"""Ids that begin in more ways than this name people or places, not sources."""

_TREES = {"n_estimators": 200, "min_samples_leaf": 5, "random_state": 0}


def sources_of(patients: Sequence[str] | np.ndarray) -> np.ndarray:
    """The source of each row, str [N]: the letters that its patient id begins with, or `NUMERIC`.

    Example:
      >>> sources_of(["MR040240B", "100360", "MR7"]).tolist()
      ['MR', 'numeric', 'MR']
    """
    begins = (re.match(r"[^\W\d_]*", str(patient)) for patient in patients)
    return np.array([(found[0] if found else "") or NUMERIC for found in begins], str)


def several_sources(patients: Sequence[str] | np.ndarray | None) -> np.ndarray | None:
    """`sources_of` patients; None where ids are not known, are of one source, or begin in too many ways for sources.

    Example:
      >>> several_sources(["MR1", "7"]).tolist(), several_sources(["7", "8"])
      (['MR', 'numeric'], None)
    """
    if patients is None:
        return None
    sources = sources_of(patients)
    return sources if 1 < len(np.unique(sources)) <= MOST_SOURCES else None


def shrunk(images: np.ndarray) -> np.ndarray:
    """uint8 [N, S, S] -> uint8 [N, 64, 64]: equal boxes averaged; what finds heads in them is fast."""
    levels = np.rint(255 * box_averages(images, BORDER_SIDE)).astype(np.uint8)
    return levels.reshape(-1, BORDER_SIDE, BORDER_SIDE)


def border_pixels(images: np.ndarray) -> np.ndarray:
    """uint8 [N, S, S] -> float64 [N, 1180] in [0, 1]: the outer 5 pixels of each slice at 64 pixels.

    Example:
      >>> border_pixels(np.zeros((2, 128, 128), np.uint8)).shape
      (2, 1180)
    """
    inside = np.zeros((BORDER_SIDE, BORDER_SIDE), bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    return box_averages(images, BORDER_SIDE)[:, ~inside.ravel()]


def head_masks(images: np.ndarray) -> np.ndarray:
    """uint8 [N, S, S] -> bool [N, S, S]: `btjax.readers.head.head_mask` of every slice."""
    return np.stack([head_mask(image) for image in images])


def image_statistics(images: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """The ten `STATISTICS` of every slice.

    Args:
      images: uint8 [N, S, S].
      heads: bool [N, S, S], of `head_masks`; the head's place is that of its bounding box, as shares of S.

    Returns:
      float64 [N, 10]; levels from 0 to 255, shares from 0 to 1.

    Example:
      >>> image = np.zeros((1, 64, 64), np.uint8)
      >>> image[0, 16:48, 8:56] = 200
      >>> dict(zip(STATISTICS, image_statistics(image, image > 0)[0].tolist()))["height of the head"]
      0.5
    """
    count, side = len(images), images.shape[1]
    flat = images.reshape(count, -1)
    levels = np.percentile(flat, [10, 50, 90, 99], axis=1)
    rows: np.ndarray = np.any(heads, axis=2)
    columns: np.ndarray = np.any(heads, axis=1)
    top, bottom = rows.argmax(axis=1), side - rows[:, ::-1].argmax(axis=1)
    left, right = columns.argmax(axis=1), side - columns[:, ::-1].argmax(axis=1)
    black = (flat <= BLACK).mean(axis=1)
    places = [top / side, (bottom - top) / side, (right - left) / side]
    return np.stack([flat.mean(axis=1), flat.std(axis=1), *levels, black, *places], axis=1)


def fitted_forest(train: np.ndarray, labels: np.ndarray, features: np.ndarray, *, classes: int) -> np.ndarray:
    """Logits of a random forest, which needs no scaling and no linear relation.

    Args:
      train: float [M, F], the training rows' features.
      labels: int [M].
      features: float [N, F], of the rows to predict.
      classes: C.

    Returns:
      float64 [N, C], log probabilities; a class without training rows is never predicted.
    """
    from sklearn.ensemble import RandomForestClassifier

    options: dict[str, Any] = _TREES
    model = RandomForestClassifier(**options).fit(train, labels)
    # A class without a single vote is unlikely, not impossible; one without training rows is less likely still.
    logits = np.full((len(features), classes), -np.log(len(labels)) - 50)
    logits[:, model.classes_] = np.log(np.clip(model.predict_proba(features), 1e-4, 1))
    return logits


@threadpool_limits.wrap(limits=1, user_api="blas")  # see `btjax.evaluation.baselines.fitted_linear`
def cross_validated_probe(features: np.ndarray, positive: np.ndarray, groups: np.ndarray, folds: int = 5) -> np.ndarray:
    """How much a linear probe believes each row to be positive, told by rows of other groups alone.

    Logistic regression on standardised features, cross-validated so that a group's rows are predicted by a model that
    saw none of them; groups are spread evenly over the folds by class.

    Args:
      features: float [N, F].
      positive: bool [N].
      groups: [N], what must not be divided, such as families.
      folds: at most; fewer where one side has fewer groups.

    Returns:
      float64 [N], log odds.

    Raises:
      ValueError: a side with fewer than two groups.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = min(folds, *(len(np.unique(groups[positive == side])) for side in (True, False)))
    if folds < 2:
        raise ValueError("a probe needs at least two groups on each side")
    values = np.zeros(len(features))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for train, test in splitter.split(features, positive, groups):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000))
        values[test] = probe.fit(features[train], positive[train]).decision_function(features[test])
    return values
