"""report.html of a classifier: its figures, and one page of its numbers."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from btjax.evaluation.published import CLASSES as PAPER_CLASSES
from btjax.reports.numbers import amount, duration, interval, number, number_interval, percent
from btjax.reports.page import Bar, Cell, Headline, Note, Picture, Section, Table, flattened, render
from btjax.runs.report import write_report
from btjax.runs.run import REPORT
from btjax.systems.system import find_system

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from matplotlib.figure import Figure

    from btjax.data.slices import Slices
    from btjax.evaluation.classification import ClassScores, Scores
    from btjax.evaluation.published import PublishedResult
    from btjax.runs.folder import RunFolder
    from btjax.runs.report import ClassifierReport, SplitInfo

_CAPTIONS = {
    "curves": "Accuracy and loss by epoch, in the form of the paper's Figure 15.",
    "confusion_test": "Confusion matrix of the test slices: counts and their share of the true class.",
    "confusion_by_patient": "Confusion matrix of the test patients, one prediction each.",
    "confusion_validation": "Confusion matrix of the validation slices.",
    "mistakes": "The test slices that are wrong with the highest probability.",
}

_PROTOCOLS = {
    "slice": "Slices were divided at random, as in the paper, whichever patient they show.",
    "patient": "Patients were divided at random: all slices of one patient id are on one side.",
    "family": "Patients were divided at random; ids that differ only in a letter suffix were kept together.",
    "official": "The test rows are a fold that the dataset's authors made, divided by patient id.",
    "linked": "Slices that belong together by their pixels are on one side; who the patients are is not known.",
    "given": "The test rows are those of the data set's own division into folders.",
}

_BASELINES = {"linear_model": "Linear model on 32x32 pixels", "class_prior": "Class frequencies alone"}


def write_classifier_report(folder: RunFolder, report: ClassifierReport, tested: Slices, logits: np.ndarray) -> None:
    """Writes figures/, report.html and report.json into a run's folder.

    The paper's result is shown where the system reproduces one, on real slices of the paper's classes.

    Args:
      folder: of the run.
      report: the classifier's scores.
      tested: the test slices, with their labels.
      logits: float [N, C] of the test slices.
    """
    from scipy.special import softmax

    system = find_system(report.system)
    comparable = not report.data.synthetic and set(report.classes) == set(PAPER_CLASSES)
    beside_paper = comparable and system.curves
    figures = classifier_figures(report, tested, softmax(logits, axis=1), folder.history(), beside_paper=beside_paper)
    for name, figure in figures.items():
        folder.write_figure(name, figure)
    folder.write_text("report.html", classifier_page(report, figures, system.published if comparable else None))
    write_report(folder.path / REPORT, report)


def classifier_figures(
    report: ClassifierReport,
    tested: Slices,
    probabilities: np.ndarray,
    history: Sequence[Mapping[str, Any]],
    *,
    beside_paper: bool = False,
) -> dict[str, Figure]:
    """Draws training curves, confusion matrices and the worst mistakes.

    Args:
      report: the classifier's scores.
      tested: the test slices, with their labels.
      probabilities: float [N, C] of the test slices.
      history: one row of metrics per epoch; without any there are no curves.
      beside_paper: whether to draw the curves of the paper's Figure 15 as well.

    Returns:
      name -> figure: `curves`, `confusion_test`, `confusion_validation`, `confusion_by_patient` (with patient ids) and
      `mistakes`.
    """
    from btjax.figures.confusion import confusion_matrix
    from btjax.figures.curves import training_curves
    from btjax.figures.mistakes import worst_mistakes

    if tested.labels is None:
        raise ValueError("mistakes need the labels of the test slices")
    classes, figures = report.classes, {}
    if history:
        figures["curves"] = training_curves(history, beside_paper, report.checkpoint.epoch)
    matrices = {
        "confusion_test": (report.test, "Test slices"),
        "confusion_validation": (report.validation, "Validation slices"),
        "confusion_by_patient": (report.test.by_patient, "Test patients, one prediction each"),
    }
    for name, (scores, title) in matrices.items():
        if scores is not None:
            figures[name] = confusion_matrix(scores.confusion_matrix, classes, title)
    figures["mistakes"] = worst_mistakes(
        tested.images, tested.labels, probabilities, classes, ids=tested.ids, masks=tested.masks
    )
    return figures


def classifier_page(
    report: ClassifierReport, figures: Mapping[str, Figure], published: PublishedResult | None = None
) -> str:
    """Renders report.html, a page that needs no other file and no network.

    Args:
      report: the classifier's scores.
      figures: of `classifier_figures`; any other is shown under its own name.
      published: the paper's result to compare with, or None.
    """
    sections = [
        Section(
            "All results",
            [_comparison(report, published)],
            remarks=_remarks(report, published),
        ),
        _by_class(report, published),
        *_figure_sections(report, figures),
        Section("Run", pairs=_facts(report)),
        Section("Configuration", pairs=flattened(report.config)),
        Section("Versions", pairs=flattened(report.versions)),
    ]
    return render(report.title, sections, headline=_headline(report), notes=_notes(report))


def _remarks(report: ClassifierReport, published: PublishedResult | None) -> list[str]:
    """On intervals that are missing, and on the paper's."""
    remarks, test = [], report.test
    if test.interval.units > 1 and test.macro_f1 is not None and test.macro_f1_ci95 is None:
        remarks.append(
            "Means of classes have no interval where more than a tenth of the resamples miss a class: too few "
            f"{test.interval.unit}s show it."
        )
    if published is not None:
        remarks.append(
            f"{published.remark} Its interval is the exact binomial one, by slice: the paper does not say which "
            "patients it tested."
        )
    return remarks


