"""What a reader of an audit must know: plain sentences, each with the numbers that it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btjax.base.numbers import number, percent
from btjax.studies.audit_rows import Flag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from btjax.evaluation.estimates import Estimate
    from btjax.studies.audit_rows import Audit

TELLING = 0.75
"""An area under the curve from which on something gives the class or the source away, in the flags' sense."""

SURELY = 0.6
"""What the lower bound of such an area must exceed: of many areas some lie above .5 by chance."""

SHARE_OF_SOURCE = 0.05
"""A source of fewer than this share of the slices is not spoken of."""

MIXED = 0.1
"""The share of patients with several classes from which on labels look shuffled."""

FLOORS = {
    "border": "the outer 5 pixels alone",
    "statistics": "ten statistics of the image",
    "linear_model": "a linear model on 32x32 pixels",
    "linear_head_only": "the same linear model with everything outside the head blacked",
}
"""What the floors that a model has to beat see, in words."""


def flags_of(found: Audit) -> tuple[Flag, ...]:
    """The flags of an audit, most serious first."""
    parts = (_labels, _leaks, _floors, _sources, _recalls, _borders, _probes, _outside)
    return tuple(flag for part in parts for flag in part(found))


def _labels(found: Audit) -> Iterator[Flag]:
    check = found.labels
    known = check.model.ci95 is not None
    model, linear = (known and not one.above(check.chance) for one in (check.model, check.linear))
    numbers = {**_numbers("model", check.model), **_numbers("linear", check.linear), "chance": check.chance}
    numbers["training"] = check.training
    words = f"a balanced accuracy of {_told(check.model)} where class frequencies alone have {percent(check.chance)}"
    if model and linear:
        yield Flag("labels", f"Labels look shuffled: the model has {words}, and a linear model no more.", numbers)
    elif model:
        also = f"; a linear model has {_told(check.linear)}"
        yield Flag("labels", f"The model has learned nothing of the labels: {words}{also}.", numbers)
    if check.mixed and check.several and check.mixed > MIXED * check.several:
        sentence = (
            f"Labels look shuffled: {check.mixed} of {check.several} patients or groups with several slices bear "
            "several classes."
        )
        yield Flag("labels", sentence, {"mixed": check.mixed, "several": check.several})


def _leaks(found: Audit) -> Iterator[Flag]:
    leaks = found.leaks
    names = {"families": "family", "patients": "patient", "links": "group of linked slices"}
    kind = next((kind for kind in names if getattr(leaks, kind) is not None), None)
    count = 0 if kind is None else getattr(leaks, kind)
    if kind is not None and count:
        beside = ""
        if leaks.unknown.rows:
            beside = f"; their accuracy is {_told(leaks.known)}, that of the others {_told(leaks.unknown)}"
        sentence = f"{count} of {leaks.rows} tested rows have slices of their {names[kind]} in training{beside}."
        numbers = {**_numbers("known", leaks.known), **_numbers("unknown", leaks.unknown)}
        yield Flag("leak", sentence, {kind: count, "rows": leaks.rows, **numbers})
    if leaks.copies:
        sentence = f"{leaks.copies} of {leaks.rows} tested rows have the same pixels as a row in training."
        yield Flag("copies", sentence, {"copies": leaks.copies, "rows": leaks.rows})


def _floors(found: Audit) -> Iterator[Flag]:
    for floor in found.floors:
        value, bounds = floor.accuracy.value, found.accuracy.ci95
        if floor.name not in FLOORS or value is None or bounds is None:
            continue
        if value >= bounds[0] or not floor.behind.above(0):
            seen = FLOORS[floor.name]
            sentence = (
                f"{seen[0].upper()}{seen[1:]}: an accuracy of {_told(floor.accuracy)} beside the model's "
                f"{_told(found.accuracy)}; nothing shows that the model uses more."
            )
            numbers = {**_numbers(floor.name, floor.accuracy), **_numbers("model", found.accuracy)}
            yield Flag("floor", sentence, {**numbers, **_numbers("behind", floor.behind)})


