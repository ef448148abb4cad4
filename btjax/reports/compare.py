"""compare.html: finished runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from btjax.evaluation.calibration import reliability
from btjax.evaluation.literature import LITERATURE
from btjax.evaluation.published import CLASSES as PAPER_CLASSES
from btjax.evaluation.selective import selective_report
from btjax.figures.compare import learning_curves, reliability_curves, risk_curves
from btjax.figures.confusion import confusion_matrix
from btjax.reports.numbers import (
    amount,
    capitalised,
    duration,
    interval,
    number,
    number_interval,
    percent,
    signed,
)
from btjax.reports.page import Bar, Cell, Picture, Section, Table, render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.evaluation.classification import Scores
    from btjax.studies.compare import CompareReport, Entry, Pair, Tested


def compare_page(report: CompareReport, tested: Sequence[Tested]) -> str:
    """Renders the page, which needs no other file and no network.

    Args:
      report: the comparison.
      tested: the entries' predictions, in their order.
    """
    entries = report.entries
    several = any(len(entry.seeds) > 1 for entry in entries)
    curves = "Of several seeds the first is drawn and compared." if several else ""
    sections = [
        Section("Scores", [_scores_table(entries)], remarks=["A click on a column's name sorts by it."]),
        Section("Differences", [_pairs_table(report.pairs)], remarks=_strangers(report.pairs)),
        Section("By class", [_classes_table(entries)]),
        Section("Curves", pictures=_curves(entries, tested), remarks=[curves] if curves else [], side_by_side=True),
        Section("Confusion", pictures=_matrices(entries), side_by_side=True),
        Section("What was trained", [_protocol_table(entries)]),
        Section("Cost", [_cost_table(entries)]),
    ]
    if set(entries[0].scores.per_class) == set(PAPER_CLASSES) and not any(entry.synthetic for entry in entries):
        sections.insert(2, Section("Published on the 3064 slices", [_literature_table()]))
    return render(f"{len(entries)} classifiers compared", sections)


def _scores_table(entries: Sequence[Entry]) -> Table:
    start = min(0.9, int(10 * min(entry.scores.accuracy for entry in entries)) / 10)
    rows = []
    for entry in entries:
        scores, votes = entry.scores, entry.scores.by_patient
        rows.append(
            [
                Cell(entry.name, entry.title),
                Cell(entry.protocol, _runs(entry)),
                Cell("" if votes is None else percent(votes.accuracy), interval(votes and votes.accuracy_ci95)),
                Cell(percent(scores.accuracy), interval(scores.accuracy_ci95)),
                Cell("", bar=Bar(scores.accuracy, scores.accuracy_ci95, start)),
                *(_share(scores, name) for name in ("macro_recall", "macro_f1", "roc_auc")),
                *(_number(scores, name) for name in ("mcc", "log_loss", "brier_score")),
                _share(scores, "expected_calibration_error"),
            ]
        )
    head = ["Run", "Protocol", "By patient", "Accuracy", "", "Balanced accuracy", "Macro F1", "ROC AUC", "MCC"]
    head += ["Log loss", "Brier score", "Calibration error"]
    caption = "Test slices, with 95% intervals below; by patient: one vote each, the primary figure."
    return Table(caption, head, rows, sortable=True)


def _runs(entry: Entry) -> str:
    if len(entry.folds) == len(entry.seeds) == 1:
        return f"fold {entry.folds[0]}, seed {entry.seeds[0]}"
    return f"{len(entry.folds)} folds, {len(entry.seeds)} seed{'s' * (len(entry.seeds) > 1)}"


def _share(scores: Scores, name: str) -> Cell:
    return Cell(percent(getattr(scores, name)), interval(getattr(scores, f"{name}_ci95")))


def _number(scores: Scores, name: str) -> Cell:
    return Cell(number(getattr(scores, name)), number_interval(getattr(scores, f"{name}_ci95")))


def _pairs_table(pairs: Sequence[Pair]) -> Table:
    rows = []
    for pair in pairs:
        one, name = pair.comparison, f"{pair.second} less {pair.first}"
        if one is None:
            rows.append([Cell(name, f"{amount(pair.slices)} shared slices"), *["not compared"] * 4])
            continue
        bounds = one.difference_ci95 and tuple(100 * bound for bound in one.difference_ci95)
        votes = "" if one.first_only is None else f"{one.first_only} : {one.second_only}"
        rows.append(
            [
                Cell(name, f"{amount(pair.slices)} shared slices"),
                Cell(
                    signed(100 * one.difference, 1),
                    "" if not bounds else f"{signed(bounds[0], 1)} to {signed(bounds[1], 1)}",
                ),
                number(one.p_permutation),
                number(one.p_holm),
                Cell(number(one.p_mcnemar), votes),
            ]
        )
    return Table(
        "On test slices that both have: the difference of accuracies in percentage points with its 95% interval, the "
        "p-value of a permutation test by family of patients, the same corrected for the number of pairs (Holm), and "
        "McNemar's test of the patients' votes (below: patients that only the first and only the second has right).",
        ["Pair", "Difference", "p", "p (Holm)", "p (McNemar)"],
        rows,
        sortable=True,
    )


def _strangers(pairs: Sequence[Pair]) -> list[str]:
    """What could not be compared, and why."""
    lines = []
    for pair in pairs:
        if pair.strangers:
            lines.append(
                f"{pair.first} and {pair.second} share {amount(pair.strangers)} ids whose class or patient differs: "
                "their data sets are not the same, and these slices are not compared."
            )
        if pair.comparison is None:
            why = "their classes differ" if pair.slices else "they share no test slice"
            lines.append(f"{pair.first} and {pair.second} are not compared: {why}.")
    return lines


def _classes_table(entries: Sequence[Entry]) -> Table:
    rows = [
        [
            Cell(entry.name, capitalised(name)),
            amount(one.support),
            *(
                Cell(percent(getattr(one, metric)), interval(getattr(one, f"{metric}_ci95")))
                for metric in ("recall", "specificity", "precision", "f1", "roc_auc")
            ),
        ]
        for entry in entries
        for name, one in entry.scores.per_class.items()
    ]
    head = ["Run and class", "Slices", "Sensitivity", "Specificity", "Positive predictive value", "F1", "ROC AUC"]
    return Table("Each class against the others, with 95% intervals.", head, rows, sortable=True)


def _curves(entries: Sequence[Entry], tested: Sequence[Tested]) -> list[Picture]:
    bins, risks = {}, {}
    for entry, one in zip(entries, tested, strict=True):
        rows = one.labelled()
        table, selective = reliability(rows.probabilities, one.labels), selective_report(rows)
        bins[entry.name] = np.array(table.confidence), np.array(table.accuracy)
        risks[entry.name] = np.array(selective.coverage), np.array(selective.risk)
    pictures = [
        Picture(reliability_curves(bins), "Reliability: how often predictions of a confidence are correct."),
        Picture(risk_curves(risks), "Risk by coverage: mistakes among the slices that are answered."),
    ]
    histories = {entry.name: one.histories for entry, one in zip(entries, tested, strict=True) if one.histories}
    if histories:
        caption = "Validation accuracy by epoch; one line for each run."
        pictures.insert(0, Picture(learning_curves(histories), caption))
    return pictures


def _matrices(entries: Sequence[Entry]) -> list[Picture]:
    return [
        Picture(
            confusion_matrix(entry.scores.confusion_matrix, tuple(entry.scores.per_class), entry.name),
            f"{entry.name}: test predictions, counts and their share of the true class.",
        )
        for entry in entries
    ]


def _protocol_table(entries: Sequence[Entry]) -> Table:
    rows = [
        [
            Cell(entry.name, entry.title),
            entry.protocol,
            ", ".join(map(str, entry.folds)),
            ", ".join(map(str, entry.seeds)),
            entry.selection.replace("_", " "),
            entry.image_size,
            amount(entry.tested),
            amount(entry.scores.patients),
        ]
        for entry in entries
    ]
    head = ["Run", "Protocol", "Folds", "Seeds", "Checkpoint chosen by", "Pixels", "Slices tested", "Patients"]
    return Table("", head, rows)


def _cost_table(entries: Sequence[Entry]) -> Table:
    rows = []
    for entry in entries:
        cost = entry.cost
        flops = "not known" if cost.flops is None else f"{cost.flops / 1e9:.3g}"
        size = "not known" if cost.parameters is None else f"{cost.parameters / 1e6:.3g}"
        rows.append([entry.name, duration(cost.seconds), cost.device, size, flops])
    head = ["Run", "Training", "Device", "Parameters (millions)", "Forward pass of a slice (10^9 operations)"]
    return Table("Training of all runs of a row together; operations as XLA counts them.", head, rows, sortable=True)


def _literature_table() -> Table:
    rows = [
        [
            Cell(one.work, one.model),
            f"{one.percent:g}%",
            one.division,
            "yes" if one.keeps_patients else "no",
            "yes" if one.masks else "no",
        ]
        for one in LITERATURE
    ]
    return Table(
        "As printed, without intervals. Compare a number only with one whose division is the same.",
        ["Work", "Accuracy", "Division", "Patients kept together", "Needs the outline"],
        rows,
        sortable=True,
    )