def _headline(report: ClassifierReport) -> Headline:
    test = report.test
    details = [] if test.accuracy_ci95 is None else [f"95% interval {interval(test.accuracy_ci95)}%"]
    counts = [[_capitalised(side), amount(one.slices), amount(one.patients)] for side, one in report.counts.items()]
    return Headline(
        percent(test.accuracy),
        "test accuracy",
        [*details, f"resampled by {test.interval.unit}"],
        protocol_sentences(report.protocol, report.split),
        Table("", ["Part", "Slices", "Patients"], counts),
    )


def protocol_sentences(protocol: str, split: SplitInfo) -> list[str]:
    """The split in words: what was kept together, and what that says about new patients."""
    words = _PROTOCOLS.get(protocol, f"The protocol is {protocol}.")
    return [
        f"{words} Fold {split.fold} of {split.folds}, counted from 0. Split seed {split.seed}.",
        *_leak_sentences(protocol, split.leaked_patients, split.leaked_families),
    ]


def _leak_sentences(protocol: str, patients: int | None, families: int | None) -> list[str]:
    if patients:
        same = f" ({families} {'family' if families == 1 else 'families'})" if families else ""
        who = f"{patients} patient{same} has" if patients == 1 else f"{patients} patients{same} have"
        return [
            f"{who} slices on more than one side of the split: these numbers say how well other slices of known "
            "patients are told apart, not how well new patients are."
        ]
    if families:
        who = "1 family of ids is" if families == 1 else f"{families} families of ids are"
        return [
            f"No patient id is on two sides, but {who}: ids that differ only in a letter suffix may be one person "
            "examined twice."
        ]
    if patients == 0:
        return ["No patient is on two sides of the split."]
    if protocol in ("slice", "linked", "given"):
        return ["How many patients are on two sides is not known: this form of the data has no patient ids."]
    return []


