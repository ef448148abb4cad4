"""Reading image files as tumour masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import InputError
from btjax.data.rasters import Raster, open_raster

if TYPE_CHECKING:
    import pathlib

_SMALL_LABEL = 64
_MOST_LABELS = 16
_ENDS = 0.08


def read_mask(path: pathlib.Path) -> np.ndarray:
    """Reads a mask image as bool [H, W], True in the tumour.

    - Of labels, every one but 0 (black) is tumour: 1, 2, 4; 0, 85, 170, 255; colours; indices of a palette.
    - Other files have soft edges (antialiasing, JPEG): the tumour is what lies above half of the maximum.
    - A transparent pixel is outside. A mask drawn in black on a transparent picture is its alpha.
    - A mask may be empty.

    The EXIF orientation and WhiteIsZero are applied as for images.

    Args:
      path: a file of any format that Pillow decodes, or a TIFF.

    Raises:
      InputError: the file is missing, damaged or no image, or does not look like a mask: a picture in many grey levels,
        with negative values, or with all four corners in the tumour.
    """
    raster = open_raster(path)
    levels = _levels(path, raster)
    if levels.dtype.kind == "f" and not np.isfinite(levels).all():
        raise InputError(f"{path}: the mask holds NaN or infinity, expected 0 outside the tumour")
    if levels.min() < 0:
        raise InputError(f"{path}: the mask holds negative values, expected 0 outside the tumour")
    mask = _tumour(path, levels, raster.lossy)
    if mask[0, 0] and mask[0, -1] and mask[-1, 0] and mask[-1, -1]:
        raise InputError(f"{path}: the mask looks inverted, all four corners are in the tumour, expected them outside")
    return mask


def _levels(path: pathlib.Path, raster: Raster) -> np.ndarray:
    """What tells tumour from background, [H, W], 0 outside."""
    levels = raster.values if raster.values.ndim == 2 else raster.values.max(axis=-1)
    if raster.indices is not None and np.ptp(levels) == 0:
        levels = raster.indices  # a palette of one colour, or of colours whose brightest channel is the same
    if raster.alpha is None:
        return levels
    if not raster.alpha.any():
        if np.ptp(raster.values.reshape(levels.size, -1), axis=0).any():
            raise InputError(f"{path}: found a fully transparent mask with content, expected it to be seen")
        return np.zeros(levels.shape, np.uint8)
    shown = levels * (raster.alpha / 255)
    return shown if shown.any() else raster.alpha


def _tumour(path: pathlib.Path, levels: np.ndarray, lossy: bool) -> np.ndarray:
    """The mask, bool [H, W], of levels that are finite and not negative."""
    top = levels.max()
    if not ((levels > 0) & (levels < top)).any():
        return levels > 0
    found = np.unique(levels)
    if len(found) <= _MOST_LABELS:
        if top < _SMALL_LABEL and np.array_equal(found, np.rint(found)):
            return levels > 0
        # The noise of JPEG around black and white fills areas too.
        low, high = (_ENDS * top, (1 - _ENDS) * top) if lossy else (0, top)
        if _has_areas(levels, (levels > low) & (levels < high)):
            return levels > low
    _check_soft(path, levels / top)
    return levels > top / 2


def _has_areas(levels: np.ndarray, between: np.ndarray) -> bool:
    """Whether the levels between 0 and the maximum fill areas, as labels do; antialiased edges are thin lines."""
    same = np.ones((levels.shape[0] - 1, levels.shape[1] - 1), bool)
    corner = levels[:-1, :-1]
    for other in (levels[1:, :-1], levels[:-1, 1:], levels[1:, 1:]):
        same &= other == corner
    filled = np.zeros(levels.shape, bool)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            filled[rows, columns] |= same
    return int(np.count_nonzero(filled & between)) > 0.25 * int(np.count_nonzero(between))


def _check_soft(path: pathlib.Path, levels: np.ndarray) -> None:
    """Refuses a picture, given levels in [0, 1]: those between fill areas, soft edges are a few pixels wide."""
    from scipy.ndimage import minimum_filter

    between = (levels > _ENDS) & (levels < 1 - _ENDS)
    areas = np.count_nonzero(minimum_filter(between.astype(np.uint8), 5))
    if areas > 0.05 * np.count_nonzero(levels > _ENDS):
        raise InputError(f"{path}: holds many grey levels between 0 and the maximum, expected a mask, found a picture")
