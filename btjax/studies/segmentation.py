"""What a segmenter outlines in every row of its data set, and what that scores on the held-out rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from btjax.evaluation.segmentation import Compared, SegmentationScores, segmentation_scores
from btjax.runs.outlines import Outlines, find_outlines
from btjax.runs.report import RunInfo, SegmentationReport
from btjax.studies.training import Job, predictor

if TYPE_CHECKING:
    import numpy as np

    from btjax.readers.slices import Slices
    from btjax.studies.data import Divided


def outlines_of(job: Job) -> Outlines:
    """A network's outlines of every row of its data set, from its best checkpoint."""
    slices = job.data.slices
    return Outlines.of(slices, job.data.split, find_outlines(predictor(job, pixels=True), slices.images))


def segmentation_report(info: RunInfo, data: Divided, outlines: Outlines) -> SegmentationReport:
    """Scores a segmenter on its validation and test rows.

    Args:
      info: of `btjax.studies.classifier.run_info`.
      data: slices, with labels and masks, and their split.
      outlines: of every row, from the checkpoint that validation chose.
    """
    about = {name: getattr(info, name) for name in info.__dataclass_fields__}
    return SegmentationReport(**about, **outlines_by_side(data, outlines))


def compare_outlines(outlines: Outlines, slices: Slices) -> Compared:
    """Outlines beside the masks of the same slices, in the same order.

    Raises:
      ValueError: slices without masks.
    """
    if slices.masks is None:
        raise ValueError("outlines are scored against masks, which these slices do not have")
    return Compared.of(outlines.masks, slices.masks, outlines.points)


def outlines_by_side(data: Divided, outlines: Outlines) -> dict[str, Any]:
    """`outline_scores` of the `test` rows and of the `validation` rows; None where there are no validation rows."""
    rows = {"test": data.split.test, "validation": data.split.validation}
    return {side: outline_scores(data, outlines, own) if len(own) else None for side, own in rows.items()}


def outline_scores(data: Divided, outlines: Outlines, rows: np.ndarray) -> SegmentationScores:
    """Scores of outlines of every row of a data set with masks, on some rows: int [n]."""
    patients = data.slices.patients
    unit, clusters = data.clusters(rows)
    return segmentation_scores(
        compare_outlines(outlines.take(rows), data.slices.take(rows)),
        data.labels[rows],
        data.slices.classes,
        clusters=clusters,
        unit=unit,
        patients=None if patients is None else patients[rows],
    )
