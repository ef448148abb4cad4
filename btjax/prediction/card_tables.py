"""The numbers of a model card: every score of a run's report with its interval, as Markdown tables."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from btjax.evaluation.metrics import CLASS_METRICS
from btjax.reports.numbers import (
    UNDEFINED,
    amount,
    capitalised,
    number,
    number_with_interval,
    percent,
    percent_with_interval,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.evaluation.classification import Scores
    from btjax.evaluation.estimates import Estimate
    from btjax.evaluation.segmentation import OutlineScores, SegmentationScores
    from btjax.runs.report import (
        ClassifierReport,
        RankingReport,
        ReconstructionReport,
        Report,
        RunInfo,
        SegmentationReport,
    )

_BASELINES = {"linear_model": "Linear model on 32x32 pixels", "class_prior": "Class frequencies alone"}

_MAIN = {
    "accuracy": "Accuracy",
    "macro_recall": "Balanced accuracy",
    "macro_precision": "Macro precision",
    "macro_specificity": "Macro specificity",
    "macro_f1": "Macro F1",
    "roc_auc": "ROC AUC",
    "mcc": "Matthews' coefficient",
    "log_loss": "Log loss",
    "brier_score": "Brier score",
    "expected_calibration_error": "Calibration error",
    "calibration_slope": "Calibration slope",
    "calibration_intercept": "Calibration intercept",
}
_PLAIN = ("mcc", "log_loss", "brier_score", "calibration_slope", "calibration_intercept")
"""Scores that are no shares."""

_CLASS = {"precision": "Precision", "recall": "Recall", "specificity": "Specificity", "f1": "F1", "roc_auc": "ROC AUC"}

_OUTLINE = {
    "dice": "Dice",
    "recall": "Pixel recall",
    "precision": "Pixel precision",
    "pointing": "Pointing",
    "empty": "Empty outlines",
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others stand to the right.

    Example:
      >>> print(table(["", "Accuracy"], [["Test", "96.4%"]]))
      |  | Accuracy |
      |---|---:|
      | Test | 96.4% |
    """
    lines = [f"| {' | '.join(head)} |", f"|---{'|---:' * (len(head) - 1)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def plain(text: str) -> str:
    """Text from a data set, such as a class name, that Markdown and HTML leave as it is.

    Example:
      >>> plain("a|<b>"), plain("grade_2")
      ('a&#124;&lt;b&gt;', 'grade_2')
    """
    text = html.escape(" ".join(str(text).split()), quote=False)
    for letter in "\\`*|[]":
        text = text.replace(letter, f"&#{ord(letter)};")
    return text


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """A Markdown list of names and values.

    Example:
      >>> print(facts([("Input", "grey slices")]))
      - **Input:** grey slices
    """
    return "\n".join(f"- **{name}:** {value}" for name, value in pairs)


def score_sections(report: Report) -> list[str]:
    """Every score of a report as Markdown: headings of the third level with their tables."""
    writers = {
        "classification": _classifier,
        "segmentation": _segmenter,
        "reconstruction": _autoencoder,
        "retrieval": _ranking,
    }
    return writers[report.task](report)


def headline(report: Any) -> str:
    """The one number that a run is known by, with its interval, in words.

    Args:
      report: of any kind.
    """
    test = report.test
    if report.task == "classification":
        scored = percent_with_interval(test.accuracy, test.accuracy_ci95)
        return f"accuracy {scored} on {amount(test.slices)} test slices"
    if report.task == "segmentation":
        return f"Dice {_number(test.dice)} on {amount(test.slices)} test slices"
    if report.task == "reconstruction":
        scored = number_with_interval(test.mae, test.mae_ci95)
        return f"mean absolute error {scored} on {amount(test.slices)} test slices"
    return f"mean average precision {_share(test.average_precision)} of {amount(test.queries)} test slices"


def counts_table(report: RunInfo) -> str:
    """Slices and patients of each side of the split."""
    rows = [[capitalised(side), amount(one.slices), amount(one.patients)] for side, one in report.counts.items()]
    return table(["Part", "Slices", "Patients"], rows)


def sources_table(report: ClassifierReport) -> str:
    """Slices and patients of each class by source, over the whole data set; "" where sources are not known."""
    if not report.sources:
        return ""
    rows = [
        [plain(row.source), *(f"{amount(count)} ({amount(row.patients[name])})" for name, count in row.slices.items())]
        for row in report.sources
    ]
    return table(["Slices (patients)", *map(plain, report.sources[0].slices)], rows)


def _classifier(report: ClassifierReport) -> list[str]:
    sections = ["### All slices", _main_table(report)]
    sections += ["### Test slices by class", _class_table(report.test), _confusion(report.test, report.classes)]
    for group, title in (("source", "### Test slices by source"), ("plane", "### Test slices by plane")):
        if rows := [row for row in report.parts if row.group == group]:
            head = [capitalised(group), "Slices", "Accuracy", *(f"Recall, {plain(name)}" for name in report.classes)]
            cells = [
                [
                    plain(row.value),
                    amount(row.rows),
                    _share(row.accuracy),
                    *(_counted(row.recall[name]) for name in report.classes),
                ]
                for row in rows
            ]
            sections += [title, table(head, cells)]
    if not report.parts:
        sections.append(
            "By source and by plane: not known, or not in this report; evaluating the run again (`--eval_only`) adds "
            "what the data set tells."
        )
    sections += _calibration(report)
    if report.outlines is not None:
        sections += ["### The network's own outlines", _outline_table({"Test": report.outlines})]
    return sections


def _main_table(report: ClassifierReport) -> str:
    scored: dict[str, Scores] = {f"Test, {amount(report.test.predictions)} slices": report.test}
    if report.test.by_patient is not None:
        scored[f"Test, {amount(report.test.by_patient.patients)} patients"] = report.test.by_patient
    if report.validation is not None:
        scored[f"Validation, {amount(report.validation.predictions)} slices"] = report.validation
    for name, scores in report.baselines.items():
        scored[f"{_BASELINES.get(name, capitalised(name))}, test"] = scores
    rows = [[title, *(_metric(one, name) for one in scored.values())] for name, title in _MAIN.items()]
    return table(["", *scored], rows)


def _metric(scores: Any, name: str) -> str:
    value, bounds = getattr(scores, name), getattr(scores, f"{name}_ci95")
    write = number_with_interval if name in _PLAIN else percent_with_interval
    return write(value, bounds)


def _class_table(test: Scores) -> str:
    rows = [
        [plain(name), amount(scores.support), *(_metric(scores, metric) for metric in CLASS_METRICS)]
        for name, scores in test.per_class.items()
    ]
    return table(["Class", "Slices", *(_CLASS[name] for name in CLASS_METRICS)], rows)


def _confusion(test: Scores, classes: Sequence[str]) -> str:
    rows = [
        [f"True {plain(name)}", *map(amount, counts)]
        for name, counts in zip(classes, test.confusion_matrix, strict=True)
    ]
    return table(["Counts", *(f"called {plain(name)}" for name in classes)], rows)


def _calibration(report: ClassifierReport) -> list[str]:
    lines = []
    if (found := report.temperature) is not None:
        lines.append(
            f"- Temperature {number(found.value)}, fitted on {amount(found.fitted_rows)} validation slices: log loss "
            f"{number(found.log_loss_before)} without it, {number(found.log_loss)} with it; calibration error "
            f"{percent(found.calibration_error_before)} and {percent(found.calibration_error)}."
        )
    for one in report.conformal:
        by_class = ", ".join(f"{plain(name)} {percent(share)}" for name, share in one.coverage_by_class.items())
        lines.append(
            f"- Conformal sets that promise {percent(one.level)}: they hold the class of "
            f"{percent_with_interval(one.coverage, one.coverage_ci95)} of the test slices ({by_class}), "
            f"{number(one.mean_size, 2)} classes each; {percent(one.single)} hold one class, {percent(one.empty)} none."
        )
    surest = report.selective
    lines.append(
        f"- On the surest {percent(surest.answered)} of the test slices: accuracy "
        f"{percent_with_interval(surest.accuracy, surest.accuracy_ci95)}; area under the risk-coverage curve "
        f"{number_with_interval(surest.aurc, surest.aurc_ci95)}."
    )
    return ["### Calibration and doubt", "\n".join(lines)]


def _segmenter(report: SegmentationReport) -> list[str]:
    sides = {"Test": report.test, "Validation": report.validation}
    scored = {name: one for name, one in sides.items() if one is not None}
    by_class: dict[str, OutlineScores] = {plain(name): one for name, one in report.test.by_class.items()}
    return ["### All slices", _outline_table(scored), "### Test slices by class", _outline_table(by_class)]


def _outline_table(scored: dict[str, SegmentationScores] | dict[str, OutlineScores]) -> str:
    rows = [
        [name, amount(scores.slices), *(_number(getattr(scores, metric)) for metric in _OUTLINE)]
        for name, scores in scored.items()
    ]
    return table(["", "Slices", *_OUTLINE.values()], rows)


def _autoencoder(report: ReconstructionReport) -> list[str]:
    rows = []
    for name, one in (("Test", report.test), ("Validation", report.validation)):
        values = [
            number_with_interval(getattr(one, metric), getattr(one, f"{metric}_ci95"))
            for metric in ("mae", "psnr", "ssim")
        ]
        rows.append([name, amount(one.slices), *values])
    return ["### All slices", table(["", "Slices", "Mean absolute error", "PSNR, dB", "SSIM"], rows)]


def _ranking(report: RankingReport) -> list[str]:
    sections = []
    for title, scores in (
        ("### The whole database", report.test),
        ("### Without the query's own family", report.others),
    ):
        rows = [["All classes", _share(scores.average_precision)]]
        rows += [[plain(name), _share(one)] for name, one in scores.by_class.items()]
        rows += [[f"Precision of the nearest {name}", _share(one)] for name, one in scores.precision.items()]
        rows.append(["Chance", percent(scores.chance)])
        sections += [title, table(["Mean average precision", ""], rows)]
    return sections


def _share(estimate: Estimate) -> str:
    return percent_with_interval(estimate.value, estimate.ci95)


def _counted(estimate: Estimate) -> str:
    """A share with its rows; nothing of a class that has none there."""
    return UNDEFINED if not estimate.rows else f"{_share(estimate)} of {amount(estimate.rows)}"


def _number(estimate: Estimate) -> str:
    return number_with_interval(estimate.value, estimate.ci95)
