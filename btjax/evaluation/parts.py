"""Scores by part of the tested rows, such as the source or the plane, and what each source holds."""

from __future__ import annotations

import dataclasses

from btjax.evaluation.estimates import Estimate


@dataclasses.dataclass(frozen=True)
class GroupRow:
    """The model's accuracy and recalls on a part of the tested rows.

    Attributes:
      group: what divides the rows: all, source, plane or size (thirds of the tumour's share of the slice).
      value: the part, such as MR, axial or small.
      rows: tested rows in it.
      accuracy: on these rows.
      recall: class -> share of its rows in this part that are recognised.
    """

    group: str
    value: str
    rows: int
    accuracy: Estimate
    recall: dict[str, Estimate]


@dataclasses.dataclass(frozen=True)
class SourceRow:
    """How many slices and patients of each class a source has in the whole data set."""

    source: str
    slices: dict[str, int]
    patients: dict[str, int]
