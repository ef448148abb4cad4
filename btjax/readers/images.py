"""Reading image files as grey slices, with a word on what had to be changed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import InputError
from btjax.readers.colour import LUMA, to_grey
from btjax.readers.masks import read_mask
from btjax.readers.rasters import IMAGE_SUFFIXES, Raster, open_raster

if TYPE_CHECKING:
    import pathlib

__all__ = ["IMAGE_SUFFIXES", "MARGINS", "TRANSPARENT", "Picture", "read_image", "read_mask"]

MARGINS = "white margins: a figure, or an inverted picture"
TRANSPARENT = "transparent parts taken as black"

_FEW_LEVELS = 4
_SMALL = 1024
"""Pixels; smaller pictures may have few levels by chance."""


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """An image file as a grey slice.

    Attributes:
      pixels: [H, W], upright, dark is low: uint8 of 8-bit files, else the file's own integer or floating dtype.
      remarks: what reading changed or doubts, in fixed words that can be counted over files.
    """

    pixels: np.ndarray
    remarks: tuple[str, ...] = ()


def read_image(path: pathlib.Path) -> Picture:
    """Reads an image file as a grey slice.

    EXIF orientation, palettes, WhiteIsZero and colour maps (viridis, jet, hot, ...) are undone, transparency lies on
    black, other colours become luma (ITU-R 601).

    Args:
      path: a file of any format that Pillow decodes, or a TIFF of any depth.

    Raises:
      InputError: the file is missing, damaged, no image, holds several pictures, is fully transparent, or holds so few
        grey levels that it is blank or a mask.

    Example:
      >>> import pathlib, tempfile
      >>> from PIL import Image
      >>> path = pathlib.Path(tempfile.mkdtemp(), "slice.png")
      >>> Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)
      >>> read_image(path).pixels[0, :3].tolist()
      [0, 1, 2]
    """
    raster = open_raster(path)
    if raster.alpha is not None and not raster.alpha.any():
        raise InputError(f"{path}: found a fully transparent image, expected a slice")
    pixels, remarks = _grey(raster)
    if raster.alpha is not None:
        composed = _on_black(pixels, raster.alpha)
        remarks += () if np.array_equal(composed, pixels) else (TRANSPARENT,)
        pixels = composed
    _check_levels(path, pixels)
    if _has_white_border(pixels):
        remarks += (MARGINS,)
    return Picture(pixels, raster.remarks + remarks)


def _grey(raster: Raster) -> tuple[np.ndarray, tuple[str, ...]]:
    """The grey levels of a raster, transparency apart, and the remarks on colour."""
    values = raster.values
    if values.ndim == 2:
        return values, ()
    if raster.alpha is not None and not raster.alpha.all():
        # What lies under transparent pixels is not seen, so it must not speak against a colour map.
        visible = raster.alpha > 0
        values = np.where(visible[..., None], values, values[visible][0])
    if values.dtype == np.uint8:
        return to_grey(values)
    red, green, blue = values[..., 0], values[..., 1], values[..., 2]
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return np.ascontiguousarray(red), ()
    grey, remarks = to_grey(_upper_bits(values))
    if remarks and remarks != (LUMA,) and remarks[0].startswith("colour map"):
        return grey, remarks
    return values.astype(np.float64) @ np.array([0.299, 0.587, 0.114]), remarks


def _upper_bits(values: np.ndarray) -> np.ndarray:
    """Colours of any dtype -> uint8, for recognising colour maps: white is the dtype's largest value, 1 of floats."""
    most = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1.0
    return np.rint(np.clip(np.nan_to_num(values.astype(np.float64)) / most, 0, 1) * 255).astype(np.uint8)


def _on_black(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Pixels of any dtype composed on black; dtype kept."""
    composed = pixels * (alpha / 255)
    return (np.rint(composed) if pixels.dtype.kind in "ui" else composed).astype(pixels.dtype)


def _check_levels(path: pathlib.Path, pixels: np.ndarray) -> None:
    """Refuses what is no slice: one grey level, a few of them, or nearly all pixels at the two ends."""
    if _has_shades(pixels[len(pixels) // 2]):
        return
    levels = np.unique(pixels)
    if len(levels) == 1:
        raise InputError(f"{path}: is blank (holds one grey level only), expected a slice")
    if len(levels) == 2 or (len(levels) <= _FEW_LEVELS and pixels.size >= _SMALL):
        number = {2: "two", 3: "three", 4: "four"}[len(levels)]
        raise InputError(f"{path}: holds {number} grey levels only: looks like a mask, expected a slice")
    if pixels.size >= _SMALL and _at_the_ends(pixels):
        raise InputError(f"{path}: nearly all pixels are black or white: looks like a mask, expected a slice")


def _has_shades(line: np.ndarray) -> bool:
    """Whether a line holds several shades between dark and bright: then the picture is no mask, which is soon seen."""
    if line.dtype != np.uint8:
        return False
    levels = line[:: 1 + line.size // 128].tobytes()
    low, high = min(levels), max(levels)
    margin = (high - low) // 12
    between = [level for level in levels if low + margin < level < high - margin]
    return high - low >= 32 and 10 * len(between) > len(levels) and len(set(between)) > _FEW_LEVELS


def _at_the_ends(pixels: np.ndarray) -> bool:
    """Whether nearly all pixels lie at the lowest or the highest level, and some at each: a mask saved with loss."""
    low, high = float(pixels.min()), float(pixels.max())
    margin = 0.02 * (high - low)
    top = int(np.count_nonzero(pixels >= high - margin)) / pixels.size
    bottom = int(np.count_nonzero(pixels <= low + margin)) / pixels.size
    return top + bottom > 0.96 and min(top, bottom) > 0.002


def _has_white_border(pixels: np.ndarray) -> bool:
    """Whether the outermost lines of 8-bit pixels are of one bright level, up to the noise of JPEG."""
    if pixels.dtype != np.uint8 or pixels[0, 0] < 200:
        return False
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return int(border.min()) >= 200 and int(np.ptp(border)) <= 16