def _notes(report: ClassifierReport) -> list[Note]:
    """What the numbers cannot say."""
    test, notes = report.test, [Note(f"{note[0].upper()}{note[1:]}.", "Data:") for note in report.data.notes]
    unit, units = test.interval.unit, test.interval.units
    if report.data.synthetic:
        notes.append(
            Note(
                "These slices were drawn by a program. The numbers show that the program works; they say nothing about "
                "patients and cannot be compared with the paper's.",
                "Synthetic data.",
            )
        )
    if unit == "slice":
        notes.append(
            Note(
                "These data carry no patient ids. The intervals treat slices as independent, and are too narrow where "
                "several slices show one patient."
            )
        )
    if test.accuracy == 1:
        # Without a mistake every resample is perfect too; (1 - share)^units = 0.05 is the exact bound.
        lowest = percent(0.05 ** (1 / units))
        notes.append(
            Note(
                "No test slice is wrong, so no resample has a mistake either: the interval has no width, yet the value "
                f"is not certain. {units} {unit}s without a mistake say, at 95% confidence, that at least {lowest} of "
                f"such {unit}s have none."
            )
        )
    return notes


def _comparison(report: ClassifierReport, published: PublishedResult | None) -> Table:
    """One row for each set of scores: test by slice and by patient, validation, baselines, the paper."""
    scored: list[tuple[str, Scores]] = []
    for name, scores in (
        ("Test", report.test),
        ("Validation", report.validation),
        ("Validation and test", report.held_out),
    ):
        scored.append((name, scores))
        if scores.by_patient is not None:
            scored.append((f"{name}, by patient", scores.by_patient))
    known = [name for name in _BASELINES if name in report.baselines]
    others = [name for name in report.baselines if name not in _BASELINES]
    scored += [(f"{_BASELINES.get(name, name)}, test", report.baselines[name]) for name in known + others]
    bounds = [(one.accuracy, one.accuracy_ci95) for _, one in scored]
    if published is not None:
        bounds.append((published.accuracy, published.accuracy_ci95))
    start = _scale_start(bounds)
    rows = [_scores_row(name, scores, start) for name, scores in scored]
    if published is not None:
        rows.append(_published_row(published, start))
    settings = report.test.interval
    return Table(
        f"Values with 95% intervals below them ({settings.method}, {settings.resamples} resamples by {settings.unit}); "
        f"the bars show accuracy and its interval on a scale from {100 * start:.0f} to 100%.",
        ["Scored on", "Accuracy", "", "Macro F1", "ROC AUC", "Log loss", "Calibration error"],
        rows,
        strong=[0],
    )


def _scores_row(name: str, scores: Scores, start: float) -> list[Cell]:
    size = f"{amount(scores.predictions)} slices"
    if name.endswith("by patient"):
        size = f"{amount(scores.patients)} patients"
    return [
        Cell(name, size),
        _percent_cell(scores, "accuracy"),
        Cell("", bar=Bar(scores.accuracy, scores.accuracy_ci95, start)),
        _percent_cell(scores, "macro_f1"),
        _percent_cell(scores, "roc_auc"),
        Cell(number(scores.log_loss), number_interval(scores.log_loss_ci95)),
        _percent_cell(scores, "expected_calibration_error"),
    ]


def _published_row(published: PublishedResult, start: float) -> list[Cell]:
    return [
        Cell(f"Paper, {published.figure}", f"{amount(published.slices)} slices"),
        _percent_cell(published, "accuracy"),
        Cell("", bar=Bar(published.accuracy, published.accuracy_ci95, start)),
        Cell(percent(published.macro_f1)),
        *[Cell(percent(None))] * 3,
    ]


def _percent_cell(scores: Scores | ClassScores | PublishedResult, name: str) -> Cell:
    return Cell(percent(getattr(scores, name)), interval(getattr(scores, f"{name}_ci95")))


def _scale_start(accuracies: Sequence[tuple[float, tuple[float, float] | None]]) -> float:
    """Where the accuracy bars begin: the tenth below the lowest value or bound."""
    lowest = min(min(value, *(bounds or ())) if bounds else value for value, bounds in accuracies)
    return min(math.floor(lowest * 10) / 10, 0.9)


