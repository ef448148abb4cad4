"""What a user should be told about slices and their split before believing a number."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import numpy as np

from btjax.data.imbalance import imbalance
from btjax.readers.walk import listed

if TYPE_CHECKING:
    from btjax.data.splits import Split
    from btjax.readers.slices import Slices


def slices_notes(slices: Slices) -> tuple[str, ...]:
    """What reading had to change, copies and patients of several classes, unequal classes; a line for each.

    Args:
      slices: the data set.

    Example:
      >>> from btjax.data.phantom import make_phantom
      >>> slices_notes(make_phantom(2, 2, 32))
      ()
    """
    notes = []
    if slices.remarks is not None:
        named = collections.defaultdict(list)
        for name, remarks in zip(slices.ids, slices.remarks, strict=True):
            for remark in filter(None, remarks.split("; ")):
                named[remark].append(str(name))
        notes += [f"{listed('slice(s)', names)}: {remark}" for remark, names in sorted(named.items())]
    if slices.labels is not None:
        notes += _contradictions(slices, slices.labels)
    return (*notes, *filter(None, [imbalance(slices)]))


def _contradictions(slices: Slices, labels: np.ndarray) -> list[str]:
    """Notes on copies and patients that stand in several classes."""
    notes = []
    copies = slices.ids[_in_several(slices.digests, labels)].tolist()
    if copies:
        notes.append(f"{listed('slice(s)', copies)} have identical copies in another class: a label is wrong")
    if slices.patients is not None:
        patients = sorted(set(slices.patients[_in_several(slices.patients, labels)].tolist()))
        if patients:
            notes.append(f"{listed('patient(s)', patients)} with slices of several classes")
    return notes


def _in_several(names: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Bool [N]: rows whose name also stands with another label."""
    _, groups = np.unique(names, return_inverse=True)
    pairs = np.unique(np.stack([groups, labels]), axis=1)
    return (np.bincount(pairs[0], minlength=groups.max(initial=0) + 1) > 1)[groups]


def split_notes(slices: Slices, split: Split) -> tuple[str, ...]:
    """Test slices that are copies of training slices, and a division of the data set's own that is dissolved.

    Args:
      slices: the data set.
      split: of it.
    """
    notes = []
    copies = slices.ids[split.copied(slices.digests)].tolist()
    if copies:
        found = listed("test slice(s)", copies)
        notes.append(
            f"{found} of {len(split.test)}: identical to training or validation slices, a model may know them by heart"
        )
    if slices.sides is not None and split.protocol != "given":
        notes.append(_dissolved(slices.sides, split))
    return tuple(notes)


def _dissolved(sides: np.ndarray, split: Split) -> str:
    """The note on a division of the data set's own that the protocol does not keep."""
    counts = collections.Counter(sides.tolist())
    found = ", ".join(f"{count} {side}" for side, count in sorted(counts.items()))
    if len(counts) < 2:
        return f"the data set's folders are one side of a division ({found}); the other is not here"
    moved = int(np.sum(sides[split.train] == "test"))
    return (
        f"the data set's own division ({found}; folders such as Training/ and Testing/) is dissolved by "
        f"--protocol={split.protocol}: {moved} slices of its test side are trained on; --protocol=given keeps it"
    )
