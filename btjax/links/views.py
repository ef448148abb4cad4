"""What `btjax.links.links` looks at: every slice at one small size, in its frame and cut to the head.

Everything here is computed at a fixed size, so that what is found hardly depends on the size of the slices.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from btjax.base.progress import ProgressCallback

SIDE = 64
"""Side of the small images, in pixels."""

BLOCK = 256
"""Slices that are worked on together."""

WINDOWS = tuple((top, bottom, left, right) for top, bottom in ((0, 0), (0.13, 0), (0, 0.13))
                for left, right in ((0, 0), (0.13, 0), (0, 0.13)))  # fmt: skip
"""Parts of the head's box that a cropped copy may still show: shares cut off at the top, bottom, left and right."""

_FREQUENCIES = 10
_COARSE = 24


@dataclasses.dataclass(frozen=True, eq=False)
class Views:
    """Small images of N slices and what is derived from them.

    Attributes:
      frame: uint8 [N, SIDE, SIDE], the whole slices.
      head: uint8 [N, SIDE, SIDE], the slices cut to the head's box and stretched to a square.
      masks: bool [N, SIDE, SIDE], where the head is in the frame.
      boxes: float32 [N, 4], top, bottom, left and right of the head in the frame, in shares of its side.
      waves: float32 [N, len(WINDOWS), F], the lowest frequencies of each window of the head, of length 1.
      coarse: float32 [N, D], frame and head at low resolution, of length 1.
      tones: float32 [N, T], quantiles of the head's grey levels, background and noise, as logarithms.
      greys: float32 [N, 64], cumulative histogram of the slice.
    """

    frame: np.ndarray
    head: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    waves: np.ndarray
    coarse: np.ndarray
    tones: np.ndarray
    greys: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)


def make_views(images: np.ndarray, progress: ProgressCallback | None = None) -> Views:
    """The views of slices, uint8 [N, S, S].

    Args:
      images: the slices.
      progress: called as `progress(what, done, total)`.
    """
    parts = []
    for rows in blocks(len(images)):
        parts.append(_block(images[rows]))
        if progress is not None:
            progress("look at slices", int(rows[-1]) + 1, len(images))
    names = [field.name for field in dataclasses.fields(Views)]
    if not parts:
        parts = [_block(np.zeros((1, SIDE, SIDE), np.uint8))]
        return Views(**{name: parts[0][name][:0] for name in names})
    return Views(**{name: np.concatenate([part[name] for part in parts]) for name in names})


def blocks(total: int, size: int = BLOCK) -> Iterator[np.ndarray]:
    """The numbers 0 to total - 1 in blocks."""
    for first in range(0, total, size):
        yield np.arange(first, min(first + size, total))


def joined(first: Views, second: Views) -> Views:
    """The views of two sets of slices one after the other."""
    names = [field.name for field in dataclasses.fields(Views)]
    return Views(**{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names})


