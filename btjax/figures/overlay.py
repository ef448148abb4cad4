"""A slice as a PNG, and a map to lie over it: colours whose opacity is the map's own strength."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_CUT = 99.5
"""Percent of a map's pixels up to its full strength: single pixels tower over maps of gradients."""


def slice_png(image: np.ndarray) -> bytes:
    """A grey slice, uint8 [S, S], as PNG."""
    return _png(Image.fromarray(image))


def map_colours(values: np.ndarray) -> np.ndarray:
    """A map in colours: red where it speaks for the class, blue where against.

    Args:
      values: float [S, S], signed or not.

    Returns:
      uint8 [S, S, 4], the last the opacity: 0 where the map is 0, 255 at its strongest half percent of pixels.
    """
    values = np.nan_to_num(np.asarray(values, np.float64))
    bound = np.percentile(np.abs(values), _CUT)
    strength = np.clip(np.abs(values) / max(float(bound), 1e-12), 0, 1)
    colours = np.zeros((*values.shape, 4), np.uint8)
    colours[..., :3] = np.where(values[..., None] >= 0, np.array([230, 60, 30]), np.array([40, 110, 240]))
    # A map that is positive everywhere goes from red to yellow, which tells strong from stronger.
    if values.min() >= 0:
        colours[..., 1] = np.rint(60 + 170 * strength)
    colours[..., 3] = np.rint(255 * strength)
    return colours


def map_png(values: np.ndarray) -> bytes:
    """`map_colours` as a PNG with transparency."""
    return _png(Image.fromarray(map_colours(values)))


def overlay_png(image: np.ndarray, values: np.ndarray, strength: float = 0.6) -> bytes:
    """A slice, uint8 [S, S], with a map, float [S, S], over it at a strength in [0, 1], as PNG."""
    colours = map_colours(values)
    alpha = strength * colours[..., 3:] / 255
    mixed = image[..., None] * (1 - alpha) + colours[..., :3] * alpha
    return _png(Image.fromarray(np.rint(mixed).astype(np.uint8)))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
