"""How well the nearest slices of a database share the query's class."""

from __future__ import annotations

import dataclasses

import numpy as np

from btjax.evaluation.estimates import UNKNOWN, Estimate
from btjax.evaluation.intervals import Clusters

CUTS = (1, 10, 20)
"""How many of the nearest slices a precision looks at."""


@dataclasses.dataclass(frozen=True)
class RetrievalScores:
    """What a ranking reaches.

    Attributes:
      queries: how many.
      database: mean number of slices that are ranked.
      average_precision: the mean of the queries' average precisions over the full ranking (mAP), 0 to 1.
      precision: the mean share of the query's class among the nearest "1", "10" and "20".
      by_class: the mean average precision of each class's queries.
      chance: the mean average precision of a random order: the share of the query's class in the database.
    """

    queries: int
    database: float
    average_precision: Estimate
    precision: dict[str, Estimate]
    by_class: dict[str, Estimate]
    chance: float


@dataclasses.dataclass(frozen=True, eq=False)
class Ranked:
    """What each of Q queries got.

    Attributes:
      average_precision: float64 [Q]; NaN where the database has no slice of the query's class.
      precision: name of a cut -> float64 [Q].
      labels: int [Q].
      chance: float64 [Q].
      database: int [Q], how many slices were ranked.
    """

    average_precision: np.ndarray
    precision: dict[int, np.ndarray]
    labels: np.ndarray
    chance: np.ndarray
    database: np.ndarray


def rank(distances: np.ndarray, labels: np.ndarray, database: np.ndarray, allowed: np.ndarray | None = None) -> Ranked:
    """Ranks a database by the distance from each query.

    Args:
      distances: float [Q, M].
      labels: int [Q], of the queries.
      database: int [M], labels of the database.
      allowed: bool [Q, M], which slices stand in a query's database; None for all.

    Example:
      >>> ranked = rank(np.array([[0.1, 0.2, 0.3]]), np.array([1]), np.array([1, 0, 1]))
      >>> round(float(ranked.average_precision[0]), 4), float(ranked.precision[1][0])
      (0.8333, 1.0)
    """
    kept = np.ones(distances.shape, bool) if allowed is None else allowed
    order = np.argsort(np.where(kept, distances, np.inf), axis=1, kind="stable")
    inside = np.take_along_axis(kept, order, axis=1)
    relevant = (database[order] == labels[:, None]) & inside
    found, places = np.cumsum(relevant, axis=1), np.arange(1, distances.shape[1] + 1)
    total = relevant.sum(axis=1)
    with np.errstate(invalid="ignore"):
        mean = (relevant * found / places).sum(axis=1) / np.where(total, total, np.nan)
    sizes = inside.sum(axis=1)
    precision = {cut: found[:, min(cut, found.shape[1]) - 1] / np.maximum(np.minimum(cut, sizes), 1) for cut in CUTS}
    return Ranked(mean, precision, labels, total / np.maximum(sizes, 1), sizes)


def retrieval_scores(ranked: Ranked, clusters: np.ndarray, classes: tuple[str, ...]) -> RetrievalScores:
    """The means over queries, with intervals by `clusters` ([Q], such as families)."""

    def mean(values: np.ndarray, chosen: np.ndarray) -> Estimate:
        kept = chosen & np.isfinite(values)
        if not kept.any():
            return UNKNOWN
        found = Clusters.of(clusters[kept]).mean(values[kept], "share")
        return Estimate(found.value, found.ci95, found.rows, found.clusters)

    everything = np.ones(len(ranked.labels), bool)
    return RetrievalScores(
        queries=len(ranked.labels),
        database=float(ranked.database.mean()),
        average_precision=mean(ranked.average_precision, everything),
        precision={str(cut): mean(values, everything) for cut, values in ranked.precision.items()},
        by_class={name: mean(ranked.average_precision, ranked.labels == label) for label, name in enumerate(classes)},
        chance=float(ranked.chance.mean()),
    )