def _block(images: np.ndarray) -> dict[str, Any]:
    frame = np.stack([small(image) for image in images])
    masks = np.stack([rough_head(one) for one in frame])
    boxes = np.stack([head_box(mask) for mask in masks])
    windows = [[window_of(box, window) for window in WINDOWS] for box in boxes]
    cuts = np.array([[small(i, window, 32) for window in row] for i, row in zip(images, windows, strict=True)])
    head = np.stack([small(image, box) for image, box in zip(images, boxes, strict=True)])
    return {
        "frame": frame,
        "head": head,
        "masks": masks,
        "boxes": boxes,
        "waves": _waves(cuts.reshape(-1, 32, 32)).reshape(len(images), len(WINDOWS), -1),
        "coarse": np.concatenate([_coarse(frame), _coarse(head)], axis=1) / np.float32(np.sqrt(2)),
        "tones": np.stack([_tones(one, mask) for one, mask in zip(frame, masks, strict=True)]),
        "greys": np.stack([np.cumsum(np.bincount(one.ravel() // 4, minlength=64)) / one.size for one in frame]).astype(
            np.float32
        ),
    }


def small(image: np.ndarray, box: Sequence[float] | np.ndarray | None = None, side: int = SIDE) -> np.ndarray:
    """A part of a slice at another size, uint8 [side, side].

    Args:
      image: uint8 [S, S].
      box: top, bottom, left and right in shares of S; None for all of it.
      side: in pixels.
    """
    size = len(image)
    top, bottom, left, right = (0, 1, 0, 1) if box is None else box
    part = (float(left) * size, float(top) * size, float(right) * size, float(bottom) * size)
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR, box=part))


def rough_head(frame: np.ndarray) -> np.ndarray:
    """Where the head is, bool [SIDE, SIDE]: the largest bright part, with its holes filled.

    A slice without contrast is head everywhere.
    """
    import scipy.ndimage

    smooth = scipy.ndimage.gaussian_filter(frame.astype(np.float32), 1)
    bright = smooth > smooth.mean()
    if not bright.any():
        return np.ones(frame.shape, bool)
    found = smooth > 0.25 * smooth[bright].mean()
    parts = np.empty(frame.shape, np.int32)
    scipy.ndimage.label(found, output=parts)
    largest = 1 + int(np.bincount(parts.ravel())[1:].argmax())
    return np.asarray(scipy.ndimage.binary_fill_holes(parts == largest))


def head_box(mask: np.ndarray) -> np.ndarray:
    """Top, bottom, left and right of a mask in shares of its side, float32 [4]; at least 8 pixels wide and high."""
    ends = []
    for axis in (1, 0):
        places = np.flatnonzero(mask.any(axis=axis))
        first, last = int(places[0]), int(places[-1]) + 1
        if last - first < 8:
            first = min(max(0, (first + last) // 2 - 4), len(mask) - 8)
            last = first + 8
        ends += [first, last]
    return np.array(ends, np.float32) / len(mask)


def window_of(box: np.ndarray, window: Sequence[float]) -> np.ndarray:
    """The part of a box, float32 [4], that is left of it when shares of its height and width are cut off."""
    top, bottom, left, right = box
    height, width = bottom - top, right - left
    cut = (top + window[0] * height, bottom - window[1] * height, left + window[2] * width, right - window[3] * width)
    return np.array(cut, np.float32)


def even_contrast(images: np.ndarray, sigma: float, blur: float = 0.0, floor: float = 8.0) -> np.ndarray:
    """Images minus their surroundings' mean over their surroundings' deviation, float32 [N, H, W].

    Hardly changes when brightness and contrast do.

    Args:
      images: [N, H, W], 0 to 255.
      sigma: width of the surroundings in pixels.
      blur: width in pixels of the smoothing afterwards.
      floor: grey levels added to the deviation, so that noise in the background stays small.
    """
    import scipy.ndimage

    images = images.astype(np.float32)
    mean = scipy.ndimage.gaussian_filter(images, (0, sigma, sigma))
    rest = images - mean
    spread = np.sqrt(scipy.ndimage.gaussian_filter(rest * rest, (0, sigma, sigma)))
    even = rest / (spread + np.float32(floor))
    return scipy.ndimage.gaussian_filter(even, (0, blur, blur)) if blur else even


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [N, ...] as float32 [N, D] of mean 0 and length 1."""
    flat = vectors.reshape(len(vectors), -1).astype(np.float32)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.float32(1e-6))


def _waves(cuts: np.ndarray) -> np.ndarray:
    """The lowest frequencies of windows, float32 [M, F]; a flip of the window changes signs alone."""
    import scipy.fft

    waves = scipy.fft.dctn(even_contrast(cuts, 4.0), axes=(1, 2), norm="ortho")
    flat = np.asarray(waves)[:, :_FREQUENCIES, :_FREQUENCIES].reshape(len(cuts), -1)[:, 1:]
    return (flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)).astype(np.float32)


def flip_signs() -> np.ndarray:
    """What flips do to `Views.waves`, float32 [4, F]: none, left to right, top to bottom, both."""
    row, column = (index.ravel()[1:] for index in np.indices((_FREQUENCIES, _FREQUENCIES)))
    return np.stack([(-1.0) ** (up * row + across * column) for up in (0, 1) for across in (0, 1)]).astype(np.float32)


def _coarse(images: np.ndarray) -> np.ndarray:
    even = even_contrast(images, 4.0, 1.0)
    size = (_COARSE, _COARSE)
    return unit(np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in even]))


def _tones(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Logarithms of quantiles of the head over its median, of the background's quantiles, and of the noise."""
    import scipy.ndimage

    inside = np.percentile(frame[mask], [10, 25, 50, 75, 90])
    outside = ~np.asarray(scipy.ndimage.binary_dilation(mask, iterations=3), bool)
    behind = np.percentile(frame[outside], [10, 50, 90]) if outside.sum() > 25 else np.zeros(3)
    values = frame.astype(np.float32)
    noise = (values - scipy.ndimage.gaussian_filter(values, 0.7))[mask].std()
    head = np.log(inside / max(inside[2], 1.0) + 0.02)
    return np.concatenate([head, np.log1p(behind), [np.log(noise + 0.1)]]).astype(np.float32)