def _by_class(report: ClassifierReport, published: PublishedResult | None) -> Section:
    """The test slices by class, beside the paper's table."""
    test, head = report.test, ["Class", "Slices", "Precision", "Recall", "F1", "ROC AUC"]

    def papers(name: str) -> list[str]:
        if published is None:
            return []
        values = published.percents.get(name)
        return [percent(None)] * 3 if values is None else [f"{value}%" for value in values]

    rows = [
        [
            _capitalised(name),
            amount(scores.support),
            *(_percent_cell(scores, metric) for metric in ("precision", "recall", "f1", "roc_auc")),
            *papers(name),
        ]
        for name, scores in test.per_class.items()
    ]
    means = (_percent_cell(test, metric) for metric in ("macro_precision", "macro_recall", "macro_f1", "roc_auc"))
    rows.append(["Mean of classes", amount(test.slices), *means, *papers("average")])
    title, caption, groups = "Test slices by class", "In percent, with 95% intervals.", []
    if published is not None:
        head += ["Precision", "Recall", "F1"]
        title += f", beside the paper's {published.table}"
        caption += " The paper's values are as printed, in whole percent."
        groups = [("", 1), ("Here", 5), ("Paper", 3)]
    return Section(title, [Table(caption, head, rows, groups, strong=[len(rows) - 1])])


def _capitalised(name: str) -> str:
    """The first letter alone: what follows may be an abbreviation."""
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _figure_sections(report: ClassifierReport, figures: Mapping[str, Figure]) -> list[Section]:
    def pictures(names: Sequence[str]) -> list[Picture]:
        return [
            Picture(figures[name], _CAPTIONS.get(name, name.replace("_", " ")), _alternative_text(name, report))
            for name in names
            if name in figures
        ]

    confusion = [name for name in (*_CAPTIONS, *figures) if name.startswith("confusion")]
    others = [name for name in figures if name not in _CAPTIONS and name not in confusion]
    return [
        Section("Training", pictures=pictures(["curves"])),
        Section("Confusion", pictures=pictures(list(dict.fromkeys(confusion))), side_by_side=len(report.classes) < 6),
        Section("Worst mistakes", pictures=pictures(["mistakes"])),
        Section("Further figures", pictures=pictures(others)),
    ]


def _alternative_text(name: str, report: ClassifierReport) -> str:
    """All counts of a confusion matrix in words; of other figures the caption says enough."""
    scores = {
        "confusion_test": report.test,
        "confusion_by_patient": report.test.by_patient,
        "confusion_validation": report.validation,
    }.get(name)
    if scores is None:
        return ""
    rows = [
        f"true {truth}: "
        + ", ".join(f"{count} as {guess}" for guess, count in zip(report.classes, counts, strict=True))
        for truth, counts in zip(report.classes, scores.confusion_matrix, strict=True)
    ]
    return f"{_CAPTIONS[name]} {'; '.join(rows)}."


def _facts(report: ClassifierReport) -> list[tuple[str, str]]:
    """The short facts of the run: data, checkpoint, training."""
    checkpoint, training = report.checkpoint, dataclasses.asdict(report.training)
    facts = [("Data", report.data.form), ("Folder", report.data.dir)]
    if checkpoint.epoch is not None:
        step = "" if checkpoint.step is None else f", step {checkpoint.step}"
        facts.append(("Checkpoint", f"epoch {checkpoint.epoch}{step}"))
    facts.append(("Chosen by", checkpoint.criterion.replace("_", " ")))
    names = {"epochs": "Epochs trained", "seconds": "Training time"}
    for name, value in training.items():
        if value is not None:
            told = duration(value) if name == "seconds" else str(value)
            facts.append((names.get(name, _capitalised(name)), told))
    return [(name, value) for name, value in facts if value]
