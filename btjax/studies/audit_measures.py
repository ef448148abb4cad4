"""The parts of an audit: each a function of the pooled test rows, which `btjax.studies.audit` puts together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from btjax.evaluation import estimates
from btjax.evaluation.parts import GroupRow, SourceRow
from btjax.evaluation.shortcuts import cross_validated_probe
from btjax.studies.audit_rows import (
    AloneRow,
    AreaRow,
    FloorRow,
    LabelCheck,
    Leaks,
    ProbeRow,
    RecallGap,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.data.splits import Split
    from btjax.evaluation.estimates import Estimate
    from btjax.readers.slices import Slices

ALL = "all"


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """The tested rows of all runs, one after the other; R in all.

    Attributes:
      rows: int [R], row numbers of the data set.
      labels: int [R].
      logits: float [R, C] of the audited model.
      clusters: str or int [R], what the intervals go by.
      classes: C names.
      sources: str [R], or None.
      groups: source, plane and size -> str [R]; only those that are known.
    """

    rows: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    clusters: np.ndarray
    classes: tuple[str, ...]
    sources: np.ndarray | None
    groups: Mapping[str, np.ndarray]

    @property
    def predictions(self) -> np.ndarray:
        """The class of the highest logit, int [R]."""
        return self.logits.argmax(axis=1)

    @property
    def right(self) -> np.ndarray:
        """Which rows are recognised, bool [R]."""
        return self.predictions == self.labels

    def mean(self, chosen: np.ndarray) -> Estimate:
        """The share of the chosen rows (bool [R]) that are recognised."""
        return estimates.share(self.right[chosen], self.clusters[chosen])

    def balanced(self, logits: np.ndarray, chosen: np.ndarray | None = None) -> Estimate:
        """The balanced accuracy of logits [R, C], on the chosen rows (bool [R])."""
        rows = np.ones(len(self.rows), bool) if chosen is None else chosen
        return estimates.balanced_accuracy(logits[rows].argmax(axis=1), self.labels[rows], self.clusters[rows])


def values_of(column: np.ndarray, first: Sequence[str] = ()) -> list[str]:
    """The different values of a column, those in `first` before the others."""
    found = [str(value) for value in np.unique(column)]
    return [value for value in first if value in found] + [value for value in found if value not in first]


def group_rows(pool: Pool) -> tuple[GroupRow, ...]:
    """Accuracy and recall of all rows, then by each group."""
    everything = {ALL: np.full(len(pool.rows), ALL)}
    rows = []
    for group, column in {**everything, **pool.groups}.items():
        for value in values_of(column, ("small", "medium", "large")):
            chosen = column == value
            recall = {name: pool.mean(chosen & (pool.labels == index)) for index, name in enumerate(pool.classes)}
            rows.append(GroupRow(group, value, int(chosen.sum()), pool.mean(chosen), recall))
    return tuple(rows)


def recall_gaps(pool: Pool) -> tuple[RecallGap, ...]:
    """How recall differs between the parts of each group; of two parts only the first is compared with the rest."""
    gaps = []
    for group, column in pool.groups.items():
        for index, name in enumerate(pool.classes):
            rows = pool.labels == index
            values = values_of(column[rows], ("small", "medium", "large"))
            for value in values[:1] if len(values) == 2 else values if len(values) > 2 else ():
                chosen = column[rows] == value
                gap = estimates.contrast(pool.right[rows], chosen, pool.clusters[rows])
                here, there = pool.mean(rows & (column == value)), pool.mean(rows & (column != value))
                gaps.append(RecallGap(group, value, name, here, there, gap))
    return tuple(gaps)


def source_rows(slices: Slices, sources: np.ndarray) -> tuple[SourceRow, ...]:
    """Slices and patients of each class by source, over the whole data set."""
    rows = []
    patients = slices.ids if slices.patients is None else slices.patients
    for source in values_of(sources):
        chosen = {name: (sources == source) & (slices.labels == index) for index, name in enumerate(slices.classes)}
        counts = {name: int(mask.sum()) for name, mask in chosen.items()}
        rows.append(SourceRow(source, counts, {name: len(np.unique(patients[mask])) for name, mask in chosen.items()}))
    return tuple(rows)


def alone_rows(pool: Pool, linear_all: np.ndarray, linear_alone: Mapping[str, np.ndarray]) -> tuple[AloneRow, ...]:
    """Each source with several classes by itself.

    Args:
      pool: the tested rows.
      linear_all: float [R, C], logits of the linear model of every source.
      linear_alone: source -> float [R, C], of the linear model of that source alone.
    """
    if pool.sources is None:
        return ()
    rows = []
    for source, logits in linear_alone.items():
        chosen = pool.sources == source
        classes = len(np.unique(pool.labels[chosen]))
        if classes > 1:
            three = (pool.balanced(one, chosen) for one in (pool.logits, linear_all, logits))
            rows.append(AloneRow(source, *three, chance=1 / classes))
    return tuple(rows)


def floor_rows(pool: Pool, floors: Mapping[str, np.ndarray]) -> tuple[FloorRow, ...]:
    """Each floor (name -> logits [R, C]) beside the model."""
    rows = []
    for name, logits in floors.items():
        right = logits.argmax(axis=1) == pool.labels
        behind = estimates.difference(pool.right, right, pool.clusters)
        rows.append(FloorRow(name, estimates.share(right, pool.clusters), pool.balanced(logits), behind))
    return tuple(rows)


def area_rows(pool: Pool, border: np.ndarray) -> tuple[AreaRow, ...]:
    """Each class against the rest, by plane and by the source of the class's rows; `border` is float [R, C]."""
    rows = []
    planes = pool.groups.get("plane")
    for index, name in enumerate(pool.classes):
        positive = pool.labels == index
        sources = [ALL]
        if pool.sources is not None and len(found := values_of(pool.sources[positive])) > 1:
            sources += found
        for plane in [ALL, *([] if planes is None else values_of(planes))]:
            within = np.ones(len(pool.rows), bool) if plane == ALL or planes is None else planes == plane
            for source in sources:
                chosen = (
                    within if source == ALL or pool.sources is None else within & (~positive | (pool.sources == source))
                )
                two = (_area(logits, index, positive, chosen, pool.clusters) for logits in (border, pool.logits))
                rows.append(AreaRow(name, plane, source, *two))
    return tuple(rows)


