"""Laying pairs of slices over each other: whether two are the same slice, cropped, rescaled or flipped."""

from __future__ import annotations

import dataclasses

import numpy as np

from btjax.links.views import SIDE, blocks, even_contrast

ROUGH = 32
"""Side in pixels of the rough stage."""

ROUGH_STEPS, FINE_STEPS = 7, 3
"""Steps of the registration at each of the two stages."""

PROMISING = 0.6
"""Correlation after the rough stage below which a pair is given up."""


def flipped(images: np.ndarray, flip: np.ndarray) -> np.ndarray:
    """Images [N, H, W], each flipped by its own number: 0 none, 1 left to right, 2 top to bottom, 3 both."""
    turned = images.copy()
    turned[flip == 1] = images[flip == 1][:, :, ::-1]
    turned[flip == 2] = images[flip == 2][:, ::-1]
    turned[flip == 3] = images[flip == 3][:, ::-1, ::-1]
    return turned


def box_map(from_box: np.ndarray, to_box: np.ndarray) -> np.ndarray:
    """Affine maps, float32 [P, 2, 3], that take boxes (top, bottom, left, right) [P, 4] to others."""
    maps = np.zeros((len(from_box), 2, 3), np.float32)
    for axis, (first, last) in enumerate(((0, 1), (2, 3))):
        scale = (to_box[:, last] - to_box[:, first]) / (from_box[:, last] - from_box[:, first])
        maps[:, axis, axis] = scale
        maps[:, axis, 2] = to_box[:, first] - scale * from_box[:, first]
    return maps


@dataclasses.dataclass(frozen=True, eq=False)
class Sheets:
    """What is laid over each other of N slices; all are float16 [N, side, side] but `shown`, which is bool.

    Attributes:
      rough: even contrast at `ROUGH` pixels a side.
      fine: even contrast at `SIDE` pixels a side, smoothed.
      detail: even contrast at `SIDE` pixels a side, narrow: what the final correlation is of.
      shown: where a slice shows more than background, at `SIDE` pixels a side.
    """

    rough: np.ndarray
    fine: np.ndarray
    detail: np.ndarray
    shown: np.ndarray

    def take(self, rows: np.ndarray, flip: np.ndarray | None = None) -> Sheets:
        """Those of some rows, each flipped by its number; see `flipped`."""
        parts = [getattr(self, field.name)[rows] for field in dataclasses.fields(self)]
        return Sheets(*(parts if flip is None else [flipped(part, flip) for part in parts]))


