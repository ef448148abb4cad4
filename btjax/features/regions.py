"""Regions of a slice: the tumour's outline with a margin, divided into rings or by brightness, and patches in it.

After Cheng et al., Enhanced Performance of Brain Tumor Classification via Tumor Region Augmentation and Partition, PLOS
ONE 2015, and Retrieval of Brain Tumors by Adaptive Spatial Pooling and Fisher Vector Representation, PLOS ONE 2016.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

FINEST = 3
"""The finest level of rings; level k has 2**k of them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """The pixels of a region of one slice, in the order of rows and columns.

    Attributes:
      rows: int32 [P].
      columns: int32 [P].
      depth: float32 [P] in [0, 1]: the distance from the region's border, 0 on it and 1 where it is greatest.
    """

    rows: np.ndarray
    columns: np.ndarray
    depth: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def rings(self, level: int) -> np.ndarray:
        """int32 [P]: the ring of each pixel, 0 the outermost of 2**level of equal width."""
        return np.minimum((self.depth * 2**level).astype(np.int32), 2**level - 1)


def region_of(mask: np.ndarray, radius: int) -> Region:
    """The region of a tumour: its outline, dilated by a disk.

    Two rules for what the papers leave open: where the disk passes the slice's edge, the edge is the region's border;
    and the region of an empty mask is the whole slice.

    Args:
      mask: bool [S, S].
      radius: of the disk in pixels; all pixels at most so far from the tumour belong to the region. 0 for the tumour.

    Example:
      >>> mask = np.zeros((32, 32), bool)
      >>> mask[16, 16] = True
      >>> len(region_of(mask, 0)), len(region_of(mask, 2)), len(region_of(np.zeros((8, 8), bool), 2))
      (1, 13, 64)
    """
    from scipy import ndimage

    inside = np.ones_like(mask) if not mask.any() else mask
    first, last = _box(inside, radius)
    inside = inside[first[0] : last[0], first[1] : last[1]]
    if radius and not inside.all():
        inside = _distances(~inside) <= radius
    rows, columns = np.nonzero(inside)
    # The border's own pixels have the distance 0, so it is measured from the outermost pixels of the region.
    eroded: Any = ndimage.binary_erosion(inside)
    border = inside & ~eroded
    distance = _distances(~border)[rows, columns].astype(np.float32)
    depth = distance / max(float(distance.max()), 1.0)
    return Region(rows.astype(np.int32) + first[0], columns.astype(np.int32) + first[1], depth)


def _distances(mask: np.ndarray) -> np.ndarray:
    """float64 [H, W]: the Euclidean distance of each pixel of a mask from the nearest pixel outside it."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(mask))


def _box(inside: np.ndarray, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last (exclusive) row and column of a mask with a margin, within the slice; int32 [2] each."""
    places = np.argwhere(inside)
    first = np.maximum(places.min(axis=0) - margin, 0)
    last = np.minimum(places.max(axis=0) + 1 + margin, inside.shape)
    return first.astype(np.int32), last.astype(np.int32)


def patches(image: np.ndarray, region: Region, side: int) -> np.ndarray:
    """The square patch around every pixel of a region.

    Args:
      image: uint8 [S, S]; beyond its edge it is mirrored.
      region: of the slice.
      side: of the patches in pixels, odd.

    Returns:
      float32 [P, side * side] in [0, 1], row by row.

    Example:
      >>> image = np.arange(9, dtype=np.uint8).reshape(3, 3)
      >>> middle = Region(np.array([1]), np.array([1]), np.zeros(1))
      >>> (patches(image, middle, 3) * 255).round().astype(int).tolist()
      [[0, 1, 2, 3, 4, 5, 6, 7, 8]]
    """
    half = side // 2
    wide = np.pad(image, half, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (side, side))
    return windows[region.rows, region.columns].reshape(len(region), side * side).astype(np.float32) / np.float32(255)


def brightness_parts(image: np.ndarray, region: Region, parts: int) -> np.ndarray:
    """Divides a region by the quantiles of its grey levels: Cheng's adaptive spatial pooling.

    Args:
      image: [S, S].
      region: of the slice.
      parts: how many parts; those of one grey level stay together, so that a part may be empty.

    Returns:
      int32 [P]: the part of each pixel, 0 the darkest.

    Example:
      >>> image = np.array([[3, 1], [4, 2]], np.uint8)
      >>> brightness_parts(image, region_of(np.ones((2, 2), bool), 0), 2).tolist()
      [1, 0, 1, 0]
    """
    levels = image[region.rows, region.columns]
    bounds = np.quantile(levels, np.linspace(0, 1, parts + 1)[1:-1])
    return np.searchsorted(bounds, levels, side="right").astype(np.int32)
