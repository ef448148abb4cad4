"""Orientation and pixel spacing: slices as radiologists look at them, with square pixels.

Axial slices are seen from the feet, coronal ones from the front, sagittal ones from the left: the patient's right is on
the image's left (sagittal: anterior on the left), anterior (coronal and sagittal: superior) is up. Directions are in
DICOM's patient coordinates: x grows to the patient's left, y to the back (posterior), z to the head (superior).
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from btjax.base.errors import InputError
from btjax.base.limits import limit_of

if TYPE_CHECKING:
    from collections.abc import Sequence

AXES = {"axial": ("S", "P", "L"), "coronal": ("P", "I", "L"), "sagittal": ("R", "I", "P")}
"""Where slices, rows and columns lead as their numbers grow, by plane: to the patient's left L, right R, anterior A,
posterior P, superior S or inferior I."""

PLANES = tuple(AXES)
"""The planes of the patient."""

RESAMPLED = "resampled to square pixels"
TURNED = "turned to radiological orientation"
"""Remarks on slices."""

_DIRECTIONS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
_SQUARE = 0.01
_LONGEST_PIXEL = 20.0


@dataclasses.dataclass(frozen=True)
class Turn:
    """How a stored slice becomes one in radiological orientation.

    Attributes:
      plane: axial, coronal or sagittal, whichever is nearest.
      transpose: whether rows and columns change places, before anything is flipped.
      flips: whether the rows, and whether the columns, are reversed.
      normal: unit vector [3] across the slices of the turned image; slices are ordered along it.
    """

    plane: str
    transpose: bool
    flips: tuple[bool, bool]
    normal: tuple[float, ...]

    @property
    def moves(self) -> bool:
        """Whether anything changes."""
        return self.transpose or any(self.flips)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The turned image; a view where nothing must be copied."""
        image = image.T if self.transpose else image
        return image[:: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]


def turn_of(across: Sequence[float], down: Sequence[float]) -> Turn:
    """The turn of a slice whose columns lead along `across` and whose rows lead along `down`.

    Args:
      across: vector [3] from a pixel to the next one in its row (the first three numbers of ImageOrientationPatient).
      down: vector [3] from a pixel to the next one in its column (the last three).

    Raises:
      ValueError: the vectors do not span a plane.

    Example:
      >>> turn_of((1, 0, 0), (0, 1, 0))
      Turn(plane='axial', transpose=False, flips=(False, False), normal=(0.0, 0.0, 1.0))
      >>> turn_of((0, 0, 1), (0, 1, 0))
      Turn(plane='sagittal', transpose=True, flips=(True, False), normal=(-1.0, 0.0, 0.0))
    """
    columns, rows = np.asarray(across, np.float64), np.asarray(down, np.float64)
    normal = np.cross(columns, rows)
    length = float(np.linalg.norm(normal))
    if not 1e-3 < length < math.inf:
        raise ValueError(f"the directions {tuple(across)} and {tuple(down)} span no plane")
    plane = ("sagittal", "coronal", "axial")[int(np.abs(normal).argmax())]
    (row_axis, row_sign), (column_axis, column_sign) = (_DIRECTIONS[letter] for letter in AXES[plane][1:])
    transpose = bool(abs(rows[column_axis]) > abs(columns[column_axis]))
    if transpose:
        columns, rows = rows, columns
    flips = (bool(rows[row_axis] * row_sign < 0), bool(columns[column_axis] * column_sign < 0))
    # Exchanging the axes, and reversing one of them, each turn the normal round.
    sign = -1.0 if (transpose + sum(flips)) % 2 else 1.0
    return Turn(plane, transpose, flips, tuple(float(value) for value in sign * normal / length + 0.0))


def are_square(spacing: Sequence[float]) -> bool:
    """Whether pixels of this spacing (between rows, between columns) are square to 1%."""
    return abs(spacing[0] / spacing[1] - 1) <= _SQUARE


def check_spacing(spacing: Sequence[float], where: str) -> None:
    """Refuses spacings that are no lengths, or that differ by more than 20 times.

    Raises:
      InputError: as said, naming `where`.
    """
    rows, columns = spacing
    if not (0 < rows < math.inf and 0 < columns < math.inf):
        raise InputError(f"{where}: found the pixel spacing {rows:g} x {columns:g}, expected two positive lengths")
    if max(rows / columns, columns / rows) > _LONGEST_PIXEL:
        expected = f"pixels at most {_LONGEST_PIXEL:g} times as long as wide"
        raise InputError(f"{where}: found the pixel spacing {rows:g} x {columns:g}, expected {expected}")


def square_pixels(image: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The image on square pixels: the axis with the wider spacing gets more pixels, so no detail is lost.

    Args:
      image: [H, W] of any number, or bool for a mask.
      spacing: between rows and between columns, in any unit; `check_spacing` passed it.

    Returns:
      The same image where the pixels are square to 1%. Else float32 [H', W'], linear between the pixels; for a mask
      bool [H', W'], the nearest pixel.

    Raises:
      ValueError: more pixels a side than the limit `image_side`.
    """
    if are_square(spacing):
        return image
    height, width = image.shape
    ratio = spacing[0] / spacing[1]
    size = (width, round(height * ratio)) if ratio > 1 else (round(width / ratio), height)
    if max(size) > limit_of("image_side"):
        raise ValueError(f"{size[0]} x {size[1]} pixels once they are square, expected {limit_of('image_side')} a side")
    if image.dtype == bool:
        return np.asarray(Image.fromarray(image.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)) > 0
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
