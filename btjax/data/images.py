"""Reading image files as grey slices and as masks.

Kaggle's `denizkavi1/brain-tumor` copy keeps PNGs with matplotlib's viridis colour map baked in; such images are
recognised one by one and turned back to grey.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from btjax.base.errors import InputError
from btjax.data.preprocess import viridis_table

if TYPE_CHECKING:
    import pathlib

    from scipy.spatial import KDTree

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")

_VIRIDIS_DISTANCE = 30.0
_VIRIDIS_SHARE = 0.95


@functools.cache
def _viridis_lookup() -> tuple[np.ndarray, np.ndarray, KDTree]:
    """The grey value of each of the 2^24 colours (0 where viridis has none), viridis's colour codes, and a tree."""
    from scipy.spatial import KDTree

    codes = _codes(viridis_table())
    greys = np.zeros(1 << 24, np.uint8)
    greys[codes[::-1]] = np.arange(256, dtype=np.uint8)[::-1]  # of two values with one colour the lower is kept
    return greys, codes, KDTree(viridis_table().astype(np.float64))


def _codes(colours: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] -> int32 [...], one number for each colour."""
    wide = colours.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def undo_viridis(colours: np.ndarray) -> np.ndarray | None:
    """The grey image under a baked-in viridis colour map.

    Exact colours of the map give back their value (the lower one of the two pairs of values that share a colour);
    other pixels (a lossy or resized copy) take the nearest colour in RGB. An image counts as viridis when 95% of its
    pixels lie within a distance of 30 of the map; greys lie 55 and more away.

    Args:
      colours: uint8 [H, W, 3].

    Returns:
      uint8 [H, W], or None if the image is not in viridis.
    """
    red, green, blue = np.moveaxis(colours, -1, 0)
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return None
    greys, viridis_codes, tree = _viridis_lookup()
    codes = _codes(colours)
    grey = greys[codes]
    other = viridis_codes[grey] != codes
    if other.any():
        unique, inverse, counts = np.unique(codes[other], return_inverse=True, return_counts=True)
        points = np.stack([unique >> 16, (unique >> 8) & 255, unique & 255], axis=-1).astype(np.float64)
        distance, nearest = tree.query(points)
        if counts[distance > _VIRIDIS_DISTANCE].sum() > (1 - _VIRIDIS_SHARE) * codes.size:
            return None
        grey[other] = np.asarray(nearest, np.uint8)[inverse]
    return grey


def read_image(path: pathlib.Path) -> np.ndarray:
    """Reads an image file as grey.

    Returns:
      [H, W]: uint8 for 8-bit images, wider dtypes as stored for 16-bit, 32-bit and floating images. Colour images
      become grey by undoing viridis if they are in it, else by luma (ITU-R 601); transparency is dropped.

    Raises:
      InputError: the file is missing or is not an image.
    """
    image = _open(path)
    if image.mode in ("L", "F", "I") or image.mode.startswith("I;16"):
        return np.asarray(image)
    if image.mode in ("1", "LA", "La"):
        return np.asarray(image.convert("L"))
    image = image.convert("RGB")
    grey = undo_viridis(np.asarray(image))
    return np.asarray(image.convert("L")) if grey is None else grey


def read_mask(path: pathlib.Path) -> np.ndarray:
    """Reads a mask image as bool [H, W]: above half of its maximum, so 0/1, 0/255 and 1-bit files all work.

    Raises:
      InputError: the file is missing or is not an image.
    """
    image = _open(path)
    pixels = np.asarray(image if image.mode in ("1", "L", "I") or image.mode.startswith("I;16") else image.convert("L"))
    return pixels if pixels.dtype == bool else pixels > pixels.max() / 2


def _open(path: pathlib.Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected an image, found another kind of file ({reason})") from error
