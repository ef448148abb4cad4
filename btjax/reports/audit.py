"""The page of an audit of shortcuts: what stands out first, then every measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btjax.reports.numbers import UNDEFINED, amount, capitalised, interval, number, number_interval, percent, signed
from btjax.reports.page import Bar, Cell, Headline, Note, Section, Table, render
from btjax.studies.audit_measures import ALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.evaluation.estimates import Estimate
    from btjax.evaluation.parts import GroupRow
    from btjax.studies.audit_rows import Audit

FLOOR_NAMES = {
    "class_prior": "Class frequencies alone",
    "border": "Outer 5 pixels at 64 px, linear",
    "statistics": "Ten image statistics, random forest",
    "linear_model": "32x32 pixels, linear",
    "linear_head_only": "32x32 pixels, linear, black outside the head",
    "model_head_only": "The model, black outside the head",
}
"""What each floor sees, for people."""

_TITLES = {
    "labels": "Labels.",
    "leak": "Leak.",
    "copies": "Copies.",
    "floor": "No better than a floor.",
    "one_class_source": "Source.",
    "recall": "Recall by source.",
    "border": "Border.",
    "probe": "Features.",
    "outside_head": "Outside the head.",
}

_UNITS = {"family": "families", "group": "groups of linked slices", "slice": "slices"}


def audit_page(found: Audit) -> str:
    """Renders the audit as a page that needs no other file and no network."""
    count = len(found.flags)
    said = f"{count} {'thing' if count == 1 else 'things'} to know {'stands' if count == 1 else 'stand'} below."
    if not found.flags:
        said = "Nothing was found that explains the accuracy without the tumour."
    headline = Headline(
        percent(found.accuracy.value),
        "accuracy on the tested slices",
        [f"95% interval {interval(found.accuracy.ci95)}%"] if found.accuracy.ci95 else [],
        [_tested_sentence(found), said],
    )
    title = f"Audit of shortcuts: {found.title}" if found.title else "Audit of shortcuts"
    return render(title, audit_sections(found), headline=headline, notes=audit_notes(found))


def audit_notes(found: Audit) -> list[Note]:
    """The flags as cautions in boxes."""
    return [Note(flag.sentence, _TITLES.get(flag.name, capitalised(flag.name))) for flag in found.flags]


def audit_sections(found: Audit) -> list[Section]:
    """The measures as sections of a page."""
    return [
        Section("What else could explain the accuracy", [_floors(found)], remarks=_floor_remarks(found)),
        Section("Accuracy and recall by part", [_groups(found)]),
        Section("Sources", [*_sources(found), *_alone(found)]),
        Section("The border alone, each class against the rest", [_areas(found)]),
        Section("Does the model know the source?", _probes(found), remarks=_probe_remarks(found)),
        Section("Leaks and labels", pairs=_leaks(found) + _labels(found)),
        Section("Not measured", pairs=[(capitalised(part), reason) for part, reason in found.left_out.items()]),
    ]


def _tested_sentence(found: Audit) -> str:
    runs = "1 run" if found.runs == 1 else f"{found.runs} runs pooled"
    return (
        f"{amount(found.rows)} tested rows of {runs}, protocol {', '.join(found.protocols)}; intervals go by "
        f"{amount(found.units)} {_UNITS[found.unit]}."
    )


def _floors(found: Audit) -> Table:
    start = min([one.accuracy.value or 0 for one in found.floors] + [found.accuracy.value or 0])
    start = min(int(start * 10) / 10, 0.9)
    rows = [["The model", _share(found.accuracy), _bar(found.accuracy, start), _share(found.balanced_accuracy), ""]]
    rows += [
        [
            FLOOR_NAMES.get(one.name, one.name),
            _share(one.accuracy),
            _bar(one.accuracy, start),
            _share(one.balanced_accuracy),
            Cell(signed(_points(one.behind.value), 1), _point_interval(one.behind)),
        ]
        for one in found.floors
    ]
    caption = "Trained and tested under the same splits; the model's lead is of the same rows, in percentage points."
    return Table(caption, ["", "Accuracy", "", "Balanced accuracy", "The model's lead"], rows, strong=[0])


def _floor_remarks(found: Audit) -> list[str]:
    if not any(one.name == "model_head_only" for one in found.floors):
        return []
    return ["The last row is the model itself on changed slices: its lead is what it owes to what was blacked."]


def _groups(found: Audit) -> Table:
    head = ["Part", "Slices", "Accuracy", *(f"Recall of {name}" for name in found.classes)]
    sizes = ", sizes are thirds of the tumour's share of the slice" * any(row.group == "size" for row in found.groups)
    return Table(
        f"In percent, with the class's tested slices below{sizes}.",
        head,
        [_group_row(row, found.classes) for row in found.groups],
        strong=[0],
    )


def _group_row(row: GroupRow, classes: Sequence[str]) -> list[Cell]:
    name = "All tested slices" if row.group == ALL else f"{capitalised(row.group)}: {row.value}"
    recalls = (row.recall[name] for name in classes)
    return [
        Cell(name),
        Cell(amount(row.rows)),
        _share(row.accuracy),
        *(_share(one, f", {amount(one.rows)} slices") if one.rows else Cell(UNDEFINED) for one in recalls),
    ]


def _sources(found: Audit) -> list[Table]:
    if not found.sources:
        return []
    rows = [
        [row.source, *(f"{amount(row.slices[name])} ({amount(row.patients[name])})" for name in found.classes)]
        for row in found.sources
    ]
    return [Table("Slices (patients) of the whole data set.", ["Ids begin with", *found.classes], rows)]


def _alone(found: Audit) -> list[Table]:
    if not found.alone:
        return []
    rows = [
        [row.source, _share(row.model), _share(row.linear_all), _share(row.linear_alone), percent(row.chance)]
        for row in found.alone
    ]
    head = ["Source", "The model", "Linear model", "Linear model of this source alone", "Chance"]
    return [Table("Balanced accuracy on the tested slices of one source.", head, rows)]


def _areas(found: Audit) -> Table:
    rows = [
        [
            capitalised(row.class_name),
            row.plane,
            row.source,
            amount(row.border.rows),
            _area(row.border),
            _area(row.model),
        ]
        for row in found.areas
    ]
    caption = "Area under the ROC curve, chance .5. A source restricts the class's own slices; the rest stays whole."
    return Table(caption, ["Class", "Plane", "Source", "Slices", "Border alone", "The model"], rows)


def _probes(found: Audit) -> list[Table]:
    if not found.probes:
        return []
    rows = [
        [row.source, "all slices" if row.within == ALL else row.within, _area(row.features), _area(row.border)]
        for row in found.probes
    ]
    caption = "Area under the ROC curve of a linear probe, cross-validated by family over all slices; chance .5."
    return [Table(caption, ["Source", "Within", "The model's features", "Border alone"], rows)]


def _probe_remarks(found: Audit) -> list[str]:
    if not found.probes:
        return []
    return [
        "The features are of the stage below the logits. Over all slices the class gives the source away; within one "
        "class it does not. A source that can be told is not yet a source that is used."
    ]


def _leaks(found: Audit) -> list[tuple[str, str]]:
    leaks = found.leaks
    counts = {
        "Tested rows": leaks.rows,
        "With the same pixels in training": leaks.copies,
        "With their patient in training": leaks.patients,
        "With their family of ids in training": leaks.families,
        "With linked slices in training": leaks.links,
    }
    pairs = [(name, amount(count)) for name, count in counts.items()]
    if leaks.known.rows:
        pairs.append(("Accuracy with a relative in training", _line(leaks.known)))
    if leaks.known.rows and leaks.unknown.rows:
        pairs.append(("Accuracy without", _line(leaks.unknown)))
    return pairs


def _labels(found: Audit) -> list[tuple[str, str]]:
    check = found.labels
    pairs = [("Balanced accuracy of the model", _line(check.model))]
    if check.training is not None:
        pairs.append(("On its training rows", percent(check.training)))
    pairs += [("Of the linear model", _line(check.linear)), ("Of class frequencies", percent(check.chance))]
    if check.mixed is not None:
        pairs.append(("Patients or groups with slices of several classes", f"{check.mixed} of {amount(check.several)}"))
    return pairs


def _share(one: Estimate, more: str = "") -> Cell:
    return Cell(percent(one.value), f"{interval(one.ci95)}{more}".removeprefix(", "))


def _area(one: Estimate) -> Cell:
    return Cell(number(one.value), number_interval(one.ci95))


def _line(one: Estimate) -> str:
    return f"{percent(one.value)} ({interval(one.ci95)})" if one.ci95 else percent(one.value)


def _bar(one: Estimate, start: float) -> Cell:
    return Cell("") if one.value is None else Cell("", bar=Bar(one.value, one.ci95, start))


def _points(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _point_interval(one: Estimate) -> str:
    return "" if one.ci95 is None else " to ".join(signed(100 * bound, 1) for bound in one.ci95)
