"""Arrays that are computed once and kept on disk under a hash of what they depend on."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.arrays import load_array, save_array
from btjax.base.errors import InputError
from btjax.base.files import make_cache, only_process
from btjax.readers.raw import in_order

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from btjax.base.progress import ProgressCallback
    from btjax.readers.slices import Slices


def kept_array(folder: pathlib.Path, name: str, about: Any, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """An array from the folder, computed and written there where it is not yet, or is damaged.

    Args:
      folder: of kept arrays.
      name: what the file's name begins with.
      about: JSON values that say everything the array depends on: settings, and the digests of other arrays.
      compute: makes the array.

    Raises:
      InputError: the folder cannot be written.
    """
    path = folder / f"{name}_{hashlib.sha256(json.dumps([name, about]).encode()).hexdigest()[:32]}.npy"
    kept = _whole(path)
    if kept is not None:
        return kept
    make_cache(folder)
    with only_process(path.with_suffix(".lock")):
        kept = _whole(path)
        if kept is None:
            kept = compute()
            save_array(path, kept, path.name)
    return kept


def _whole(path: pathlib.Path) -> np.ndarray | None:
    """The array in a file; None where there is none, or it is not what was written there."""
    try:
        return load_array(path, path.name) if path.exists() else None
    except InputError:
        return None


def digest_of(array: np.ndarray) -> str:
    """32 hexadecimal digits of an array's dtype, shape and content."""
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()[:32]


def of_slices(
    slices: Slices,
    measure: Callable[[np.ndarray, np.ndarray], Any],
    progress: ProgressCallback | None,
    rows: np.ndarray | None = None,
) -> Iterator[Any]:
    """Yields what a function gives for each slice and its mask, computed on all cores, in order.

    Args:
      slices: with masks.
      measure: called with an image, uint8 [S, S], and its mask, bool [S, S].
      progress: called as `progress("regions", done, N)`.
      rows: int [N], the slices; None for all.
    """
    images, masks = slices.images, slices.masks
    if masks is None:
        raise ValueError("expected slices with masks")
    chosen = np.arange(len(slices)) if rows is None else rows
    for done, one in enumerate(in_order(lambda row: measure(images[row], masks[row]), chosen), 1):
        yield one
        if progress is not None:
            progress("regions", done, len(chosen))


def stacked(count: int, found: Iterator[np.ndarray]) -> np.ndarray:
    """So many arrays of one shape as one array, without holding them twice."""
    first = next(found)
    whole = np.empty((count, *first.shape), first.dtype)
    whole[0] = first
    for row, one in enumerate(found, 1):
        whole[row] = one
    return whole
