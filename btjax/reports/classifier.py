"""report.html of a classifier: its figures, and one page of its numbers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from btjax.evaluation.published import CLASSES as PAPER_CLASSES
from btjax.reports.calibration import calibration_section
from btjax.reports.deviations import deviation_section
from btjax.reports.numbers import amount, capitalised, duration, interval, percent
from btjax.reports.outlines import OUTLINE_CAPTION, OUTLINE_REMARK, outline_examples, outline_table
from btjax.reports.page import Headline, Note, Picture, Section, Table, flattened, render
from btjax.reports.scores import class_section, interval_notes, scores_table
from btjax.runs.report import write_report
from btjax.runs.run import REPORT
from btjax.systems.system import find_system

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from matplotlib.figure import Figure

    from btjax.evaluation.published import PublishedResult
    from btjax.readers.slices import Slices
    from btjax.runs.folder import RunFolder
    from btjax.runs.outlines import Outlines
    from btjax.runs.report import ClassifierReport, RunInfo, SplitInfo
    from btjax.systems.deviations import Deviation

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


def write_classifier_report(
    folder: RunFolder,
    report: ClassifierReport,
    tested: Slices,
    logits: np.ndarray,
    differences: Sequence[Deviation] = (),
    *,
    outlines: Outlines | None = None,
) -> None:
    """Writes figures/, report.html and report.json into a run's folder.

    The paper's result is shown where the system reproduces one, on real slices of the paper's classes.

    Args:
      folder: of the run.
      report: the classifier's scores.
      tested: the test slices, with their labels.
      logits: float [N, C] of the test slices.
      differences: how the run differs from its paper's experiment, shown beside the paper's result.
      outlines: of the test slices, by a network that outlines them.
    """
    from scipy.special import softmax

    system = find_system(report.system)
    comparable = not report.data.synthetic and set(report.classes) == set(PAPER_CLASSES)
    beside_paper = comparable and system.curves
    figures = classifier_figures(report, tested, softmax(logits, axis=1), folder.history(), beside_paper=beside_paper)
    if outlines is not None and tested.masks is not None:
        figures["outlines"] = outline_examples(tested, outlines)
    for name, figure in figures.items():
        folder.write_figure(name, figure)
    published, differences = (system.published, differences) if comparable else (None, ())
    folder.write_text("report.html", classifier_page(report, figures, published, differences))
    write_report(folder.path / REPORT, report)


def classifier_figures(
    report: ClassifierReport,
    tested: Slices,
    probabilities: np.ndarray,
    history: Sequence[Mapping[str, Any]],
    *,
    beside_paper: bool = False,
) -> dict[str, Figure]:
    """Draws training curves, confusion matrices, calibration, abstaining and the worst mistakes.

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
    from btjax.figures.calibration import reliability_diagram, risk_coverage
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
    curves = {"test slices": report.reliability, "test patients": report.reliability_by_patient}
    figures["reliability"] = reliability_diagram({name: one for name, one in curves.items() if one is not None})
    figures["risk_coverage"] = risk_coverage(report.selective)
    figures["mistakes"] = worst_mistakes(
        tested.images, tested.labels, probabilities, classes, ids=tested.ids, masks=tested.masks
    )
    return figures


def classifier_page(
    report: ClassifierReport,
    figures: Mapping[str, Figure],
    published: PublishedResult | None = None,
    differences: Sequence[Deviation] = (),
) -> str:
    """Renders report.html, a page that needs no other file and no network.

    Args:
      report: the classifier's scores.
      figures: of `classifier_figures`; any other is shown under its own name.
      published: the paper's result to compare with, or None.
      differences: how the run differs from the paper's experiment.
    """
    sections = [
        Section(
            "All results",
            [_comparison(report, published)],
            remarks=_remarks(report, published),
        ),
        class_section(report.test, published),
        calibration_section(report, figures),
        deviation_section(differences),
        _outline_section(report, figures),
        *_figure_sections(report, figures),
        Section("Run", pairs=run_facts(report)),
        Section("Configuration", pairs=flattened(report.config)),
        Section("Versions", pairs=flattened(report.versions)),
    ]
    return render(
        report.title, sections, headline=_headline(report), notes=data_notes(report) + interval_notes(report.test)
    )


def _outline_section(report: ClassifierReport, figures: Mapping[str, Figure]) -> Section:
    """Where a network that outlines tumours sees them; empty for others."""
    if report.outlines is None:
        return Section("")
    shown = [Picture(figures["outlines"], OUTLINE_CAPTION)] if "outlines" in figures else []
    sides = {"test": report.outlines, "validation": report.outlines_validation}
    tables = [outline_table(side, scores) for side, scores in sides.items() if scores is not None]
    return Section("The network's own outlines", tables, pictures=shown, remarks=[OUTLINE_REMARK])


def _remarks(report: ClassifierReport, published: PublishedResult | None) -> list[str]:
    """On intervals that are missing, and on the paper's."""
    remarks, test = [], report.test
    if test.interval.units > 1 and test.macro_f1 is not None and test.macro_f1_ci95 is None:
        remarks.append(
            f"Means of classes have no interval: fewer than two {test.interval.unit}s show one of the classes, or were "
            "called it."
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
    counts = [[capitalised(side), amount(one.slices), amount(one.patients)] for side, one in report.counts.items()]
    return Headline(
        percent(test.accuracy),
        "test accuracy",
        [*details, f"by {test.interval.unit}"],
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


def data_notes(report: RunInfo) -> list[Note]:
    """What people should know of the data before they read numbers."""
    notes = [Note(f"{note[0].upper()}{note[1:]}.", "Data:") for note in report.data.notes]
    if report.data.synthetic:
        notes.append(
            Note(
                "These slices were drawn by a program. The numbers show that the program works; they say nothing about "
                "patients and cannot be compared with the paper's.",
                "Synthetic data.",
            )
        )
    return notes


def _comparison(report: ClassifierReport, published: PublishedResult | None) -> Table:
    """One row for each set of scores: test by slice and by patient, validation, baselines, the paper."""
    sides = {"Test": report.test, "Validation": report.validation, "Validation and test": report.held_out}
    scored = {name: scores for name, scores in sides.items() if scores is not None}
    return scores_table(scored, report.baselines, published)


def _figure_sections(report: ClassifierReport, figures: Mapping[str, Figure]) -> list[Section]:
    def pictures(names: Sequence[str]) -> list[Picture]:
        return [
            Picture(figures[name], _CAPTIONS.get(name, name.replace("_", " ")), _alternative_text(name, report))
            for name in names
            if name in figures
        ]

    confusion = [name for name in (*_CAPTIONS, *figures) if name.startswith("confusion")]
    shown = (*_CAPTIONS, *confusion, "reliability", "risk_coverage", "outlines")
    others = [name for name in figures if name not in shown]
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


def run_facts(report: RunInfo) -> list[tuple[str, str]]:
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
            facts.append((names.get(name, capitalised(name)), told))
    return [(name, value) for name, value in facts if value]