def _sources(found: Audit) -> Iterator[Flag]:
    total = sum(sum(row.slices.values()) for row in found.sources)
    for row in found.sources:
        present = [name for name, count in row.slices.items() if count]
        count = sum(row.slices.values())
        if len(found.sources) > 1 and len(present) == 1 and count >= SHARE_OF_SOURCE * total:
            of_class = sum(other.slices[present[0]] for other in found.sources)
            sentence = (
                f"All {count} slices of source {row.source} are {present[0]} ({percent(count / of_class)} of that "
                "class): a model that recognises the source knows the class."
            )
            numbers = {"source": row.source, "class": present[0], "slices": count, "of_class": of_class}
            yield Flag("one_class_source", sentence, numbers)


def _recalls(found: Audit) -> Iterator[Flag]:
    for row in found.gaps:
        if row.group == "source" and (row.gap.above(0) or row.gap.below(0)):
            sentence = (
                f"Recall of {row.class_name} differs by source: {_told(row.recall)} for {row.value}, "
                f"{_told(row.elsewhere)} for the others."
            )
            numbers = {**_numbers("recall", row.recall), **_numbers("elsewhere", row.elsewhere)}
            about = {"class": row.class_name, "source": row.value}
            yield Flag("recall", sentence, {**about, **numbers, **_numbers("gap", row.gap)})


def _borders(found: Audit) -> Iterator[Flag]:
    for name in found.classes:
        telling = [row for row in found.areas if row.class_name == name and row.source == "all" and _tells(row.border)]
        if telling:
            row = max(telling, key=lambda row: row.border.value or 0)
            where = "" if row.plane == "all" else f" in {row.plane} slices"
            by_source = {
                f"auc_{one.source}": one.border.value
                for one in found.areas
                if one.class_name == name and one.plane == row.plane and one.source != "all"
            }
            parts = "".join(f"; for source {key[4:]} {number(area)}" for key, area in by_source.items())
            sentence = (
                f"The outer 5 pixels alone tell {name} from the rest{where} with an area under the curve of "
                f"{_told(row.border, area=True)}{parts}."
            )
            about = {"class": name, "plane": row.plane}
            yield Flag("border", sentence, {**about, **_numbers("auc", row.border), **by_source})


def _probes(found: Audit) -> Iterator[Flag]:
    for row in found.probes:
        if row.within != "all" and _tells(row.features):
            sentence = (
                f"Within {row.within}, where the class says nothing, a linear probe of the model's features tells "
                f"source {row.source} with an area under the curve of {_told(row.features, area=True)} (chance 0.500)."
            )
            about = {"source": row.source, "within": row.within}
            yield Flag("probe", sentence, {**about, **_numbers("auc", row.features)})


def _outside(found: Audit) -> Iterator[Flag]:
    for row in found.floors:
        if row.name == "model_head_only" and row.behind.above(0):
            sentence = (
                f"With everything outside the head blacked the model's accuracy falls by {_told(row.behind)} to "
                f"{_told(row.accuracy)}."
            )
            yield Flag("outside_head", sentence, {**_numbers("fall", row.behind), **_numbers("left", row.accuracy)})


def _tells(area: Estimate) -> bool:
    return area.value is not None and area.value >= TELLING and area.above(SURELY)


def _numbers(name: str, one: Estimate) -> dict[str, float | int | str | None]:
    low, high = one.ci95 or (None, None)
    return {name: one.value, f"{name}_low": low, f"{name}_high": high}


def _told(one: Estimate, *, area: bool = False) -> str:
    """A value with its interval in words; shares in percent."""
    if area:
        low, high = (number(bound) for bound in one.ci95 or (None, None))
        return number(one.value) if one.ci95 is None else f"{number(one.value)} ({low} to {high})"
    low, high = (percent(bound, sign="") for bound in one.ci95 or (None, None))
    return percent(one.value) if one.ci95 is None else f"{percent(one.value)} ({low} to {high})"
