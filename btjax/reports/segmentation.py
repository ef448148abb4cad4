"""report.html of a segmenter's run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btjax.figures.segmentation import dice_curves
from btjax.reports.classifier import data_notes, protocol_sentences, run_facts
from btjax.reports.numbers import amount, capitalised, number, number_interval
from btjax.reports.outlines import OUTLINE_CAPTION, OUTLINE_REMARK, outline_examples, outline_table
from btjax.reports.page import Headline, Picture, Section, Table, flattened, render
from btjax.runs.report import write_report
from btjax.runs.run import REPORT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from btjax.readers.slices import Slices
    from btjax.runs.folder import RunFolder
    from btjax.runs.outlines import Outlines
    from btjax.runs.report import SegmentationReport

_CAPTIONS = {
    "outlines": OUTLINE_CAPTION,
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
    drawn = {"outlines": outline_examples(tested, outlines)}
    if history := folder.history():
        drawn["curves"] = dice_curves(history, report.checkpoint.epoch)
    for name, figure in drawn.items():
        folder.write_figure(name, figure)
    folder.write_text("report.html", _page(report, drawn))
    write_report(folder.path / REPORT, report)


def _page(report: SegmentationReport, drawn: Mapping[str, Figure]) -> str:
    test = report.test
    sides = {"test": test, "validation": report.validation}
    tables = [outline_table(side, scores) for side, scores in sides.items() if scores is not None]
    pictures = {name: [Picture(figure, _CAPTIONS[name])] for name, figure in drawn.items()}
    sections = [
        Section("Scores", tables, remarks=[OUTLINE_REMARK]),
        Section("Outlines", pictures=pictures["outlines"]),
        Section("Training", pictures=pictures.get("curves", [])),
        Section("Run", pairs=run_facts(report)),
        Section("Configuration", pairs=flattened(report.config)),
        Section("Versions", pairs=flattened(report.versions)),
    ]
    return render(report.title, sections, headline=_headline(report), notes=data_notes(report))


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
