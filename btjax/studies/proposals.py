"""Maps as region proposals: how often a tumour's box is among the first that a map proposes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from btjax.base.batches import in_batches
from btjax.base.errors import InputError
from btjax.base.keys import random_key
from btjax.evaluation import estimates
from btjax.evaluation.estimates import Estimate
from btjax.runs.outlines import Found, Outlines
from btjax.runs.report import SCHEMA
from btjax.saliency.boxes import box_masks, box_overlap, centre_boxes, mask_boxes, propose, random_boxes
from btjax.saliency.controls import head
from btjax.saliency.maps import attribution_maps
from btjax.studies.maps import let_programs_go
from btjax.studies.saliency import settings
from btjax.studies.subject import predicted_classes
from btjax.systems.system import find_system

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from btjax.saliency.methods import Method
    from btjax.studies.maps import Maps
    from btjax.studies.subject import SaliencyConfig, Subject

COUNTS = (1, 5, 10)
"""How many of the first boxes are looked at."""

CENTRE = "centre_boxes"
"""The control whose boxes are about the mean middle of known tumours."""

OVERLAPS = (0.3, 0.5)
"""Intersections over union from which on a tumour counts as found."""


@dataclasses.dataclass(frozen=True)
class RecallRow:
    """How often a tumour is found.

    Attributes:
      source: a saliency method, or a control: random_boxes, centre_boxes.
      control: whether it is a control.
      group: "all", or a class.
      count: boxes that are looked at.
      overlap: intersection over union from which on a tumour is found.
      recall: share of the slices whose tumour is found by one of the boxes.
      over_control: of a method, its recall less that of the better control, on the same slices; None of a control.
      better_control: its name; empty of a control.
    """

    source: str
    control: bool
    group: str
    count: int
    overlap: float
    recall: Estimate
    over_control: Estimate | None
    better_control: str


@dataclasses.dataclass(frozen=True)
class ProposalsReport:
    """What proposals.json holds.

    Attributes:
      schema: `btjax.runs.report.SCHEMA`.
      title: of the system.
      protocol: of the split.
      fold: of the split.
      classes: class names.
      data: form of the data set in words.
      slices: test slices with a tumour.
      without: test slices whose mask is empty, which are left out.
      unit: what the intervals go by.
      settings: what was explained and how.
      rows: a row for each source, group, count and overlap.
    """

    schema: int
    title: str
    protocol: str
    fold: int
    classes: tuple[str, ...]
    data: str
    slices: int
    without: int
    unit: str
    settings: dict[str, Any]
    rows: tuple[RecallRow, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Proposals:
    """Boxes of the test slices with a tumour.

    Attributes:
      rows: int [n], which of the test slices.
      true: int [n, 4], the tumours' boxes.
      boxes: int [n, K, 4] by source, the best first.
      controls: the sources that know no map.
    """

    rows: np.ndarray
    true: np.ndarray
    boxes: dict[str, np.ndarray]
    controls: tuple[str, ...]


def proposals_of(subject: Subject, maps: dict[str, Maps], seed: int) -> Proposals:
    """The boxes that maps propose, and those of the controls.

    The controls know the sizes and places of the training slices' tumours, and no mask of a test slice.

    Args:
      subject: what was explained.
      maps: by method, of all test slices.
      seed: of the random boxes.

    Raises:
      InputError: slices without masks, or without a tumour.
    """
    tested, trained = subject.tested, subject.trained
    if tested.masks is None or trained.masks is None:
        raise InputError(f"--data_dir={subject.run.config.data.data_dir}: has no tumour masks, which boxes need")
    rows = np.flatnonzero(tested.masks.any(axis=(1, 2)))
    known = trained.masks[trained.masks.any(axis=(1, 2))]
    if not len(rows) or not len(known):
        raise InputError("every mask of the training or of the test slices is empty, expected tumours")
    count, size, own = max(COUNTS), tested.images.shape[1], mask_boxes(known)
    boxes = {name: propose(values[rows], count) for name, (_, values) in maps.items()}
    controls = {
        "random_boxes": random_boxes(head(tested.images[rows]) > 0, own[:, 2:] - own[:, :2], count, seed=seed),
        CENTRE: centre_boxes(len(rows), size, own, count),
    }
    return Proposals(rows, mask_boxes(tested.masks[rows]), boxes | controls, tuple(controls))


def box_labels(subject: Subject, methods: Sequence[Method], config: SaliencyConfig) -> Iterator[tuple[str, Outlines]]:
    """Outlines of the training and validation slices that no person drew: the first box of each source.

    Args:
      subject: what is explained, with masks; those of training slices give the control its place and size.
      methods: whose maps propose, of the class that the network predicts.
      config: their options.

    Yields:
      The name of a method and its outlines, whose masks of test slices are empty; at the end those of `centre_boxes`.
    """
    slices, split, size = subject.data.slices, subject.data.split, subject.data.slices.images.shape[1]
    rows = np.concatenate([split.train, split.validation])
    inputs = in_batches(jax.jit(subject.run.config.preprocessing), config.batch_size, slices.images[rows])
    targets = predicted_classes(subject.classifier, inputs, config.batch_size)
    baselines = subject.baselines_of(config, slices.images[rows], inputs)

    def outlined(boxes: np.ndarray) -> Outlines:
        masks = np.zeros(slices.images.shape, bool)
        masks[rows] = box_masks(boxes, size)
        points, certainties = np.zeros((len(slices), 2), np.int32), np.zeros(len(slices), np.float32)
        points[rows], certainties[rows] = (boxes[:, :2] + boxes[:, 2:]) // 2, 1
        return Outlines.of(slices, split, Found(masks, points, certainties))

    for method in methods:
        key = random_key(jax.random.key(config.saliency_seed), method.name)
        needed = baselines if method.takes_baseline else None
        maps = attribution_maps(
            subject.classifier, inputs, targets, key, method, batch_size=config.batch_size, baselines=needed
        )
        let_programs_go()
        yield method.name, outlined(propose(maps, 1)[:, 0])
    known = subject.trained.masks
    if known is None:
        raise ValueError("the control's box is of the size of known tumours, and these slices have no masks")
    known = mask_boxes(known[known.any(axis=(1, 2))])
    yield CENTRE, outlined(centre_boxes(len(rows), size, known, 1)[:, 0])


def proposals_report(subject: Subject, config: SaliencyConfig, found: Proposals) -> ProposalsReport:
    """Scores the boxes of every source, beside the better control."""
    run, split = subject.run, subject.data.split
    unit, clusters = subject.data.clusters(split.test[found.rows])
    labels, classes = subject.labels[found.rows], subject.tested.classes
    groups = {"all": np.ones(len(labels), bool)}
    groups |= {name: labels == label for label, name in enumerate(classes) if (labels == label).any()}
    overlaps = {name: box_overlap(boxes, found.true) for name, boxes in found.boxes.items()}
    rows = []
    for count in COUNTS:
        for overlap in OVERLAPS:
            hits = {name: np.any(values[:, :count] >= overlap, axis=1) for name, values in overlaps.items()}
            for group, members in groups.items():
                rows += _rows(hits, found.controls, members, clusters, (group, count, overlap))
    return ProposalsReport(
        SCHEMA,
        find_system(run.config.system).title,
        split.protocol,
        split.fold,
        classes,
        subject.data.form,
        len(found.rows),
        len(subject.tested) - len(found.rows),
        unit,
        settings(subject, config),
        tuple(rows),
    )


def _rows(
    hits: Mapping[str, Any],
    controls: tuple[str, ...],
    members: np.ndarray,
    clusters: np.ndarray,
    place: tuple[str, int, float],
) -> list[RecallRow]:
    """The rows of every source on some slices."""
    better = max(controls, key=lambda name: hits[name][members].mean())
    rows = []
    for name, values in hits.items():
        control = name in controls
        over = None if control else estimates.difference(values[members], hits[better][members], clusters[members])
        recall = estimates.share(values[members], clusters[members])
        rows.append(RecallRow(name, control, *place, recall, over, "" if control else better))
    return rows
