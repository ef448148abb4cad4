"""ladder.json and ladder.html: one system under several protocols."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import msgspec

from btjax.base.files import write_json, write_whole
from btjax.figures.ladder import accuracies_by_rung
from btjax.reports.audit import audit_sections
from btjax.reports.numbers import (
    UNDEFINED,
    amount,
    capitalised,
    duration,
    interval,
    number,
    number_interval,
    percent,
    percent_with_interval,
    signed,
)
from btjax.reports.outlines import OUTLINE_REMARK, outline_table
from btjax.reports.page import Bar, Cell, Note, Picture, Section, Table, flattened, render
from btjax.reports.scores import interval_notes
from btjax.studies.ladder import MATCHED

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from btjax.evaluation.ensembles import EnsembleGain
    from btjax.studies.ladder_report import LadderReport, Leak, RungScores

LADDER = "ladder.json"
"""The report's file in a ladder's folder."""

_STRICT = (MATCHED, "slice", "given", "linked", "official", "patient", "family")
"""Protocols by how much they keep together."""

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
    write_json(folder / LADDER, msgspec.to_builtins(report))


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
        *_outline_sections(report.rungs),
        *([Section("The leak", [_leaks_table(report.leaks)], remarks=_leak_remarks(report))] if report.leaks else []),
        Section("Calibration, abstaining and ensembles", _reliance_tables(report.rungs)),
        *_audits(report.rungs),
        Section("Cells", [_cells_table(report.rungs)]),
        Section("Configuration of the cells", pairs=flattened(report.config)),
    ]
    notes = [Note("A program drew these slices: the numbers say nothing about patients.")] if report.synthetic else []
    if report.refit:
        notes.append(Note("The cells trained on their validation slices too: their last epoch is tested."))
    rungs = len(report.rungs)
    title = f"{report.title} under {rungs} protocol{'s' * (rungs > 1)}"
    notes += interval_notes(report.rungs[0].scores)
    return render(title, sections, lead=[f"Data: {report.data}."], notes=notes)


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


def _outline_sections(rungs: Sequence[RungScores]) -> list[Section]:
    """The scores of outlines, of a network that has any."""
    tables = [
        outline_table(f"{rung.name}, {_cells(rung)}, test", rung.outlines)
        for rung in rungs
        if rung.outlines is not None
    ]
    return [Section("Outlines", tables, remarks=[OUTLINE_REMARK])] if tables else []


def _leaks_table(leaks: Sequence[Leak]) -> Table:
    rows = []
    for leak in leaks:
        one = leak.comparison
        rows.append(
            [
                f"{leak.easier} over {leak.harder}",
                amount(one.rows),
                percent(one.second),
                percent(one.first),
                Cell(_points(one.difference), _points_interval(one.difference_ci95)),
                number(one.p_permutation),
            ]
        )
    return Table(
        "On the slices that both tested with the same seed: accuracies, and their difference in percentage points with "
        "its 95% interval.",
        ["Protocols", "Slices", "First", "Second", "Difference", "p (permutation)"],
        rows,
    )


def _leak_remarks(report: LadderReport) -> list[str]:
    return [leak_sentence(leak) for leak in report.leaks if leak.easier == MATCHED]


def leak_sentence(leak: Leak) -> str:
    """The size of the leak in words."""
    one = leak.comparison
    bounds = "" if one.difference_ci95 is None else f" ({_points_interval(one.difference_ci95)})"
    size = "with as many training slices" if leak.easier == MATCHED else "with more training slices"
    return (
        f"Slices divided at random score {_points(one.difference)} points{bounds} more than under {leak.harder}, "
        f"{size}, on the {amount(one.rows)} predictions that both made."
    )


def _points(value: float | None) -> str:
    return signed(None if value is None else 100 * value, 1)


def _points_interval(bounds: Sequence[float] | None) -> str:
    return "" if bounds is None else f"{_points(bounds[0])} to {_points(bounds[1])}"


def _reliance_tables(rungs: Sequence[RungScores]) -> list[Table]:
    """Calibration with and without a temperature, prediction sets, abstaining, and ensembles."""
    rows = []
    for rung in rungs:
        scores, after = rung.scores, rung.calibrated
        rows.append(
            [
                rung.name,
                Cell(number(scores.log_loss), number_interval(scores.log_loss_ci95)),
                number(after and after.log_loss),
                Cell(percent(scores.expected_calibration_error), interval(scores.expected_calibration_error_ci95)),
                percent(after and after.calibration_error),
                number(after and after.value, 2),
                Cell(percent(rung.selective.accuracy), interval(rung.selective.accuracy_ci95)),
                _gain(rung.mirrored),
                _gain(rung.seeds),
            ]
        )
    told = "Each cell's logits are divided by the temperature that fits its validation slices; the mean is shown."
    first = Table(
        f"{told} The surest 80% of the slices are answered. Gains are in percentage points: of averaging a slice with "
        "its mirror image, and of averaging the seeds.",
        ["Protocol", "Log loss", "With temperature", "Calibration error", "With temperature", "Temperature",
         "Accuracy, 80% answered", "Gain of mirror", "Gain of seeds"],
        rows,
    )  # fmt: skip
    return [first, *_conformal_tables(rungs)]


def _conformal_tables(rungs: Sequence[RungScores]) -> list[Table]:
    """Prediction sets of the rungs that have any."""
    sets = [
        [
            f"{rung.name}, {percent(one.level, sign='')}%",
            Cell(percent(one.coverage), interval(one.coverage_ci95)),
            percent(one.coverage_by_patient),
            *(percent(share) for share in one.coverage_by_class.values()),
            number(one.mean_size, 2),
            percent(one.single),
        ]
        for rung in rungs
        for one in rung.conformal
    ]
    if not sets:
        return []
    classes = [capitalised(name) for name in rungs[0].scores.per_class]
    caption = (
        "Conformal prediction sets, calibrated by class and patient on each cell's validation slices: how often they "
        "hold the true class, and how many classes they name."
    )
    head = ["Protocol, promised", "Slices", "Mean of patients", *classes, "Classes named", "One class"]
    return [Table(caption, head, sets)]


def _gain(gain: EnsembleGain | None) -> Cell:
    return Cell(UNDEFINED) if gain is None else Cell(_points(gain.gain), _points_interval(gain.gain_ci95))


def _audits(rungs: Sequence[RungScores]) -> list[Section]:
    """The whole audit of the strictest rung, and what the others' audits flag."""
    strictest = max(rungs, key=lambda rung: _STRICT.index(rung.name) if rung.name in _STRICT else -1)
    flagged = [
        Section(f"Audit of {rung.name}", remarks=[flag.sentence for flag in rung.audit.flags])
        for rung in rungs
        if rung is not strictest
    ]
    own = [
        dataclasses.replace(section, title=f"Audit of {strictest.name}: {section.title[:1].lower()}{section.title[1:]}")
        for section in audit_sections(strictest.audit)
    ]
    return [*own, *flagged]


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
