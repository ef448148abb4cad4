"""Tables of a classifier's scores: one row for each set of slices, or for each class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from btjax.evaluation.metrics import CLASS_METRICS
from btjax.reports.numbers import amount, capitalised, interval, number, number_interval, percent
from btjax.reports.page import Bar, Cell, Note, Section, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from btjax.evaluation.classification import ClassScores, Scores
    from btjax.evaluation.published import PublishedResult

_COLUMNS = ("Balanced accuracy", "Macro F1", "MCC", "Log loss", "Calibration error")

_BASELINES = {"linear_model": "Linear model on 32x32 pixels", "class_prior": "Class frequencies alone"}


def scores_table(
    scored: Mapping[str, Scores], baselines: Mapping[str, Scores], published: PublishedResult | None = None
) -> Table:
    """One row for each set of scores, by slice and by patient, then the baselines and a published result.

    Args:
      scored: scores by the name of what was scored.
      baselines: scores of the test slices by the baseline's name.
      published: the paper's result to compare with, or None.
    """
    rows_of: list[tuple[str, Scores]] = []
    for name, scores in scored.items():
        rows_of.append((name, scores))
        if scores.by_patient is not None:
            rows_of.append((f"{name}, by patient", scores.by_patient))
    known = [name for name in _BASELINES if name in baselines]
    others = [name for name in baselines if name not in _BASELINES]
    rows_of += [(f"{_BASELINES.get(name, name)}, test", baselines[name]) for name in known + others]
    bounds = [(one.accuracy, one.accuracy_ci95) for _, one in rows_of]
    if published is not None:
        bounds.append((published.accuracy, published.accuracy_ci95))
    start = _scale_start(bounds)
    rows = [_scores_row(name, scores, start) for name, scores in rows_of]
    if published is not None:
        rows.append(_published_row(published, start))
    settings = next(iter(scored.values())).interval
    return Table(
        f"Values with 95% intervals below them ({settings.method}, by {settings.unit}); "
        f"the bars show accuracy and its interval on a scale from {100 * start:.0f} to 100%.",
        ["Scored on", "Accuracy", "", *_COLUMNS],
        rows,
        strong=[0],
    )


def interval_notes(test: Scores) -> list[Note]:
    """What the intervals cannot say."""
    notes, unit = [], test.interval.unit
    if unit == "slice":
        notes.append(
            Note(
                "These data carry no patient ids. The intervals treat slices as independent, and are too narrow where "
                "several slices show one patient."
            )
        )
    if unit == "group":
        notes.append(
            Note(
                "These data carry no patient ids. The intervals go by groups of slices that are linked by their "
                "pixels, and are too narrow where several groups show one patient."
            )
        )
    return notes


def _scores_row(name: str, scores: Scores, start: float) -> list[Cell]:
    size = f"{amount(scores.predictions)} slices"
    if name.endswith("by patient"):
        size = f"{amount(scores.patients)} patients"
    return [
        Cell(name, size),
        _percent_cell(scores, "accuracy"),
        Cell("", bar=Bar(scores.accuracy, scores.accuracy_ci95, start)),
        _percent_cell(scores, "macro_recall"),
        _percent_cell(scores, "macro_f1"),
        Cell(number(scores.mcc), number_interval(scores.mcc_ci95)),
        Cell(number(scores.log_loss), number_interval(scores.log_loss_ci95)),
        _percent_cell(scores, "expected_calibration_error"),
    ]


def _published_row(published: PublishedResult, start: float) -> list[Cell]:
    return [
        Cell(f"Paper, {published.figure}", f"{amount(published.slices)} slices"),
        _percent_cell(published, "accuracy"),
        Cell("", bar=Bar(published.accuracy, published.accuracy_ci95, start)),
        Cell(percent(None)),
        Cell(percent(published.macro_f1)),
        *[Cell(percent(None))] * 3,
    ]


def _percent_cell(scores: Scores | ClassScores | PublishedResult, name: str) -> Cell:
    return Cell(percent(getattr(scores, name)), interval(getattr(scores, f"{name}_ci95")))


def _scale_start(accuracies: Sequence[tuple[float, tuple[float, float] | None]]) -> float:
    """Where the accuracy bars begin: the tenth below the lowest value or bound."""
    lowest = min(min(value, *(bounds or ())) if bounds else value for value, bounds in accuracies)
    return min(math.floor(lowest * 10) / 10, 0.9)


def class_section(test: Scores, published: PublishedResult | None = None) -> Section:
    """The test slices by class, beside the paper's table."""
    head = ["Class", "Slices", "Precision (PPV)", "Recall (sensitivity)", "Specificity", "F1", "ROC AUC"]

    def papers(name: str) -> list[str]:
        if published is None:
            return []
        values = published.percents.get(name)
        return [percent(None)] * 3 if values is None else [f"{value}%" for value in values]

    rows = [
        [
            capitalised(name),
            amount(scores.support),
            *(_percent_cell(scores, metric) for metric in CLASS_METRICS),
            *papers(name),
        ]
        for name, scores in test.per_class.items()
    ]
    names = ("macro_precision", "macro_recall", "macro_specificity", "macro_f1", "roc_auc")
    means = (_percent_cell(test, metric) for metric in names)
    rows.append(["Mean of classes", amount(test.slices), *means, *papers("average")])
    title, caption, groups = "Test slices by class", "In percent, with 95% intervals.", []
    if published is not None:
        head += ["Precision", "Recall", "F1"]
        title += f", beside the paper's {published.table}"
        caption += " The paper's values are as printed, in whole percent."
        groups = [("", 1), ("Here", 6), ("Paper", 3)]
    return Section(title, [Table(caption, head, rows, groups, strong=[len(rows) - 1])])
