"""How well predicted outlines of tumours agree with the true ones."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.rows import rows_in_part
from btjax.evaluation import estimates
from btjax.evaluation.estimates import Estimate
from btjax.evaluation.intervals import METHOD, Clusters, IntervalSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.base.rows import LazyRows


@dataclasses.dataclass(frozen=True)
class OutlineScores:
    """Scores of a group of slices, each with its 95% interval.

    Attributes:
      slices: the number of slices.
      dice: mean over slices of the Dice coefficient, 2 |A & B| / (|A| + |B|); 1 where both outlines are empty, 0 where
        one of them is.
      recall: share of the tumour's pixels that lie inside the outline, of all slices together.
      precision: share of the outline's pixels that are tumour, of all slices together.
      pointing: share of the slices with a tumour whose most certain pixel lies in it.
      empty: share of slices without any outline.
    """

    slices: int
    dice: Estimate
    recall: Estimate
    precision: Estimate
    pointing: Estimate
    empty: Estimate


@dataclasses.dataclass(frozen=True)
class SegmentationScores(OutlineScores):
    """Scores of one side of a split.

    Attributes:
      patients: the number of patients, or None where no ids exist.
      by_class: the scores of each class's slices, in the order of the classes; of a class without slices none.
      interval: how the intervals were computed.
    """

    patients: int | None
    by_class: dict[str, OutlineScores]
    interval: IntervalSettings


@dataclasses.dataclass(frozen=True, eq=False)
class Compared:
    """Predicted outlines beside true ones, slice by slice.

    Attributes:
      shared: int64 [N], pixels in both.
      outlined: int64 [N], pixels in the predicted outline.
      tumour: int64 [N], pixels in the true one.
      pointed: bool [N], whether the most certain pixel lies in the true one.
    """

    shared: np.ndarray
    outlined: np.ndarray
    tumour: np.ndarray
    pointed: np.ndarray

    @staticmethod
    def of(outlines: np.ndarray, masks: np.ndarray | LazyRows, points: np.ndarray) -> Compared:
        """Compares outlines with masks, bool [N, S, S] each; points int [N, 2] are row and column of a pixel.

        Masks that are read from files are read in parts.

        Raises:
          ValueError: arrays that do not belong together.

        Example:
          >>> mask = np.eye(4, dtype=bool)[None]
          >>> Compared.of(mask, mask, np.array([[1, 1]])).dice.tolist()
          [1.0]
        """
        if outlines.shape != masks.shape or points.shape != (len(masks), 2):
            raise ValueError(f"outlines {outlines.shape}, masks {masks.shape} and points {points.shape} do not agree")
        shared, outlined, tumour = np.zeros((3, len(masks)), np.int64)
        pointed, some = np.zeros(len(masks), bool), rows_in_part(masks)
        for first in range(0, len(masks), some):
            rows = slice(first, first + some)
            own, true, (down, right) = outlines[rows], masks[rows], points[rows].T
            shared[rows], outlined[rows], tumour[rows] = (one.sum(axis=(1, 2)) for one in (own & true, own, true))
            pointed[rows] = true[np.arange(len(true)), down, right]
        return Compared(shared, outlined, tumour, pointed)

    @staticmethod
    def together(parts: Sequence[Compared]) -> Compared:
        """The slices of all parts, at least one, in their order."""
        names = [field.name for field in dataclasses.fields(Compared)]
        return Compared(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def __len__(self) -> int:
        return len(self.shared)

    @property
    def dice(self) -> np.ndarray:
        """float64 [N]: the Dice coefficient of each slice; 1 where both outlines are empty."""
        sizes = self.outlined + self.tumour
        return np.where(sizes == 0, 1.0, 2 * self.shared / np.maximum(sizes, 1))

    def scores(self, clusters: np.ndarray) -> OutlineScores:
        """The scores of all slices, with intervals by cluster ([N], names or numbers)."""
        shown = self.tumour > 0
        return OutlineScores(
            slices=len(self),
            dice=estimates.mean(self.dice, clusters),
            recall=estimates.pooled(self.shared, self.tumour, clusters),
            precision=estimates.pooled(self.shared, self.outlined, clusters),
            pointing=estimates.share(self.pointed[shown], clusters[shown]),
            empty=estimates.share(self.outlined == 0, clusters),
        )

    def take(self, rows: np.ndarray) -> Compared:
        """The slices of some rows (bool [N] or row numbers)."""
        return Compared(self.shared[rows], self.outlined[rows], self.tumour[rows], self.pointed[rows])


def segmentation_scores(
    compared: Compared,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    clusters: np.ndarray | None = None,
    unit: str = "slice",
    patients: np.ndarray | None = None,
) -> SegmentationScores:
    """Scores of one side of a split, of all slices and of each class.

    Args:
      compared: its slices, N at least 1.
      labels: int [N].
      classes: their names.
      clusters: [N], what varies together, such as the patients; None for independent slices.
      unit: what a cluster is, in words.
      patients: str [N], or None where no ids exist.
    """
    clusters = np.arange(len(compared)) if clusters is None else clusters
    overall = compared.scores(clusters)
    members = {name: labels == label for label, name in enumerate(classes)}
    return SegmentationScores(
        **{field.name: getattr(overall, field.name) for field in dataclasses.fields(overall)},
        patients=None if patients is None else len(np.unique(patients)),
        by_class={name: compared.take(rows).scores(clusters[rows]) for name, rows in members.items() if rows.any()},
        interval=IntervalSettings(METHOD, unit, Clusters.of(clusters).units),
    )
