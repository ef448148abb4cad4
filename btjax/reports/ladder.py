"""ladder.json and ladder.html: one system under several protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from btjax.base.files import write_json, write_whole
from btjax.figures.ladder import accuracies_by_rung
from btjax.reports.numbers import amount, duration, interval, percent, percent_with_interval
from btjax.reports.page import Bar, Cell, Note, Picture, Section, Table, flattened, render
from btjax.reports.scores import interval_notes

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from btjax.studies.ladder_report import LadderReport, RungScores

_MEANING = {
    "slice": "slices at random, as in the paper: other slices of the same patients are trained on",
    "slice_matched": "the same, trained on as many slices as the other protocols have",
    "official": "the folds of the data set's authors, by patient id",
    "patient": "by patient id",
    "family": "by patient id, ids that differ in a letter together",
    "linked": "slices that belong together by their pixels together",
    "given": "the data set's own division",
}


def write_ladder_report(folder: pathlib.Path, report: LadderReport) -> None:
    """Writes ladder.html and ladder.json into a ladder's folder."""
    page = ladder_page(report)
    write_whole(folder / "ladder.html", lambda beside: beside.write_text(page, encoding="utf-8"))
    write_json(folder / "ladder.json", msgspec.to_builtins(report))


def ladder_lines(report: LadderReport) -> list[str]:
    """One line for each rung, for the console."""
    lines = []
    for rung in report.rungs:
        accuracy = percent_with_interval(rung.scores.accuracy, rung.scores.accuracy_ci95)
        lines.append(f"{rung.name}: {accuracy} of {rung.tested} slices, {_cells(rung)}")
    return lines


def ladder_page(report: LadderReport) -> str:
    """Renders the page, which needs no other file and no network."""
    figure = accuracies_by_rung(
        {rung.name: [(cell.fold, cell.seed, cell.accuracy) for cell in rung.cells] for rung in report.rungs},
        {rung.name: (rung.scores.accuracy, rung.scores.accuracy_ci95) for rung in report.rungs},
    )
    sections = [
        Section(
            "Accuracy by protocol",
            [_rungs_table(report.rungs)],
            [Picture(figure, "Accuracy of every cell (dots) and of all test rows together, with its 95% interval.")],
            remarks=[f"{name}: {_MEANING[name]}." for name in (rung.name for rung in report.rungs) if name in _MEANING],
        ),
        Section("Cells", [_cells_table(report.rungs)]),
        Section("Configuration of the cells", pairs=flattened(report.config)),
    ]
    notes = [Note("A program drew these slices: the numbers say nothing about patients.")] if report.synthetic else []
    return render(
        f"{report.title} under {len(report.rungs)} protocols", sections, lead=[f"Data: {report.data}."], notes=notes
        + interval_notes(report.rungs[0].scores),
    )  # fmt: skip


def _cells(rung: RungScores) -> str:
    folds, seeds = (len({getattr(cell, name) for cell in rung.cells}) for name in ("fold", "seed"))
    text = f"{folds} fold{'s' * (folds > 1)}, {seeds} seed{'s' * (seeds > 1)}"
    return text if rung.whole else f"{text} ({len(rung.cells)} of {rung.planned} cells)"


def _rungs_table(rungs: Sequence[RungScores]) -> Table:
    lowest = min(min(cell.accuracy for cell in rung.cells) for rung in rungs)
    start, rows = min(0.9, int(10 * lowest) / 10), []
    for rung in rungs:
        scores, votes = rung.scores, rung.scores.by_patient
        trained = sorted({cell.trained for cell in rung.cells})
        rows.append(
            [
                Cell(rung.name, _cells(rung)),
                Cell(amount(rung.tested), f"of {amount(rung.total)}"),
                f"{amount(trained[0])} to {amount(trained[-1])}" if len(trained) > 1 else amount(trained[0]),
                Cell(percent(scores.accuracy), interval(scores.accuracy_ci95)),
                Cell("", bar=Bar(scores.accuracy, scores.accuracy_ci95, start)),
                Cell(percent(votes and votes.accuracy), interval(votes and votes.accuracy_ci95)),
                Cell(percent(scores.macro_f1), interval(scores.macro_f1_ci95)),
                Cell(percent(scores.roc_auc), interval(scores.roc_auc_ci95)),
            ]
        )
    unit = rungs[0].scores.interval.unit
    return Table(
        f"All test rows of a protocol together, with 95% intervals by {unit}; with several seeds a slice counts often.",
        ["Protocol", "Slices tested", "Trained on", "Accuracy", "", "By patient", "Macro F1", "ROC AUC"],
        rows,
    )


def _cells_table(rungs: Sequence[RungScores]) -> Table:
    rows = [
        [
            rung.name,
            cell.fold,
            cell.seed,
            amount(cell.trained),
            amount(cell.slices),
            amount(cell.patients),
            percent(cell.accuracy),
            duration(cell.seconds),
        ]
        for rung in rungs
        for cell in rung.cells
    ]
    head = ["Protocol", "Fold", "Seed", "Trained on", "Slices", "Patients", "Accuracy", "Training"]
    return Table("A single fold and seed each.", head, rows)
