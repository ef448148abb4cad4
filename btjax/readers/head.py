"""Where the head is in a slice, from the image alone, so that everything around it can be blacked."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

_COARSE = 128  # pixels of the longer side at which the head is looked for: noise averages out, and it is fast
_CLOSING = 0.04  # radius up to which gaps in the skin's bright line are closed, as a share of that side
_MARGIN = 0.012  # what is kept around the head, as a share of that side


def head_mask(image: np.ndarray) -> np.ndarray:
    """The pixels of the head: the slice's largest bright region, closed and without holes, and a margin of about 1 %.

    The slice is looked at in at most 128 pixels, and its brightest percent is cut. What is brighter than the lower of
    Otsu's two thresholds for three classes (Liao, Chen and Chung 2001: air, tissue, fat and enhancement) is tissue.
    Where the field of view cuts the head, the stretch of the slice's border between the head's first and last pixel
    counts as head, so that dark tissue which touches the border is no hole in it. Adding to all pixels or multiplying
    them changes nothing but rounding.

    Args:
      image: [H, W] of any integer or floating dtype, finite, of any size.

    Returns:
      bool [H, W]; True everywhere for a slice that holds a single value.

    Example:
      >>> image = np.zeros((64, 64), np.uint8)
      >>> image[16:48, 16:48] = 200
      >>> image[28:36, 28:36] = 0
      >>> mask = head_mask(image)
      >>> bool(mask[16:48, 16:48].all()), bool(mask[:12].any())
      (True, False)
    """
    from scipy import ndimage

    coarse = _coarse(image)
    low, high = float(coarse.min()), float(np.percentile(coarse, 99))
    high = high if high > low else float(coarse.max())
    if low == high:
        return np.ones(image.shape, bool)
    levels = np.rint((np.clip(coarse, low, high) - low) / (high - low) * 255).astype(np.uint8)
    radius = max(1, round(_CLOSING * max(coarse.shape)))
    bright = np.pad(levels > _threshold(levels), radius + 1)
    closed = _largest(_close(bright, radius)[radius + 1 : -radius - 1, radius + 1 : -radius - 1])
    head: Any = ndimage.binary_fill_holes(_joined_at_the_border(closed))
    margin = max(1.0, _MARGIN * max(coarse.shape))
    grown = _distance(~head) <= margin
    if grown.shape == image.shape:
        return grown
    share = Image.fromarray(grown.astype(np.float32)).resize(image.shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(share) >= 0.5


def black_outside(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The slice, uint8 [H, W], with 0 wherever `mask`, bool [H, W], is False."""
    return np.where(mask, image, np.uint8(0))


def _coarse(image: np.ndarray) -> np.ndarray:
    """float32 [h, w] in at most `_COARSE` pixels: each the mean of its area."""
    values = image.astype(np.float64)
    values -= values.min()
    values /= max(float(values.max()), np.finfo(np.float64).tiny)  # float32 below holds any range of values
    longer = max(image.shape)
    size = [max(1, round(side * _COARSE / longer)) for side in image.shape] if longer > _COARSE else image.shape
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BOX))


def _threshold(levels: np.ndarray) -> float:
    """Otsu's threshold between air and tissue of uint8 levels: the lower of the two that divide them into three."""
    from skimage.filters import threshold_multiotsu, threshold_otsu

    # Scanners fill what they did not measure with one value; between it and the noise of air lies no head.
    measured = levels[levels > levels.min()]
    if len(np.unique(measured)) < 3:
        return float(threshold_otsu(levels))
    return float(threshold_multiotsu(measured)[0])


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected region, neighbours by corner included."""
    from scipy import ndimage

    found: Any = ndimage.label(mask, np.ones((3, 3)))
    regions, count = found
    if count < 2:
        return mask
    return regions == 1 + np.argmax(np.bincount(regions.ravel())[1:])


def _close(mask: np.ndarray, radius: int) -> np.ndarray:
    """Closed with a disk: everything within `radius` of the mask, less what is within `radius` of the rest."""
    return _distance(_distance(~mask) <= radius) > radius


def _distance(mask: np.ndarray) -> np.ndarray:
    """float64: how many pixels each pixel of the mask is from the nearest one that is not in it."""
    from scipy import ndimage

    distance: Any = ndimage.distance_transform_edt(mask)  # of what it may return this call gives the array
    return distance


def _joined_at_the_border(mask: np.ndarray) -> np.ndarray:
    """With each border's stretch between its first and last pixel filled."""
    joined = mask.copy()
    for line in (joined[0], joined[-1], joined[:, 0], joined[:, -1]):
        places = np.flatnonzero(line)
        if places.size:
            line[places[0] : places[-1] + 1] = True
    return joined