def make_sheets(frames: np.ndarray) -> Sheets:
    """The sheets of slices, uint8 [N, SIDE, SIDE]."""
    parts = []
    step = SIDE // ROUGH
    for rows in blocks(len(frames)):
        levels = frames[rows].astype(np.float32)
        shown = levels > 0.15 * np.percentile(levels, 90, axis=(1, 2), keepdims=True)
        rough = levels.reshape(len(levels), ROUGH, step, ROUGH, step).mean(axis=(2, 4))
        even = (even_contrast(rough, 2.0, 1.0), even_contrast(levels, 4.0, 0.5), even_contrast(levels, 2.5))
        parts.append([one.astype(np.float16) for one in even] + [shown])
    return Sheets(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def register(fixed: Sheets, moving: Sheets, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Refines affine maps and says how well the slices then agree (inverse compositional Lucas-Kanade).

    Pairs that hardly agree after the rough stage are given up.

    Args:
      fixed: of P slices.
      moving: of P slices.
      maps: float32 [P, 2, 3], places (down, across) in `fixed`, in shares of its side, to places in `moving`.

    Returns:
      float32 [P], the correlation of the slices' detail where both show something, 0 where the maps went astray; and
      the refined maps.

    Source:
      S. Baker and I. Matthews, "Lucas-Kanade 20 years on", IJCV 56(3), 2004.
    """
    rough, maps = _refine(fixed.rough, moving.rough, maps, ROUGH_STEPS)
    scores = np.zeros(len(maps), np.float32)
    kept = np.flatnonzero(rough >= PROMISING)
    if len(kept):
        fixed, moving = fixed.take(kept), moving.take(kept)
        _, maps[kept] = _refine(fixed.fine, moving.fine, maps[kept], FINE_STEPS)
        scores[kept] = _agreement(fixed, moving, maps[kept])
    return scores, maps


def _agreement(fixed: Sheets, moving: Sheets, maps: np.ndarray) -> np.ndarray:
    """The correlation of detail where both slices show something; 0 where too little overlaps or a map is absurd."""
    sampled, inside = _sample(moving.detail.astype(np.float32), maps)
    shown = fixed.shown.reshape(len(maps), -1)
    weight = inside * shown
    share = weight.sum(axis=1) / np.maximum(shown.sum(axis=1), 1)
    scores = _correlation(fixed.detail.astype(np.float32).reshape(len(maps), -1), sampled, weight)
    size = maps[:, 0, 0] * maps[:, 1, 1] - maps[:, 0, 1] * maps[:, 1, 0]
    astray = (share < 0.5) | (size < 0.25) | (size > 4) | ~np.isfinite(scores)
    return np.where(astray, 0, scores).astype(np.float32)


def _grid(side: int) -> np.ndarray:
    """The pixels' middles, float32 [2, side * side], in shares of the side."""
    return (np.indices((side, side)).reshape(2, -1).astype(np.float32) + np.float32(0.5)) / np.float32(side)


def _sample(images: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images [P, H, H] at the places that maps take the grid to, bilinear [P, H * H]; and 1 where that is inside."""
    count, side = len(images), images.shape[1]
    places = (maps[:, :, :2] @ _grid(side) + maps[:, :, 2:]) * np.float32(side) - np.float32(0.5)
    inside = ((places >= 0) & (places <= side - 1)).all(axis=1)
    places = np.clip(np.nan_to_num(places), 0, side - 1.001)
    low = places.astype(np.int32)
    down, across = np.moveaxis(places - low, 1, 0)
    index = low[:, 0] * side + low[:, 1] + (np.arange(count, dtype=np.int32) * side * side)[:, None]
    flat = images.reshape(-1)
    first, third = flat.take(index), flat.take(index + side)
    upper = first + (flat.take(index + 1) - first) * across
    lower = third + (flat.take(index + side + 1) - third) * across
    return upper + (lower - upper) * down, inside.astype(np.float32)


def _refine(fixed: np.ndarray, moving: np.ndarray, maps: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Takes `steps` steps of the registration; the correlation before the last of them, and the maps."""
    fixed, moving = fixed.astype(np.float32), moving.astype(np.float32)
    count, side = len(fixed), fixed.shape[1]
    scores = np.zeros(count, np.float32)
    down, across = (np.gradient(fixed, axis=axis).reshape(count, -1) * np.float32(side) for axis in (1, 2))
    row, column = _grid(side) - np.float32(0.5)
    steepest = np.stack([down * row, down * column, down, across * row, across * column, across], axis=1)
    flat = fixed.reshape(count, -1)
    last = np.broadcast_to(np.array([0, 0, 1], np.float32), (count, 1, 3))
    centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]], np.float32)
    back = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]], np.float32)
    for _ in range(steps):
        sampled, inside = _sample(moving, maps)
        scores = _correlation(flat, sampled, inside)
        weighted = steepest * inside[:, None]
        hessian = weighted @ steepest.transpose(0, 2, 1)
        # A little of the trace keeps images without contrast solvable.
        ridge = 1e-4 * np.trace(hessian, axis1=1, axis2=2)[:, None, None] + np.float32(1e-3)
        slope = weighted @ (sampled - flat)[..., None]
        change = np.linalg.solve(hessian + ridge * np.eye(6, dtype=np.float32), slope)[..., 0]
        change = np.clip(change, -0.15, 0.15).reshape(count, 2, 3)
        change = np.concatenate([change + np.eye(2, 3, dtype=np.float32), last], axis=1)
        whole = np.concatenate([maps, last], axis=1)
        maps = (whole @ centre @ np.linalg.inv(change) @ back)[:, :2].astype(np.float32)
    return scores, maps


def _correlation(one: np.ndarray, other: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted correlation of rows [P, n]."""
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1)
    one = one - (one * weight).sum(axis=1, keepdims=True) / total
    other = other - (other * weight).sum(axis=1, keepdims=True) / total
    product = (one * other * weight).sum(axis=1)
    lengths = np.sqrt((one * one * weight).sum(axis=1) * (other * other * weight).sum(axis=1))
    return product / np.maximum(lengths, 1e-6)
