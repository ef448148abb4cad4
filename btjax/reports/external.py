"""report.html of a test on another data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btjax.reports.numbers import amount, capitalised, interval, percent
from btjax.reports.page import Headline, Note, Picture, Section, Table, flattened, render
from btjax.reports.scores import class_section, interval_notes, scores_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from btjax.studies.external import External, ExternalReport

_CAPTIONS = {
    "confusion": "Confusion matrix of the tested slices: counts and their share of the true class.",
    "mistakes": "The tested slices that are wrong with the highest probability.",
}


def external_figures(report: ExternalReport, external: External) -> dict[str, Figure]:
    """Draws the confusion matrix and the worst mistakes.

    Args:
      report: the scores.
      external: the slices with their predictions.
    """
    from scipy.special import softmax

    from btjax.figures.confusion import confusion_matrix
    from btjax.figures.mistakes import worst_mistakes

    rows = external.tested
    slices = external.slices.take(rows)
    probabilities = softmax(external.logits[rows], axis=1)
    return {
        "confusion": confusion_matrix(report.test.confusion_matrix, report.classes, "Slices of the other data set"),
        "mistakes": worst_mistakes(
            slices.images, external.labels[rows], probabilities, report.classes, ids=slices.ids, masks=slices.masks
        ),
    }


def external_page(report: ExternalReport, figures: Mapping[str, Figure]) -> str:
    """Renders the page, which needs no other file and no network.

    Args:
      report: the scores.
      figures: of `external_figures`.
    """
    scored = {"Test": report.test}
    if report.linked_too is not None:
        scored["With linked slices"] = report.linked_too
    pictures = [Picture(figures[name], caption) for name, caption in _CAPTIONS.items() if name in figures]
    facts = [
        ("Run", report.run),
        ("Trained on", f"{report.own.form}; {report.own.dir}"),
        ("Tested on", f"{report.other.form}; {report.other.dir}"),
        ("Checkpoint chosen by", report.checkpoint.criterion.replace("_", " ")),
    ]
    sections = [
        Section("All results", [scores_table(scored, report.baselines)]),
        class_section(report.test),
        Section("Slices", [_counts(report)]),
        *([Section("Classes that the model does not know", [_unknown(report)])] if report.counts.unknown else []),
        Section("Figures", pictures=pictures),
        Section("Run", pairs=facts),
        Section("Configuration of the run", pairs=flattened(report.config)),
        Section("Versions", pairs=flattened(report.versions)),
    ]
    return render(f"{report.title} on other data", sections, headline=_headline(report), notes=_notes(report))


def _headline(report: ExternalReport) -> Headline:
    test, counts = report.test, report.counts
    details = [] if test.accuracy_ci95 is None else [f"95% interval {interval(test.accuracy_ci95)}%"]
    if counts.linked is None:
        said = "Links between the two data sets were not looked for: slices that the run was trained on may be tested."
    else:
        said = (
            f"{amount(sum(counts.linked.values()))} slices that are linked to the run's own data set by their pixels "
            f"are left out, {amount(counts.copies)} of them identical copies."
        )
    return Headline(
        percent(test.accuracy),
        "accuracy on another data set",
        [*details, f"by {test.interval.unit}"],
        ["Nothing was chosen or trained on these slices.", said],
        Table("", ["Slices", "Patients"], [[amount(counts.tested), amount(counts.patients)]]),
    )


def _notes(report: ExternalReport) -> list[Note]:
    notes = [Note(f"{note[0].upper()}{note[1:]}.", "Data:") for note in report.other.notes]
    absent = [name for name, scores in report.test.per_class.items() if not scores.support]
    if absent:
        notes.append(Note(f"No slice of {' or '.join(absent)} is tested: means of classes are not defined."))
    return notes + interval_notes(report.test)


def _counts(report: ExternalReport) -> Table:
    """How many slices of each class are there, are left out, and are tested."""
    counts, rows = report.counts, []
    for name in report.classes:
        linked = None if counts.linked is None else counts.linked[name]
        tested = report.test.per_class[name].support
        rows.append([capitalised(name), amount(tested + (linked or 0)), amount(linked), amount(tested)])
    rows += [[capitalised(name), amount(count), "not looked for", "0"] for name, count in counts.unknown.items()]
    return Table(
        "Slices of the other data set: all, those left out because they are linked to the run's own, and those tested.",
        ["Class", "Slices", "Linked", "Tested"],
        rows,
    )


def _unknown(report: ExternalReport) -> Table:
    """What the model calls slices of classes that it does not know."""
    rows = [
        [capitalised(name), *(amount(called[guess]) for guess in report.classes)]
        for name, called in report.unknown_predictions.items()
    ]
    return Table(
        "How many slices of each class are called what. The model has no other answer; these slices are not scored.",
        ["Class", *(f"Called {name}" for name in report.classes)],
        rows,
    )
