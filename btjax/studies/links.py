"""What the links of a data set say: how many there are, what they cross, and how they agree with known patients."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from btjax.links.links import KINDS, Links
from btjax.studies.link_truth import GroupScores, group_scores

if TYPE_CHECKING:
    from btjax.readers.slices import Slices

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class KindCounts:
    """Pairs of one kind.

    Attributes:
      kind: of `btjax.links.links.KINDS`.
      pairs: how many.
      crossing_sides: those with a slice on each of two sides of the data set's own division; None where unknown.
      two_classes: those whose slices have different classes; None where labels are unknown.
      same_family: share of pairs of one family (patient ids without a letter); None where patients are unknown.
    """

    kind: str
    pairs: int
    crossing_sides: int | None
    two_classes: int | None
    same_family: float | None


@dataclasses.dataclass(frozen=True)
class AgainstClass:
    """Slices of one class that are linked to slices of another data set.

    Attributes:
      name: of the class in the first set.
      slices: of the class.
      duplicated: slices that are copies or near-duplicates of a slice of the other set.
      linked: slices with any link to the other set.
      same_class: duplicated slices whose best partner has the class of the same name.
    """

    name: str
    slices: int
    duplicated: int
    linked: int
    same_class: int


@dataclasses.dataclass(frozen=True)
class LinksReport:
    """links.json.

    Attributes:
      schema: version of these fields.
      data: the data set's form in words.
      slices: number of slices.
      kinds: pairs by kind.
      groups: number of groups, those of one slice among them.
      linked_slices: slices in groups of several.
      largest: slices of the largest group.
      crossing_groups: groups with slices on several sides of the data set's own division; None where unknown.
      crossing_slices: slices in such groups; None where unknown.
      copied_slices_in_two_classes: slices whose copy, same pixels, has another class; None where labels are unknown.
      patients: how groups agree with families; None where patients are unknown.
      against: links to another data set, by class; None where none was named.
      against_data: that data set's form; None where none was named.
    """

    schema: int
    data: str
    slices: int
    kinds: list[KindCounts]
    groups: int
    linked_slices: int
    largest: int
    crossing_groups: int | None
    crossing_slices: int | None
    copied_slices_in_two_classes: int | None
    patients: GroupScores | None
    against: list[AgainstClass] | None = None
    against_data: str | None = None


def links_report(slices: Slices, links: Links, form: str) -> LinksReport:
    """Counts what the links of a data set cross.

    Args:
      slices: the data set.
      links: of `btjax.links.links.link_slices`.
      form: the data set's form in words.
    """
    sizes = np.bincount(links.groups)
    crossing = None if slices.sides is None else _crossing(links.groups, slices.sides)
    families = slices.families
    return LinksReport(
        schema=SCHEMA,
        data=form,
        slices=len(slices),
        kinds=[_counts(slices, links, kind) for kind in KINDS],
        groups=int((sizes > 0).sum()),
        linked_slices=int(sizes[sizes > 1].sum()),
        largest=int(sizes.max()),
        crossing_groups=None if crossing is None else len(crossing),
        crossing_slices=None if crossing is None else int(sizes[crossing].sum()),
        copied_slices_in_two_classes=_copies_in_two_classes(slices, links),
        patients=None if families is None else group_scores(links.groups, families, slices.planes),
    )


def against_classes(first: Slices, second: Slices, links: Links) -> list[AgainstClass]:
    """By class of the first set, how many of its slices are linked to the second; `links` of `link_between`."""
    rows = []
    strong = links.kinds != "neighbour"
    # A slice's best partner is its copy, else its strongest near-duplicate.
    best: dict[int, int] = {}
    for place in np.argsort(-links.scores, kind="stable").tolist():
        if strong[place]:
            best.setdefault(int(links.pairs[place, 0]), int(links.pairs[place, 1]))
    labels = np.zeros(len(first), np.int32) if first.labels is None else first.labels
    names = ("all",) if first.labels is None else first.classes
    for label, name in enumerate(names):
        own = np.flatnonzero(labels == label)
        duplicated = [row for row in own.tolist() if row in best]
        same = 0
        if first.labels is not None and second.labels is not None:
            same = sum(second.classes[second.labels[best[row]]] == name for row in duplicated)
        linked = int(np.isin(own, links.pairs[:, 0]).sum())
        rows.append(AgainstClass(name, len(own), len(duplicated), linked, same))
    return rows


def _counts(slices: Slices, links: Links, kind: str) -> KindCounts:
    one, other = links.pairs[links.kinds == kind].T
    labels, sides, families = slices.labels, slices.sides, slices.families
    return KindCounts(
        kind=kind,
        pairs=len(one),
        crossing_sides=None if sides is None else int(np.sum(sides[one] != sides[other])),
        two_classes=None if labels is None else int(np.sum(labels[one] != labels[other])),
        same_family=None if families is None or not len(one) else float(np.mean(families[one] == families[other])),
    )


def _crossing(groups: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Numbers of the groups on several sides."""
    side = np.unique(sides, return_inverse=True)[1].ravel()
    joint = np.unique(np.stack([groups, side], axis=1), axis=0)
    return np.flatnonzero(np.bincount(joint[:, 0]) > 1)


def _copies_in_two_classes(slices: Slices, links: Links) -> int | None:
    if slices.labels is None:
        return None
    first = np.arange(len(slices))
    copies = links.pairs[links.kinds == "copy"]
    first[copies[:, 1]] = copies[:, 0]  # each copy is paired with the first slice of its kind
    count = 0
    for row in np.unique(copies[:, 0]):
        same = first == row
        count += int(same.sum()) if len(np.unique(slices.labels[same])) > 1 else 0
    return count
