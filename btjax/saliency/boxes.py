"""Region proposals: boxes round what a map points at, and boxes that no map was needed for.

A box is four whole numbers: first row, first column, the row after its last, the column after its last.
"""

from __future__ import annotations

import numpy as np

LEVELS = (0.995, 0.99, 0.98, 0.95, 0.9, 0.8)
"""The shares of a map's pixels that lie below the thresholds at which it is cut into parts."""

_SAME = 0.5
"""Boxes of one slice that overlap by more than this are one proposal."""


def propose(maps: np.ndarray, count: int) -> np.ndarray:
    """The boxes of a map that stand out most.

    The map is smoothed by a Gaussian of a 64th of its side, and cut at the thresholds of `LEVELS` into connected parts.
    Their boxes are ranked by how far the mean inside lies above the mean outside, in standard errors (two samples of
    one variance); a box that overlaps a better one by more than a half is left out. Where too few are left, those that
    were left out follow, and then the whole slice.

    Args:
      maps: float [N, S, S], higher where it points; signs and scale are those of the method.
      count: K, boxes for each.

    Returns:
      int64 [N, K, 4], the best first.

    Raises:
      ValueError: a map that is not finite, or a count below 1.

    Example:
      >>> spot = np.zeros((1, 64, 64))
      >>> spot[0, 10:20, 30:44] = 1
      >>> propose(spot, 1).tolist()
      [[[11, 31, 19, 43]]]
    """
    maps = np.asarray(maps, np.float64)
    if count < 1 or not np.isfinite(maps).all():
        raise ValueError(f"expected finite maps and at least 1 box, found {count}")
    return np.array([_propose(one, count) for one in maps]).reshape(len(maps), count, 4)


def _propose(values: np.ndarray, count: int) -> np.ndarray:
    from scipy.ndimage import find_objects, gaussian_filter

    smooth = gaussian_filter(values, values.shape[0] / 64)
    boxes = [[0, 0, *smooth.shape]]
    for level in np.unique(np.quantile(smooth, LEVELS)):
        if level > smooth.min():
            found = find_objects(_parts(smooth >= level))
            boxes += [[rows.start, columns.start, rows.stop, columns.stop] for rows, columns in found]
    boxes = np.unique(boxes, axis=0)
    ranked = boxes[np.argsort(-_contrast(smooth, boxes), kind="stable")]
    kept, others = [], []
    for box in ranked:
        near = kept and box_overlap(np.array([kept]), box[None]).max() > _SAME
        (others if near else kept).append(box)
    whole = [[0, 0, *smooth.shape]] * count
    return np.array([*kept, *others, *whole])[:count]


def _parts(chosen: np.ndarray) -> np.ndarray:
    """Whole numbers [S, S]: the connected parts of some pixels, from 1; 0 for the others."""
    from skimage.measure import label

    return np.asarray(label(chosen, connectivity=1))


def _contrast(values: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """float64 [K]: the mean inside each box over that outside, in standard errors; least for the whole slice."""
    sums = np.zeros(np.add(values.shape, 1))
    sums[1:, 1:] = values.cumsum(axis=0).cumsum(axis=1)
    top, left, bottom, right = boxes.T
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    pixels = (bottom - top) * (right - left)
    outside = values.size - pixels
    known = outside > 0
    difference = inside / pixels - (sums[-1, -1] - inside) / np.maximum(outside, 1)
    return np.where(known, difference * np.sqrt(pixels * outside / values.size), -np.inf)


def mask_boxes(masks: np.ndarray) -> np.ndarray:
    """The box round each tumour: int64 [N, 4] of masks bool [N, S, S].

    Raises:
      ValueError: an empty mask.
    """
    if not masks.any(axis=(1, 2)).all():
        raise ValueError("a mask is empty: it has no box")
    ends = []
    for axis in (2, 1):
        shown = np.asarray(np.any(masks, axis=axis))
        ends.append((shown.argmax(axis=1), shown.shape[1] - shown[:, ::-1].argmax(axis=1)))
    (top, bottom), (left, right) = ends
    return np.stack([top, left, bottom, right], axis=1)


def box_masks(boxes: np.ndarray, size: int) -> np.ndarray:
    """The pixels of each box: bool [N, S, S] of boxes int [N, 4] in slices of `size` pixels.

    Example:
      >>> box_masks(np.array([[0, 1, 1, 3]]), 3).astype(int).tolist()
      [[[0, 1, 1], [0, 0, 0], [0, 0, 0]]]
    """
    top, left, bottom, right = boxes.T[..., None]
    places = np.arange(size)
    rows = (places >= top) & (places < bottom)
    columns = (places >= left) & (places < right)
    return rows[:, :, None] & columns[:, None, :]


def box_overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union, float64 [N, K], of boxes int [N, K, 4] and one other box a slice, int [N, 4].

    Example:
      >>> box_overlap(np.array([[[0, 0, 2, 2]]]), np.array([[0, 1, 2, 3]])).round(2).tolist()
      [[0.33]]
    """
    others = others[:, None]
    low, high = np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [(one[..., 2:] - one[..., :2]).prod(axis=-1) for one in (boxes, others)]
    return shared / (areas[0] + areas[1] - shared)


def random_boxes(heads: np.ndarray, sizes: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Boxes of the sizes of known tumours, about random pixels of each slice's head.

    Args:
      heads: bool [N, S, S], each with a pixel.
      sizes: int [M, 2], heights and widths to draw from: those of training tumours.
      count: K.
      seed: of the draws.

    Returns:
      int64 [N, K, 4]; each lies in its slice.
    """
    random, boxes = np.random.default_rng(seed), []
    for head in heads:
        middles = random.permutation(np.argwhere(head))[:count]
        middles = middles[np.arange(count) % len(middles)]
        boxes.append(_placed(middles, sizes[random.integers(len(sizes), size=count)], head.shape[0]))
    return np.array(boxes)


def centre_boxes(rows: int, size: int, known: np.ndarray, count: int) -> np.ndarray:
    """Boxes about the mean middle of known tumours, of their sizes by quantiles of the area, the middle one first.

    Args:
      rows: N; every slice has the same boxes.
      size: S.
      known: int [M, 4], boxes of training tumours.
      count: K.

    Returns:
      int64 [N, K, 4].
    """
    sizes = known[:, 2:] - known[:, :2]
    order = np.argsort(sizes.prod(axis=1), kind="stable")
    places = np.floor((np.arange(count) + 0.5) / count * len(order)).astype(int)
    places = places[np.argsort(np.abs(np.arange(count) - (count - 1) / 2), kind="stable")]
    middle = (known[:, :2] + known[:, 2:]).mean(axis=0) / 2
    boxes = _placed(np.tile(middle, (count, 1)), sizes[order[places]], size)
    return np.tile(boxes, (rows, 1, 1))


def _placed(middles: np.ndarray, sizes: np.ndarray, size: int) -> np.ndarray:
    """Boxes [K, 4] about middles [K, 2], moved into a slice of `size` pixels."""
    first = np.clip(np.round(middles - sizes / 2), 0, size - sizes).astype(np.int64)
    return np.concatenate([first, first + sizes], axis=1)
