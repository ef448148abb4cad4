"""Arrays that are computed once and kept on disk under a hash of what they depend on."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.errors import foreign
from btjax.base.files import make_cache, only_process, write_whole
from btjax.readers.raw import in_order

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from btjax.base.progress import ProgressCallback
    from btjax.readers.slices import Slices


def kept_array(folder: pathlib.Path, name: str, about: Any, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """An array from the folder, computed and written there where it is not yet.

    Args:
      folder: of kept arrays.
      name: what the file's name begins with.
      about: JSON values that say everything the array depends on: settings, and the digests of other arrays.
      compute: makes the array.

    Raises:
      InputError: the folder cannot be written, or the file is damaged.
    """
    path = folder / f"{name}_{hashlib.sha256(json.dumps([name, about]).encode()).hexdigest()[:32]}.npy"
    if not path.exists():
        make_cache(folder)
        with only_process(path.with_suffix(".lock")):
            if not path.exists():
                array = compute()
                write_whole(path, lambda beside: _save(array, beside))
    with foreign(f"{path}: this kept array is damaged", "a whole file; delete it"):
        return np.load(path, allow_pickle=False)


def digest_of(array: np.ndarray) -> str:
    """32 hexadecimal digits of an array's dtype, shape and content."""
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()[:32]


def of_every_slice(
    slices: Slices, measure: Callable[[np.ndarray, np.ndarray], Any], progress: ProgressCallback | None, what: str
) -> list[Any]:
    """What a function gives for every slice and its mask, on all cores, in order.

    Args:
      slices: with masks.
      measure: called with an image, uint8 [S, S], and its mask, bool [S, S].
      progress: called as `progress(what, done, N)`.
      what: for the progress bar.
    """
    images, masks, found = slices.images, slices.masks, []
    if masks is None:
        raise ValueError("expected slices with masks")
    for one in in_order(lambda row: measure(images[row], masks[row]), range(len(slices))):
        found.append(one)
        if progress is not None:
            progress(what, len(found), len(slices))
    return found


def _save(array: np.ndarray, path: pathlib.Path) -> None:
    with open(path, "wb") as file:  # of a path NumPy would change the name
        np.save(file, array, allow_pickle=False)
