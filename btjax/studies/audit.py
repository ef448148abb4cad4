"""Does a classifier use the source, the border or the size instead of the tumour? An audit of tested predictions."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from btjax.data.splits import Split
from btjax.evaluation.baselines import box_averages, class_prior, fitted_linear
from btjax.evaluation.shortcuts import (
    MOST_SOURCES,
    border_pixels,
    fitted_forest,
    head_masks,
    image_statistics,
    shrunk,
    sources_of,
)
from btjax.studies.audit_flags import flags_of
from btjax.studies.audit_measures import (
    Pool,
    alone_rows,
    area_rows,
    floor_rows,
    group_rows,
    label_check,
    leaks_of,
    probe_rows,
    recall_gaps,
    source_rows,
)
from btjax.studies.audit_rows import SCHEMA, Audit, ProbeRow
from btjax.studies.saliency_tables import lesion_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.readers.slices import Slices
    from btjax.runs.predictions import Predictions

PROBED_RUNS = 5
"""The features of at most so many runs are probed: more say no more and take time."""


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What a model said of the test rows of a split.

    Attributes:
      split: the split that it was trained under.
      logits: float [T, C], of the rows `split.test`, in their order.
      training: its balanced accuracy on its training rows, or None.
      features: float [N, ...] of its penultimate stage for every row of the data set, or None.
      head_only: float [T, C], its logits of the test rows with everything outside the head blacked, or None.
    """

    split: Split
    logits: np.ndarray
    training: float | None = None
    features: np.ndarray | None = None
    head_only: np.ndarray | None = None

    def __post_init__(self):
        rows = len(self.split.test)
        for name in ("logits", "head_only"):
            array = getattr(self, name)
            if array is not None and (array.ndim != 2 or len(array) != rows):
                raise ValueError(f"Outcome.{name} is {array.shape}, expected [{rows}, C], one for each test row")

    @staticmethod
    def of(
        predictions: Predictions,
        split: Split,
        *,
        features: np.ndarray | None = None,
        head_only: np.ndarray | None = None,
    ) -> Outcome:
        """The test rows of a run's predictions, which are in the order of the data set; the others as above.

        Raises:
          ValueError: predictions whose test rows are not the split's.
        """
        if not np.array_equal(np.flatnonzero(predictions.sides == "test"), split.test):
            raise ValueError("the predictions' test rows are not the split's")
        train = predictions.side("train")
        right = train.logits.argmax(axis=1) == train.labels
        recalls = [right[train.labels == label].mean() for label in np.unique(train.labels)]
        return Outcome(split, predictions.logits[split.test], float(np.mean(recalls)), features, head_only)


class FloorModels:
    """Models of something else than the tumour, on one data set; what was prepared and fitted is kept in memory."""

    def __init__(self, slices: Slices) -> None:
        """Prepares the features of every slice: its border, its statistics, its coarse pixels with and without air."""
        if slices.labels is None:
            raise ValueError("floors are fitted to the slices' labels, which are not known")
        small = shrunk(slices.images)
        heads = head_masks(small)
        self._labels, self._classes = slices.labels, len(slices.classes)
        self.border = border_pixels(slices.images)
        self._statistics = image_statistics(small, heads)
        self._pixels = box_averages(slices.images)
        self._head_pixels = box_averages(np.where(heads, small, np.uint8(0)))
        self._fitted: dict[str, dict[str, np.ndarray]] = {}
        self._of_sources: dict[tuple[str, str], np.ndarray | None] = {}

    def logits(self, split: Split) -> dict[str, np.ndarray]:
        """Name -> float64 [T, C], of the test rows of a split."""
        key = split.fingerprint
        if key not in self._fitted:
            train, labels, test, kept = split.train, self._labels, split.test, {"classes": self._classes}
            features = {
                "border": (fitted_linear, self.border),
                "statistics": (fitted_forest, self._statistics),
                "linear_model": (fitted_linear, self._pixels),
                "linear_head_only": (fitted_linear, self._head_pixels),
            }
            found = {"class_prior": class_prior(labels[train], len(test), **kept)}
            found |= {name: fit(x[train], labels[train], x[test], **kept) for name, (fit, x) in features.items()}
            self._fitted[key] = found
        return self._fitted[key]

    def linear_of_source(self, split: Split, sources: np.ndarray, source: str) -> np.ndarray | None:
        """float64 [T, C] of the linear model that learned from one source's training rows; None of one class alone."""
        key = split.fingerprint, source
        if key not in self._of_sources:
            train = split.train[sources[split.train] == source]
            labels, found = self._labels[train], None
            if len(np.unique(labels)) > 1:
                found = fitted_linear(self._pixels[train], labels, self._pixels[split.test], classes=self._classes)
            self._of_sources[key] = found
        return self._of_sources[key]


@functools.lru_cache(maxsize=1)
def floor_models(slices: Slices) -> FloorModels:
    """The floors of a data set, kept for the next audit of the same `Slices` object."""
    return FloorModels(slices)


