"""What every leaf of a published file is checked for."""

from __future__ import annotations

import numpy as np

from btjax.base.errors import InputError


def check_values(leaf: np.ndarray, where: str) -> None:
    """Raises InputError for a leaf that is no floating point, or not finite (in float32, in which it is used)."""
    if leaf.dtype.kind != "f" and leaf.dtype.name != "bfloat16":
        raise InputError(f"{where} is of {leaf.dtype}, expected floating-point numbers")
    with np.errstate(over="ignore"):
        finite = np.isfinite(leaf.astype(np.float32))
    if not finite.all():
        raise InputError(f"{where} holds {leaf.size - int(finite.sum())} NaN or infinite numbers, expected finite ones")
