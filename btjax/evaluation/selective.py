"""What a classifier scores if it may abstain: it answers where it is surest, and leaves the rest to others.

Reference: Geifman and El-Yaniv, Selective classification for deep neural networks, NeurIPS 2017.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from btjax.evaluation.intervals import Carriers, Clusters, Interval, interval
from btjax.evaluation.metrics import log_odds

if TYPE_CHECKING:
    from btjax.evaluation.labelled import Labelled

ANSWERED = 0.8
"""The share of rows of which `Selective.accuracy` is told."""

_POINTS = 50


@dataclasses.dataclass(frozen=True)
class Selective:
    """A classifier that answers only its surest rows.

    Attributes:
      aurc: area under the risk-coverage curve: the mean error over all shares of rows answered, in [0, 1], 0 is best.
      answered: a share of rows, the surest.
      accuracy: on these, with its interval at the confidence that divides them from the others.
      coverage: shares of rows answered, ascending to 1.
      risk: the error on each share.
    """

    aurc: float
    aurc_ci95: Interval | None
    answered: float
    accuracy: float
    accuracy_ci95: Interval | None
    coverage: tuple[float, ...]
    risk: tuple[float, ...]


def risks(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """The error of the 1, 2, ... N surest rows; rows of equal confidence share their errors.

    Args:
      confidence: float [N].
      correct: bool [N].

    Returns:
      float64 [N].

    Example:
      >>> import numpy as np
      >>> risks(np.array([0.9, 0.8, 0.7]), np.array([True, True, False])).round(3).tolist()
      [0.0, 0.0, 0.333]
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = np.unique(-confidence[order], return_inverse=True)[1]
    errors = np.bincount(ranked, weights=~correct[order]) / np.bincount(ranked)
    return np.cumsum(errors[ranked]) / np.arange(1, len(order) + 1)


def selective_report(scored: Labelled, answered: float = ANSWERED) -> Selective:
    """Measures a classifier that abstains where its most probable class is least probable.

    Args:
      scored: rows that chose nothing.
      answered: the share of rows to answer, in (0, 1].
    """
    confidence, correct, clusters = log_odds(scored.logits).max(axis=1), scored.correct, scored.clusters
    curve = risks(confidence, correct)
    left_out = np.full(clusters.units, np.nan)
    if clusters.units > 1:
        for cluster in range(clusters.units):
            kept = clusters.numbers != cluster
            left_out[cluster] = risks(confidence[kept], correct[kept]).mean()
    area, carriers = float(curve.mean()), Carriers.of(clusters.sizes)
    surest = np.argsort(-confidence, kind="stable")[: max(1, round(answered * len(scored)))]
    accuracy = Clusters.of(clusters.numbers[surest]).mean(correct[surest], "share")
    places = np.unique(np.ceil(np.linspace(0, 1, _POINTS + 1)[1:] * len(curve)).astype(np.int64)) - 1
    return Selective(
        aurc=area,
        aurc_ci95=interval(area, left_out, carriers, scale="share", counted=False),
        answered=answered,
        accuracy=accuracy.value,
        accuracy_ci95=accuracy.ci95,
        coverage=tuple(float(place) for place in (places + 1) / len(curve)),
        risk=tuple(float(error) for error in curve[places]),
    )
