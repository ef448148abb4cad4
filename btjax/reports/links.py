"""The links of a data set on a page, with pictures of the strongest and the weakest pairs of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from btjax.figures.links import linked_pairs
from btjax.links.links import KINDS, Links
from btjax.reports.numbers import number, percent
from btjax.reports.page import Headline, Note, Picture, Section, Table, render

if TYPE_CHECKING:
    from btjax.readers.slices import Slices
    from btjax.studies.links import LinksReport

SHOWN = 8
"""Pairs drawn of each kind at each end."""

_MEANING = {
    "copy": "the same pixels",
    "near": "one slice under crop, rescale, flip, intensity change or JPEG",
    "neighbour": "slices of one patient in one plane at adjacent positions",
}


def links_page(report: LinksReport, slices: Slices, links: Links, between: tuple[Slices, Links] | None = None) -> str:
    """The page's HTML.

    Args:
      report: of `btjax.studies.links.links_report`.
      slices: the data set.
      links: its links.
      between: another data set and the links to it, or None.
    """
    sections = [Section("Pairs", [_kinds_table(report)], remarks=_remarks(report))]
    if report.patients is not None:
        sections.append(Section("Groups beside known patients", [_patients_table(report)]))
    if report.against is not None:
        sections.append(Section("Slices of the other data set", [_against_table(report)]))
    sections += [_pictures(kind, slices, slices, links, "") for kind in KINDS]
    if between is not None:
        sections += [_pictures(kind, slices, between[0], between[1], " in the other data set") for kind in KINDS]
    headline = Headline(
        f"{report.linked_slices} of {report.slices}",
        "slices belong together with another one",
        [f"{report.groups} groups, the largest of {report.largest} slices"],
        ["A split that keeps groups on one side tests on slices that are new, as far as pixels tell."],
    )
    notes = [Note("Links are found from pixels and are no proof of a patient's identity: look at the pictures.")]
    return render(
        "Slices that belong together", sections, headline=headline, lead=[f"Data: {report.data}."], notes=notes
    )


def _kinds_table(report: LinksReport) -> Table:
    def shown(value: int | None) -> str:
        return "not known" if value is None else str(value)

    rows = [
        [
            row.kind,
            _MEANING[row.kind],
            row.pairs,
            shown(row.crossing_sides),
            shown(row.two_classes),
            "not known" if row.same_family is None else percent(row.same_family),
        ]
        for row in report.kinds
    ]
    head = ["kind", "what it is", "pairs", "across sides", "in two classes", "of one family"]
    return Table("Linked pairs", head, rows)


def _remarks(report: LinksReport) -> list[str]:
    lines = []
    if report.crossing_groups is not None:
        lines.append(
            f"{report.crossing_groups} groups with {report.crossing_slices} slices stand on several sides of the data "
            "set's own division."
        )
    if report.copied_slices_in_two_classes:
        lines.append(f"{report.copied_slices_in_two_classes} slices have a copy, same pixels, in another class.")
    return lines


def _patients_table(report: LinksReport) -> Table:
    found = report.patients
    if found is None:
        raise ValueError("expected known patients")
    rows = [
        ["families", str(found.families)],
        ["groups", str(found.groups)],
        ["groups that mix families", f"{found.mixed}, with {found.mixed_slices} slices"],
        ["families in one group", str(found.undivided)],
        ["groups of a family, mean", number(found.groups_per_family)],
        ["pairs in a group that are of one family", _percent(found.pair_precision)],
        ["pairs of a family that are in one group", _percent(found.pair_recall)],
        ["the same, of one plane", _percent(found.plane_recall)],
        ["homogeneity", number(found.homogeneity)],
        ["completeness", number(found.completeness)],
    ]
    return Table("A family: patient ids that differ in a letter alone", ["", "found"], rows)


def _percent(value: float | None) -> str:
    return "not known" if value is None else percent(value)


def _against_table(report: LinksReport) -> Table:
    rows = [[row.name, row.slices, row.duplicated, row.same_class, row.linked] for row in report.against or []]
    head = ["class", "slices", "copies or near-duplicates", "of these in the same class there", "any link"]
    return Table(f"Slices that are linked to the other data set ({report.against_data})", head, rows)


def _pictures(kind: str, slices: Slices, others: Slices, links: Links, where: str) -> Section:
    """The strongest and the weakest pairs of a kind; nothing of a kind without pairs."""
    places = np.flatnonzero(links.kinds == kind)
    places = places[np.argsort(-links.scores[places], kind="stable")]
    ends = {"strongest": places[:SHOWN], "weakest": places[SHOWN:][-SHOWN:]}
    pictures = []
    for name, shown in ends.items():
        if len(shown):
            one, other = links.pairs[shown].T
            titles = [(_title(slices, a), _title(others, b)) for a, b in zip(one, other, strict=True)]
            heads = [f"{score:.2f}" for score in links.scores[shown]]
            figure = linked_pairs(slices.images[one], others.images[other], titles, heads)
            pictures.append(
                Picture(figure, f"The {name} of {len(places)} pairs of kind {kind}{where}, with their scores.")
            )
    return Section(f"Pairs of kind {kind}{where}", pictures=pictures)


def _title(slices: Slices, row: int) -> str:
    name = str(slices.ids[row])
    if slices.patients is not None:
        name += f", patient {slices.patients[row]}"
    return name if slices.labels is None else f"{name}\n{slices.classes[slices.labels[row]]}"
