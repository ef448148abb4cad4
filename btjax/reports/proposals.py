"""proposals.html: maps as region proposals, beside boxes that know no map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from btjax.figures.proposals import proposal_panels
from btjax.reports.numbers import amount, capitalised, interval, percent, signed
from btjax.reports.page import Cell, Picture, Section, Table, render
from btjax.studies.proposals import COUNTS, OVERLAPS
from btjax.studies.subject import stratified

if TYPE_CHECKING:
    from btjax.evaluation.estimates import Estimate
    from btjax.readers.slices import Slices
    from btjax.studies.proposals import Proposals, ProposalsReport, RecallRow

_SHOWN, _BOXES = 6, 5


def proposals_page(report: ProposalsReport, found: Proposals, tested: Slices) -> str:
    """Renders the page, which needs no other file and no network."""
    rows = report.rows
    sections = [
        Section(
            f"Tumours found at an overlap of {overlap:g}",
            [_table([row for row in rows if row.overlap == overlap and row.group == "all"], report.unit)],
        )
        for overlap in OVERLAPS
    ]
    first = sections[0]
    sections[0] = Section(first.title, first.tables, [_picture(report, found, tested)], remarks=_remarks())
    classes = [
        Section(
            f"{capitalised(name)}, at an overlap of {OVERLAPS[-1]:g}",
            [_table([row for row in rows if row.overlap == OVERLAPS[-1] and row.group == name], report.unit)],
        )
        for name in report.classes
        if any(row.group == name for row in rows)
    ]
    fold = "" if report.protocol == "slice" else f", fold {report.fold}"
    title = f"Region proposals of {report.title}, protocol {report.protocol}{fold}"
    without = f"; {amount(report.without)} without a tumour are left out" if report.without else ""
    lead = [f"{amount(report.slices)} test slices with a tumour{without}. Data: {report.data}."]
    return render(title, [*sections, *classes], lead=lead)


def _remarks() -> list[str]:
    return [
        "A tumour is found where one of the boxes overlaps its own box by at least so much (intersection over union).",
        "Random boxes have the sizes of training tumours and lie about pixels of the slice's head; centre boxes have "
        "these sizes and lie about the mean middle of training tumours. Neither knows the slice's mask, nor do maps.",
    ]


def _table(rows: list[RecallRow], unit: str) -> Table:
    sources = list(dict.fromkeys(row.source for row in rows))
    found = {(row.source, row.count): row for row in rows}
    lines = []
    for source in sources:
        own = [found[source, count] for count in COUNTS]
        over = own[0].over_control
        cells = [_share(row.recall) for row in own]
        difference = Cell("") if over is None else Cell(_points(over.value), _bounds(over))
        lines.append([source.replace("_", " "), *cells, difference, own[0].better_control.replace("_", " ")])
    counts = [f"{count} box{'es' * (count > 1)}" for count in COUNTS]
    return Table(
        f"Share of tumours that are found, with 95% intervals by {unit}; of the first box also the difference from the "
        "better control, in percentage points.",
        ["Boxes of", *counts, "First box: over the control", "The control"],
        lines,
        sortable=True,
    )


def _share(estimate: Estimate) -> Cell:
    return Cell(percent(estimate.value), interval(estimate.ci95))


def _points(value: float | None) -> str:
    return signed(None if value is None else 100 * value, 1)


def _bounds(estimate: Estimate) -> str:
    return "" if estimate.ci95 is None else f"{_points(estimate.ci95[0])} to {_points(estimate.ci95[1])}"


def _picture(report: ProposalsReport, found: Proposals, tested: Slices) -> Picture:
    """The first boxes of the method that finds most tumours by them, and of the controls, on slices of every class."""
    labels = np.asarray(tested.labels)
    places = stratified(labels[found.rows], _SHOWN, 0)
    shown = [row for row in report.rows if (row.count, row.overlap, row.group) == (_BOXES, OVERLAPS[-1], "all")]
    best = max((row for row in shown if not row.control), key=lambda row: row.recall.value or 0).source
    boxes = {name: found.boxes[name][places, :_BOXES] for name in (best, *found.controls)}
    rows = found.rows[places]
    titles = [f"{tested.classes[labels[row]]}\n{tested.ids[row]}" for row in rows]
    figure = proposal_panels(tested.images[rows], found.true[places], boxes, titles)
    caption = f"The tumour's box (yellow) and the first {_BOXES} of each source (blue), the first of them thick."
    return Picture(figure, caption)
