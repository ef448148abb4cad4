"""How alike two slices are as neighbours in one patient: features of a pair, and the score that they give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from btjax.links.views import SIDE, Views, blocks, even_contrast, unit

if TYPE_CHECKING:
    from btjax.base.progress import ProgressCallback

SHIFT = 3
"""How far, in pixels of SIDE, a patch of one slice is sought in the other."""

PATCH = 8

_PATCH_FEATURES = ("still", "moved", "best", "wander")
_WHOLE_FEATURES = ("grey", "even", "wide")

FEATURES = (
    *(f"{view}_{name}" for view in ("frame", "head") for name in _PATCH_FEATURES + _WHOLE_FEATURES),
    "overlap", "height", "width", "down", "across", "edge", "second_edge", "tones", "background", "noise", "greys",
)  # fmt: skip
"""Names of the features of a pair, in their order.

Of each view (the whole frame; the head's box): `still`, mean correlation of 8 x 8 patches at the same place; `moved`,
the same for the best common shift of all; `best`, each patch at its own best shift; `wander`, how much these shifts
differ; `grey`, `even` and `wide`, correlations of the whole image: of its grey levels, of its contrast at a fine and a
wide scale. `overlap` is the heads' intersection over union. Then differences, as square roots: of the heads' sizes and
middles, of the two edges of their boxes that agree best, of the grey levels of the head and of the background, of the
noise, of the histograms.
"""


def pair_features(views: Views, pairs: np.ndarray, progress: ProgressCallback | None = None) -> np.ndarray:
    """The features of pairs, float32 [P, len(FEATURES)].

    Args:
      views: of the slices.
      pairs: int [P, 2], row numbers, sorted by the first.
      progress: called as `progress(what, done, total)`.
    """
    patches = [_patches_of(images) for images in (views.frame, views.head)]
    wholes = [_wholes_of(images) for images in (views.frame, views.head)]
    found = np.empty((len(pairs), len(FEATURES)), np.float32)
    per_view = len(_PATCH_FEATURES) + len(_WHOLE_FEATURES)
    rows, starts = np.unique(pairs[:, 0], return_index=True)
    ends = [*starts[1:], len(pairs)][: len(rows)]
    for done, (row, start, end) in enumerate(zip(rows.tolist(), starts, ends, strict=True), 1):
        others = pairs[start:end, 1]
        for view, images in enumerate((views.frame, views.head)):
            weight = views.masks if view == 0 else None
            column = view * per_view
            found[start:end, column : column + len(_PATCH_FEATURES)] = _patch_features(
                images[row], patches[view][others], None if weight is None else weight[row] | weight[others]
            )
            for place, vectors in enumerate(wholes[view], column + len(_PATCH_FEATURES)):
                found[start:end, place] = vectors[others].astype(np.float32) @ vectors[row].astype(np.float32)
        if progress is not None and (done % 64 == 0 or done == len(rows)):
            progress("compare slices", done, len(rows))
    found[:, 2 * per_view :] = _plain_features(views, pairs)
    return found


def _cut(images: np.ndarray) -> np.ndarray:
    """Images [N, SIDE, SIDE] in patches, [N, patches, PATCH * PATCH]."""
    per_side = SIDE // PATCH
    cut = images.reshape(len(images), per_side, PATCH, per_side, PATCH).transpose(0, 1, 3, 2, 4)
    return cut.reshape(len(images), per_side * per_side, PATCH * PATCH)


def _even_patches(patches: np.ndarray) -> np.ndarray:
    """Patches of mean 0 and length 1; flat ones are shorter, so that noise does not count."""
    patches = patches.astype(np.float32)
    patches = patches - patches.mean(axis=-1, keepdims=True)
    return patches / np.sqrt((patches * patches).sum(axis=-1, keepdims=True) + np.float32(9 * PATCH * PATCH))


def _patches_of(images: np.ndarray) -> np.ndarray:
    """float16 [N, patches, PATCH * PATCH]."""
    parts = [_even_patches(_cut(images[rows])).astype(np.float16) for rows in blocks(len(images))]
    return np.concatenate(parts) if parts else np.zeros((0, (SIDE // PATCH) ** 2, PATCH**2), np.float16)


def _wholes_of(images: np.ndarray) -> list[np.ndarray]:
    """The three vectors of each image whose products are correlations, float16 [N, D]."""
    parts: list[list[np.ndarray]] = [[], [], []]
    for rows in blocks(len(images)):
        block = images[rows]
        wide = even_contrast(block, 8.0, 2.0)
        for part, values in zip(parts, (block, even_contrast(block, 4.0, 0.7), wide[:, 1::4, 1::4]), strict=True):
            part.append(unit(values).astype(np.float16))
    return [np.concatenate(part) if part else np.zeros((0, 1), np.float16) for part in parts]


def _patch_features(image: np.ndarray, others: np.ndarray, heads: np.ndarray | None) -> np.ndarray:
    """float32 [K, 4] of an image [SIDE, SIDE] and the patches of K others; weights `heads` bool [K, SIDE, SIDE]."""
    count, width = len(others), 2 * SHIFT + 1
    padded = np.pad(image, SHIFT, mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE)).reshape(-1, SIDE, SIDE)
    shifted = _even_patches(_cut(views)).transpose(1, 0, 2)  # [patches, shifts, pixels]
    agree = shifted @ others.astype(np.float32).transpose(1, 2, 0)  # [patches, shifts, K]
    weight = np.ones((agree.shape[0], count), np.float32) if heads is None else _cut(heads).mean(axis=2).T
    weight = (weight / np.maximum(weight.sum(axis=0), 1e-6)).astype(np.float32)
    common = np.einsum("psk,pk->sk", agree, weight)
    best, where = agree.max(axis=1), agree.argmax(axis=1)
    sure = weight * np.maximum(best, 0)
    sure /= np.maximum(sure.sum(axis=0), 1e-6)
    wander = np.zeros(count, np.float32)
    for shift in (where // width, where % width):
        middle = (sure * shift).sum(axis=0)
        wander += (sure * (shift - middle) ** 2).sum(axis=0)
    still = common[width * width // 2]
    return np.stack([still, common.max(axis=0), (best * weight).sum(axis=0), np.sqrt(wander)], axis=1)


def _plain_features(views: Views, pairs: np.ndarray) -> np.ndarray:
    """float32 [P, 11], the features after those of the two views."""
    parts, heads = [], views.masks.reshape(len(views), SIDE * SIDE)
    for rows in blocks(len(pairs), 4096):
        one, other = pairs[rows].T
        both, either = (heads[one] & heads[other]).sum(axis=1), (heads[one] | heads[other]).sum(axis=1)
        first, second = views.boxes[one].astype(np.float64), views.boxes[other].astype(np.float64)
        sizes = np.abs(np.log((first[:, 1::2] - first[:, ::2]) / (second[:, 1::2] - second[:, ::2])))
        middles = np.abs((first[:, 1::2] + first[:, ::2]) - (second[:, 1::2] + second[:, ::2])) / 2
        edges = np.sort(np.abs(first - second), axis=1)[:, :2]
        tones = np.abs(views.tones[one] - views.tones[other])
        greys = np.abs(views.greys[one] - views.greys[other]).mean(axis=1)
        by_part = [tones[:, :5].mean(axis=1), tones[:, 5:8].mean(axis=1), tones[:, 8], greys]
        apart = np.column_stack([sizes, middles, edges, *by_part])
        parts.append(np.column_stack([both / either, np.sqrt(apart)]))
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, 11), np.float32)
