"""report.html of a segmenter's run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from btjax.figures.segmentation import dice_curves, outline_panels
from btjax.reports.classifier import data_notes, protocol_sentences, run_facts
from btjax.reports.numbers import amount, capitalised, interval, number, number_interval, percent
from btjax.reports.page import Cell, Headline, Picture, Section, Table, flattened, render
from btjax.runs.report import write_report
from btjax.runs.run import REPORT
from btjax.studies.segmentation import compare_outlines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from btjax.evaluation.estimates import Estimate
    from btjax.evaluation.segmentation import OutlineScores, SegmentationScores
    from btjax.readers.slices import Slices
    from btjax.runs.folder import RunFolder
    from btjax.runs.outlines import Outlines
    from btjax.runs.report import SegmentationReport

_SHOWN = 4  # slices in each row of the figure

_CAPTIONS = {
    "outlines": "Test slices with the highest, the middle and the lowest Dice, each of another patient where possible.",
    "curves": "Dice and loss by epoch; here Dice is at the resolution of the network's output, of all parts.",
}


def write_segmentation_report(
    folder: RunFolder, report: SegmentationReport, tested: Slices, outlines: Outlines
) -> None:
    """Writes report.json, report.html and figures/ into a run's folder.

    Args:
      folder: of the run.
      report: its scores.
      tested: the test slices, with their masks.
      outlines: of the test slices.
    """
    drawn = {"outlines": _examples(tested, outlines)}
    if history := folder.history():
        drawn["curves"] = dice_curves(history, report.checkpoint.epoch)
    for name, figure in drawn.items():
        folder.write_figure(name, figure)
    folder.write_text("report.html", _page(report, drawn))
    write_report(folder.path / REPORT, report)


def _examples(tested: Slices, outlines: Outlines) -> Figure:
    """The best, the middle and the worst test slices."""
    dice = compare_outlines(outlines, tested).dice
    labels = np.zeros(len(tested), int) if tested.labels is None else tested.labels
    titles = [
        f"{tested.classes[label]}, Dice {number(value, 2)}\n{name}"
        for label, value, name in zip(labels, dice.tolist(), tested.ids, strict=True)
    ]
    masks = {"true": np.asarray(tested.masks), "predicted": outlines.masks}
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


def _page(report: SegmentationReport, drawn: Mapping[str, Figure]) -> str:
    test = report.test
    sides = {"test": test, "validation": report.validation}
    tables = [_table(side, scores) for side, scores in sides.items() if scores is not None]
    pictures = {name: [Picture(figure, _CAPTIONS[name])] for name, figure in drawn.items()}
    sections = [
        Section("Scores", tables, remarks=[_REMARK]),
        Section("Outlines", pictures=pictures["outlines"]),
        Section("Training", pictures=pictures.get("curves", [])),
        Section("Run", pairs=run_facts(report)),
        Section("Configuration", pairs=flattened(report.config)),
        Section("Versions", pairs=flattened(report.versions)),
    ]
    return render(report.title, sections, headline=_headline(report), notes=data_notes(report))


_REMARK = (
    "Dice is the mean over slices of 2 |A and B| / (|A| + |B|), 1 where both outlines are empty. Recall and precision "
    "count pixels of all slices together. Pointing is the share of slices with a tumour whose most certain pixel lies "
    "in it. All at the run's image size."
)


def _headline(report: SegmentationReport) -> Headline:
    test = report.test
    details = [] if test.dice.ci95 is None else [f"95% interval {number_interval(test.dice.ci95)}"]
    counts = [[capitalised(side), amount(one.slices), amount(one.patients)] for side, one in report.counts.items()]
    return Headline(
        number(test.dice.value),
        "test Dice",
        [*details, f"by {test.interval.unit}"],
        protocol_sentences(report.protocol, report.split),
        Table("", ["Part", "Slices", "Patients"], counts),
    )


def _table(side: str, scores: SegmentationScores) -> Table:
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