def audit(slices: Slices, tested: Sequence[Outcome], *, title: str = "") -> Audit:
    """Measures what else than the tumour could explain a model's accuracy, and says what does.

    Intervals go by families of patient ids, else groups of linked slices, else slices.

    Args:
      slices: the data set, with labels.
      tested: what the model said, a fold each; folds and seeds are pooled. All splits are of these slices.
      title: names what was audited.

    Returns:
      The audit; parts that the data set does not allow are named in `left_out`.

    Raises:
      ValueError: nothing was tested, slices without labels, or logits of other classes.

    Example:
      >>> from btjax.data.phantom import make_phantom
      >>> from btjax.data.splits import make_split
      >>> slices = make_phantom(8, 3, 32)
      >>> split = make_split(slices, "slice", fold=0, folds=4)
      >>> logits = np.eye(3)[slices.labels[split.test]]
      >>> "leak" in [flag.name for flag in audit(slices, [Outcome(split, logits)]).flags]
      True
    """
    if not tested:
        raise ValueError("nothing was tested, expected at least one split with its predictions")
    if slices.labels is None:
        raise ValueError("an audit needs the labels of the slices")
    left_out: dict[str, str] = {}
    sources, clusters, unit = _sources(slices, left_out), *_clusters(slices)
    pool, models = _pool(slices, tested, sources, clusters, left_out), floor_models(slices)
    floors = _joined([models.logits(one.split) for one in tested])
    head_only = [one.head_only for one in tested if one.head_only is not None]
    shown = {**floors, "model_head_only": np.concatenate(head_only)} if len(head_only) == len(tested) else floors
    training = [one.training for one in tested if one.training is not None]
    found = Audit(
        schema=SCHEMA,
        title=title,
        protocols=tuple(dict.fromkeys(one.split.protocol for one in tested)),
        classes=slices.classes,
        runs=len(tested),
        rows=len(pool.rows),
        unit=unit,
        units=len(np.unique(pool.clusters)),
        accuracy=pool.mean(np.ones(len(pool.rows), bool)),
        balanced_accuracy=pool.balanced(pool.logits),
        groups=group_rows(pool),
        gaps=recall_gaps(pool),
        sources=() if sources is None else source_rows(slices, sources),
        alone=() if sources is None else alone_rows(pool, floors["linear_model"], _alone(models, tested, sources)),
        floors=floor_rows(pool, shown),
        areas=area_rows(pool, floors["border"]),
        probes=_probes(slices, tested, sources, clusters, left_out),
        leaks=leaks_of(pool, slices, [one.split for one in tested]),
        labels=label_check(pool, slices, floors["linear_model"], float(np.mean(training)) if training else None),
        flags=(),
        left_out=left_out,
    )
    return dataclasses.replace(found, flags=flags_of(found))


def _joined(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _clusters(slices: Slices) -> tuple[np.ndarray, str]:
    """What the intervals go by, of every row, and its name."""
    known = (("family", slices.families), ("group", slices.links), ("slice", np.arange(len(slices))))
    unit, names = next((unit, column) for unit, column in known if column is not None)
    return np.unique(names, return_inverse=True)[1], unit  # numbers are compared faster than names


def _sources(slices: Slices, left_out: dict[str, str]) -> np.ndarray | None:
    """The source of every row; None, with the reason, where ids do not tell several."""
    if slices.patients is None:
        left_out["source"] = "the data set has no patient ids, from which sources are told"
        return None
    sources = sources_of(slices.patients)
    found = np.unique(sources)
    if len(found) == 1:
        left_out["source"] = f"all patient ids are of one source ({found[0]})"
    elif len(found) > MOST_SOURCES:
        left_out["source"] = f"patient ids begin in {len(found)} ways: these are names, not sources"
    return sources if 1 < len(found) <= MOST_SOURCES else None


def _pool(
    slices: Slices,
    tested: Sequence[Outcome],
    sources: np.ndarray | None,
    clusters: np.ndarray,
    left_out: dict[str, str],
) -> Pool:
    """The test rows of all runs, with what divides them."""
    logits, rows = np.concatenate([one.logits for one in tested]), np.concatenate([one.split.test for one in tested])
    if slices.labels is None or logits.shape[1] != len(slices.classes):
        raise ValueError(f"logits of {logits.shape[1]} classes, the slices have {len(slices.classes)}")
    groups: dict[str, np.ndarray] = {} if sources is None else {"source": sources[rows]}
    if slices.planes is None:
        left_out["plane"] = "planes are not known"
    else:
        groups["plane"] = slices.planes[rows]
    if slices.masks is None:
        left_out["size"] = "the data set has no tumour masks"
    else:
        shares = slices.masks.mean(axis=(1, 2))
        drawn = shares > 0  # a mask without a pixel is a tumour that nobody outlined
        sizes = np.full(len(slices), "not outlined")
        sizes[drawn] = lesion_sizes(shares[drawn])[0]
        groups["size"] = sizes[rows]
    of_rows = None if sources is None else sources[rows]
    return Pool(rows, slices.labels[rows], logits, clusters[rows], slices.classes, of_rows, groups)


def _alone(models: FloorModels, tested: Sequence[Outcome], sources: np.ndarray) -> dict[str, np.ndarray]:
    """Source -> logits [R, C] of the linear model of that source alone, where every split has two classes of it."""
    found = {}
    for source in np.unique(sources).tolist():
        parts = [models.linear_of_source(one.split, sources, source) for one in tested]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            found[source] = np.concatenate(known)
    return found


def _probes(
    slices: Slices,
    tested: Sequence[Outcome],
    sources: np.ndarray | None,
    clusters: np.ndarray,
    left_out: dict[str, str],
) -> tuple[ProbeRow, ...]:
    """The probes, where there are several sources; without features those of the border alone."""
    if sources is None:
        return ()
    features = [one.features for one in tested if one.features is not None][:PROBED_RUNS]
    if not features:
        left_out["features"] = "the models' features were not given: the source is probed in the border alone"
    return probe_rows(slices, sources, clusters, features, floor_models(slices).border)
