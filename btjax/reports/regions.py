"""regions.html: Cheng's table of 2015 beside what is reached here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from btjax.evaluation.cheng import BEST_CONFUSION
from btjax.reports.numbers import duration, interval, signed
from btjax.reports.page import Cell, Headline, Section, Table, flattened, render
from btjax.studies.regions import BEST, told_cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.studies.regions import CellResult, RegionsReport

TITLES = {
    "radius": "The outline dilated by a disk, without rings",
    "rings": "Rings of the dilated outline",
    "classifier": "Other classifiers of the words",
}


def regions_page(report: RegionsReport) -> str:
    """Renders the page, which needs no other file and no network."""
    shown = told_cell(report.cells)
    data = report.config["data"]
    sections = [
        Section(title, [cell_table(group)])
        for stage, title in TITLES.items()
        if (group := [one for one in report.cells if one.cell.stage == stage])
    ]
    confusion = [one for one in report.cells if one.cell.name == BEST]
    sections += [
        Section("Slices of the paper's best cell", [confusion_table(one, report.classes)]) for one in confusion
    ]
    sections.append(Section("Configuration", pairs=flattened(report.config)))
    headline = Headline(
        f"{100 * shown.mean:.2f}%",
        f"mean accuracy of the folds, {shown.cell.name.replace('_', ' ')}",
        [f"95% interval {interval(shown.scores.accuracy_ci95)}%, all slices together"],
        [
            outlines_sentence(report.config),
            f"Data: {report.data}.",
        ],
    )
    title = f"Texture of the tumour's region, protocol {data['protocol']}"
    lead = [
        "Published: Cheng et al., PLOS ONE 2015, means of the authors' five folds without intervals.",
        *published_elsewhere(report.config),
    ]
    return render(title, sections, headline=headline, lead=lead)


def outlines_sentence(config: dict[str, Any]) -> str:
    """Whose outlines a system of regions was given."""
    if config["extra"]["outlines"]:
        return "Outlines of the tested slices are a segmenter's; those of the training slices are true."
    return "Every slice is seen within the true outline of its tumour, also when it is tested."


def published_elsewhere(config: dict[str, Any]) -> list[str]:
    """What a reader must know who compares a published value: how its slices, folds or outlines differ from ours."""
    differs = [
        *(["synthetic slices"] if config["data"]["data_dir"] == "phantom" else []),
        *([f"the protocol {config['data']['protocol']}"] if config["data"]["protocol"] != "official" else []),
        *(["predicted outlines"] if config["extra"]["outlines"] else []),
    ]
    if not differs:
        return []
    return [f"Here are {' and '.join(differs)}: the published values, of other conditions, are no target."]


def cell_table(results: Sequence[CellResult]) -> Table:
    """Published and measured accuracies of some cells."""
    rows = []
    for one in results:
        options = one.cell.options
        rows.append(
            [
                one.cell.name.replace("_", " "),
                f"{one.cell.published:.2f}",
                Cell(f"{100 * one.mean:.2f}", f"folds {100 * min(one.folds):.1f} to {100 * max(one.folds):.1f}"),
                signed(100 * one.mean - one.cell.published, 2),
                interval(one.scores.accuracy_ci95),
                str(options.get("radius", "")),
                duration(one.seconds),
            ]
        )
    head = ["Cell", "Published", "Here", "Difference", "95% interval, all slices", "Radius", "Time"]
    return Table("Accuracy in percent: the mean of the folds.", head, rows)


def confusion_table(one: CellResult, classes: Sequence[str]) -> Table:
    """Slices of each class by what they are called, published and here."""
    order = ("meningioma", "glioma", "pituitary")
    rows = []
    for name, row in zip(order, BEST_CONFUSION, strict=True):
        if name in classes:
            own = one.scores.confusion_matrix[list(classes).index(name)]
            rows.append([name, *row, *(own[list(classes).index(other)] for other in order if other in classes)])
    groups = [("", 1), ("Published", 3), ("Here", len(rows))]
    head = ["True class", *order, *(name for name in order if name in classes)]
    return Table("Words, rings of level 1.", head, rows, groups=groups)
