"""Outlines of tumours on a page: their scores, and slices on which they are good and bad."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from btjax.figures.segmentation import outline_panels
from btjax.reports.numbers import capitalised, interval, number, number_interval, percent
from btjax.reports.page import Cell, Table
from btjax.studies.segmentation import compare_outlines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from btjax.evaluation.estimates import Estimate
    from btjax.evaluation.segmentation import OutlineScores, SegmentationScores
    from btjax.readers.slices import Slices
    from btjax.runs.outlines import Outlines

_SHOWN = 4  # slices in each row of the figure

OUTLINE_CAPTION = (
    "Test slices with the highest, the middle and the lowest Dice, each of another patient where possible."
)

OUTLINE_REMARK = (
    "Dice is the mean over slices of 2 |A and B| / (|A| + |B|), 1 where both outlines are empty. Recall and precision "
    "count pixels of all slices together. Pointing is the share of slices with a tumour whose most certain pixel lies "
    "in it. All at the run's image size."
)


def outline_examples(tested: Slices, outlines: Outlines) -> Figure:
    """The best, the middle and the worst test slices."""
    dice = compare_outlines(outlines, tested).dice
    labels = np.zeros(len(tested), int) if tested.labels is None else tested.labels
    titles = [
        f"{tested.classes[label]}, Dice {number(value, 2)}\n{name}"
        for label, value, name in zip(labels, dice.tolist(), tested.ids, strict=True)
    ]
    masks = {"true": tested.masks, "predicted": outlines.masks}
    return outline_panels(example_rows(dice, tested.patients), tested.images, masks, titles)


def example_rows(dice: np.ndarray, patients: np.ndarray | None) -> dict[str, list[int]]:
    """Row numbers of the slices with the best, middle and worst Dice, from different patients where there are enough.

    Args:
      dice: float [N], N at least 1.
      patients: str [N], or None.

    Example:
      >>> example_rows(np.array([0.9, 0.1, 0.5]), None)
      {'best': [0, 2, 1], 'median': [2, 1, 0], 'worst': [1, 2, 0]}
    """
    worst = np.argsort(dice, kind="stable")
    middle = worst[np.argsort(np.abs(np.arange(len(dice)) - len(dice) // 2), kind="stable")]
    orders = {"best": worst[::-1], "median": middle, "worst": worst}
    return {name: _first_of_each(order, patients)[:_SHOWN] for name, order in orders.items()}


def _first_of_each(order: np.ndarray, patients: np.ndarray | None) -> list[int]:
    """The rows in order, those first that are the first of their patient."""
    if patients is None:
        return order.tolist()
    _, first = np.unique(patients[order], return_index=True)
    places = np.sort(first)
    return order[np.concatenate([places, np.setdiff1d(np.arange(len(order)), places)])].tolist()


def outline_table(side: str, scores: SegmentationScores) -> Table:
    """Scores of the outlines of one side's slices, and of each class's."""
    rows = [_row("all slices", scores)]
    if len(scores.by_class) > 1:
        rows += [_row(name, one) for name, one in scores.by_class.items()]
    return Table(
        f"{capitalised(side)} slices, with 95% intervals below ({scores.interval.method}, by {scores.interval.unit})",
        ["", "Slices", "Dice", "Recall of pixels", "Precision of pixels", "Pointing", "No outline"],
        rows,
        strong=[0],
    )


def _row(name: str, scores: OutlineScores) -> list[str | int | Cell]:
    shares = (scores.recall, scores.precision, scores.pointing, scores.empty)
    dice = Cell(number(scores.dice.value), number_interval(scores.dice.ci95))
    return [capitalised(name), scores.slices, dice, *(_share(one) for one in shares)]


def _share(estimate: Estimate) -> Cell:
    return Cell(percent(estimate.value), interval(estimate.ci95))
