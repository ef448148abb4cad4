"""What a user is told about classes of different size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from btjax.readers.slices import Slices

LARGEST_RATIO = 1.5
"""How many times the smallest class the largest may be before it is worth a line."""


def imbalance(slices: Slices) -> str | None:
    """One line where the largest class has more than 1.5 times the slices of the smallest, else None.

    Classes without a slice are counted but not compared: no weight can make up for them.

    Args:
      slices: of any classes; None where their labels are not known.

    Example:
      >>> from btjax.data.phantom import make_phantom
      >>> slices = make_phantom(1, 4, 32)
      >>> print(imbalance(slices))
      None
      >>> print(imbalance(slices.take(np.arange(6))))
      classes: 4 meningioma, 2 glioma, 0 pituitary: the largest is 2.0 times the smallest; --class_weights=balanced \
weighs them equally
    """
    if slices.labels is None:
        return None
    counts = np.bincount(slices.labels, minlength=len(slices.classes))
    present = counts[counts > 0]
    if present.size < 2 or present.max() <= LARGEST_RATIO * present.min():
        return None
    each = ", ".join(f"{count} {name}" for count, name in zip(counts.tolist(), slices.classes, strict=True))
    ratio = present.max() / present.min()
    return (
        f"classes: {each}: the largest is {ratio:.1f} times the smallest; --class_weights=balanced weighs them equally"
    )
