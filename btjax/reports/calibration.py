"""The section on calibration, prediction sets and abstaining of a classifier's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btjax.reports.numbers import UNDEFINED, amount, capitalised, interval, number, number_interval, percent
from btjax.reports.page import Cell, Picture, Section, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from btjax.evaluation.calibration import Temperature
    from btjax.evaluation.classification import Scores
    from btjax.evaluation.conformal import ConformalScores
    from btjax.runs.report import ClassifierReport

_CAPTIONS = {
    "reliability": "Share of correct predictions by confidence, in bins of equally many test slices or patients.",
    "risk_coverage": "Error of the surest test slices by how many are answered; the dotted line is at 80%.",
}


def calibration_section(report: ClassifierReport, figures: Mapping[str, Figure]) -> Section:
    """How far the probabilities of the test slices can be trusted.

    Args:
      report: of a classifier.
      figures: with or without `reliability` and `risk_coverage`.
    """
    tables = [_calibration_table(report.test)]
    if report.conformal:
        tables.append(_conformal_table(report.conformal, report.classes))
    selective = report.selective
    told = f" ({interval(selective.accuracy_ci95)})" if selective.accuracy_ci95 else ""
    remarks = [
        *([] if report.temperature is None else [_temperature_sentence(report.temperature)]),
        f"If it answers the {percent(selective.answered, sign='')}% of slices of which it is surest, "
        f"{percent(selective.accuracy)}{told} of these are right. The mean error over all shares answered is "
        f"{number(selective.aurc, 4)} ({number_interval(selective.aurc_ci95, 4)}).",
    ]
    pictures = [Picture(figures[name], caption) for name, caption in _CAPTIONS.items() if name in figures]
    return Section("Calibration and abstaining", tables, pictures, remarks=remarks, side_by_side=True)


def _calibration_table(test: Scores) -> Table:
    names = ("log_loss", "brier_score", "expected_calibration_error", "calibration_slope", "calibration_intercept")
    rows = []
    for name, scores in (("Test", test), ("Test, by patient", test.by_patient)):
        if scores is None:
            continue
        bounds = [getattr(scores, f"{each}_ci95") for each in names]
        values = [getattr(scores, each) for each in names]
        cells = [Cell(number(value), number_interval(each)) for value, each in zip(values, bounds, strict=True)]
        cells[2] = Cell(percent(values[2]), interval(bounds[2]))
        rows.append([name, *cells])
    return Table(
        "Slope and intercept are those of the confidence: log odds of a correct prediction against the log odds "
        "claimed. A calibrated classifier has slope 1 and intercept 0; a slope below 1 says that high confidences are "
        "too high. The calibration error is of 15 bins of equally many rows.",
        ["Scored on", "Log loss", "Brier score", "Calibration error", "Slope", "Intercept"],
        rows,
    )


def _temperature_sentence(found: Temperature) -> str:
    surer = "too sure" if found.value > 1 else "not sure enough"
    return (
        f"The temperature that fits the {amount(found.fitted_rows)} validation slices best is "
        f"{number(found.value, 2)}: there the classifier is {surer}. Divided by it, the test slices' log loss "
        f"is {number(found.log_loss)} (before {number(found.log_loss_before)}) and their calibration error "
        f"{percent(found.calibration_error)} (before {percent(found.calibration_error_before)})."
    )


def _conformal_table(found: Sequence[ConformalScores], classes: Sequence[str]) -> Table:
    rows = [
        [
            percent(one.level),
            Cell(percent(one.coverage), interval(one.coverage_ci95)),
            percent(one.coverage_by_patient),
            *(percent(one.coverage_by_class[name]) for name in classes),
            number(one.mean_size, 2),
            percent(one.single),
            percent(one.empty),
        ]
        for one in found
    ]
    counts = ", ".join(
        f"{capitalised(name)} {UNDEFINED if count is None else amount(count)}"
        for name, count in found[0].calibration_patients.items()
    )
    return Table(
        "Conformal prediction sets: classes that cannot be excluded at a level, calibrated by class on validation "
        f"patients, each counted once ({counts}). A class of fewer than 9 of them is in every set at 90%, of fewer "
        "than 19 at 95%. The promise is coverage by patient.",
        ["Level", "Coverage", "By patient", *map(capitalised, classes), "Mean size", "One class", "Empty"],
        rows,
    )