def _area(logits: np.ndarray, index: int, positive: np.ndarray, chosen: np.ndarray, clusters: np.ndarray) -> Estimate:
    from scipy.special import logsumexp

    scores = logits[chosen, index] - logsumexp(np.delete(logits[chosen], index, axis=1), axis=1)
    return estimates.area(scores, positive[chosen], clusters[chosen])


def probe_rows(
    slices: Slices, sources: np.ndarray, clusters: np.ndarray, features: Sequence[np.ndarray], border: np.ndarray
) -> tuple[ProbeRow, ...]:
    """How well each source is told, over all rows and within each class that several sources have.

    Args:
      slices: the data set, N rows.
      sources: str [N].
      clusters: [N], what probes and intervals keep together.
      features: of each run, float [N, F]; what probes of several runs say is pooled.
      border: float [N, P], the border's pixels.
    """
    rows, found = [], values_of(sources)
    for source in found[:1] if len(found) == 2 else found:
        parts = {ALL: np.ones(len(slices), bool)}
        parts |= {name: slices.labels == index for index, name in enumerate(slices.classes)}
        for within, chosen in parts.items():
            positive = sources[chosen] == source
            if min(len(np.unique(clusters[chosen][positive == side])) for side in (True, False)) < 5:
                continue  # too few to train and to test a probe on
            told = [_probe(one[chosen], positive, clusters[chosen]) for one in (*features, border)]
            pooled = np.concatenate(told[:-1]) if features else told[-1]
            times = max(1, len(features))
            repeated = np.tile(positive, times), np.tile(clusters[chosen], times)
            of_features = estimates.area(pooled, *repeated) if features else estimates.UNKNOWN
            rows.append(ProbeRow(source, within, of_features, estimates.area(told[-1], positive, clusters[chosen])))
    return tuple(rows)


def _probe(features: np.ndarray, positive: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    flat = np.asarray(features, np.float64).reshape(len(features), -1)
    return cross_validated_probe(flat, positive, clusters)


def leaks_of(pool: Pool, slices: Slices, splits: Sequence[Split]) -> Leaks:
    """What tested rows share with the rows that their model was trained or chosen on."""
    shared: dict[str, list[np.ndarray]] = {"patients": [], "families": [], "links": [], "copies": []}
    for split in splits:
        seen = np.concatenate([split.train, split.validation])
        columns = {name: getattr(slices, name) for name in ("patients", "families", "links")}
        for name, column in {**columns, "copies": slices.digests}.items():
            if column is not None:
                shared[name].append(np.isin(column[split.test], column[seen]))
    found = {name: np.concatenate(parts) if parts else None for name, parts in shared.items()}
    counts = {name: None if one is None else int(one.sum()) for name, one in found.items()}
    known = next(one for name in ("families", "links", "copies") if (one := found[name]) is not None)
    return Leaks(
        rows=len(pool.rows),
        copies=counts["copies"] or 0,
        patients=counts["patients"],
        families=counts["families"],
        links=counts["links"],
        known=pool.mean(known),
        unknown=pool.mean(~known),
        gap=estimates.contrast(pool.right, known, pool.clusters),
    )


def label_check(pool: Pool, slices: Slices, linear: np.ndarray, training: float | None) -> LabelCheck:
    """Whether labels go with the pixels; `linear` are the linear model's logits [R, C]."""
    mixed = several = None
    names = slices.links if slices.patients is None else slices.patients
    if names is not None and slices.labels is not None:
        numbers = np.unique(names, return_inverse=True)[1]
        classes = np.unique(np.stack([numbers, slices.labels]), axis=1)[0]
        sizes = np.bincount(numbers)
        mixed, several = int(np.sum(np.bincount(classes) > 1)), int(np.sum(sizes > 1))
    chance = 1 / len(np.unique(pool.labels))
    return LabelCheck(pool.balanced(pool.logits), pool.balanced(linear), chance, training, mixed, several)
