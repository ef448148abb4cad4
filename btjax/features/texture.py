"""Texture of a region by its rings: grey levels, pairs of grey levels, and words of a vocabulary of patches.

After Cheng et al., PLOS ONE 2015, doi 10.1371/journal.pone.0140381. Every function gives counts; `normalised` makes
shares of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from btjax.base.errors import InputError
from btjax.features.regions import FINEST, Region, patches


def quantised(image: np.ndarray, levels: int) -> np.ndarray:
    """Grey levels uint8 [...] of 0 to 255 as uint8 [...] of 0 to levels - 1, in equal intervals."""
    return (image.astype(np.uint16) * levels // 256).astype(np.uint8)


def level_counts(image: np.ndarray, region: Region, levels: int) -> np.ndarray:
    """How many pixels of each of the finest rings have each grey level.

    Args:
      image: uint8 [S, S].
      region: of the slice.
      levels: how many equal intervals of grey levels.

    Returns:
      int32 [8, levels].
    """
    return _counts(region, quantised(image[region.rows, region.columns], levels), levels)


def pair_counts(image: np.ndarray, region: Region, levels: int, distance: int) -> np.ndarray:
    """The grey level co-occurrences of every ring of every level: how often two levels stand at a distance.

    Pairs whose two pixels are in the ring count, in both orders, along rows, columns and both diagonals; on a diagonal
    the distance counts in rows and in columns, as in the authors' MATLAB.

    Args:
      image: uint8 [S, S].
      region: of the slice.
      levels: how many equal intervals of grey levels, at most 255.
      distance: in pixels.

    Returns:
      float32 [15, levels * (levels + 1) / 2]: rings of level 0, then 1, 2 and 3, outermost first; the lower triangle of
      the symmetric matrix, the mean of four directions, each as shares of its pairs. Zeros where a ring has no pair.

    Example:
      >>> from btjax.features.regions import region_of
      >>> image = np.array([[0, 255], [0, 255]], np.uint8)
      >>> pair_counts(image, region_of(np.ones((2, 2), bool), 0), 2, 1)[0].tolist()
      [0.125, 0.375, 0.125]
    """
    from skimage.feature import graycomatrix

    top, left = region.rows.min(), region.columns.min()
    rows, columns = region.rows - top, region.columns - left
    values = quantised(image[region.rows, region.columns], levels) + 1
    canvas = np.zeros((rows.max() + 1, columns.max() + 1), np.uint8)
    below, found = np.tril_indices(levels), []
    for level in range(FINEST + 1):
        rings = region.rings(level)
        for ring in range(2**level):
            chosen = rings == ring
            canvas[:] = 0  # outside the ring: a level of its own, which is left out
            canvas[rows[chosen], columns[chosen]] = values[chosen]
            shares = np.zeros((levels, levels))
            for steps, angles in ((distance, (0, np.pi / 2)), (distance * np.sqrt(2), (np.pi / 4, 3 * np.pi / 4))):
                pairs = graycomatrix(canvas, [steps], angles, levels=levels + 1, symmetric=True)[1:, 1:, 0]
                shares += (pairs / np.maximum(pairs.sum(axis=(0, 1)), 1)).sum(axis=-1) / 4
            found.append(shares[below])
    return np.stack(found).astype(np.float32)


def learned_words(sample: np.ndarray, words: int, seed: int) -> np.ndarray:
    """A vocabulary: the centres of k-means of patches.

    Args:
      sample: float32 [n, D], patches of training slices.
      words: how many.
      seed: of the first centres.

    Returns:
      float32 [words, D].

    Raises:
      InputError: fewer different patches than words.
    """
    from sklearn.cluster import KMeans

    different = len(np.unique(sample, axis=0))
    if different < words:
        raise InputError(f"--words={words}: the training regions have {different} different patches, expected as many")
    settings: Any = {"n_init": 1, "algorithm": "elkan"}  # scikit-learn's stubs know no number there
    found = KMeans(words, random_state=seed, **settings).fit(sample)
    return found.cluster_centers_.astype(np.float32)


def nearest_words(found: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Int [P]: the centre float32 [W, D] nearest to each patch float32 [P, D]."""
    # The nearest centre c of a patch p has the least |c|^2 - 2 p.c.
    return (np.square(words).sum(axis=1) - 2 * found @ words.T).argmin(axis=1)


def word_counts(image: np.ndarray, region: Region, words: np.ndarray) -> np.ndarray:
    """How many pixels of each of the finest rings have each word, that of the pixel's patch.

    Args:
      image: uint8 [S, S].
      region: of the slice.
      words: float32 [W, side * side].

    Returns:
      int32 [8, W].
    """
    found = patches(image, region, int(np.sqrt(words.shape[1])))
    return _counts(region, nearest_words(found, words), len(words))


def _counts(region: Region, values: np.ndarray, size: int) -> np.ndarray:
    """int32 [8, size]: how often each value of the region's pixels stands in each of the finest rings."""
    rings = 2**FINEST
    places = region.rings(FINEST).astype(np.int64) * size + values
    return np.bincount(places, minlength=rings * size).reshape(rings, size).astype(np.int32)


def ring_shares(finest: np.ndarray, level: int) -> np.ndarray:
    """The shares of each value in each ring of a level, from counts of the finest rings.

    Args:
      finest: [N, 8, W] counts, as `level_counts` and `word_counts` give them.
      level: 0 (the whole region) to 3.

    Returns:
      float32 [N, 2**level * W], in [0, 1]: each ring's sum is 1, or 0 where it has no pixel.

    Example:
      >>> ring_shares(np.ones((1, 8, 2), np.int32), 1).tolist()
      [[0.5, 0.5, 0.5, 0.5]]
    """
    rows, rings, size = finest.shape
    counts = finest.reshape(rows, 2**level, rings // 2**level, size).sum(axis=2)
    return (counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)).astype(np.float32).reshape(rows, -1)


def ring_pairs(pairs: np.ndarray, level: int) -> np.ndarray:
    """The co-occurrences of the rings of a level, float32 [N, 2**level * P], from `pair_counts` [N, 15, P]."""
    return pairs[:, 2**level - 1 : 2 ** (level + 1) - 1].reshape(len(pairs), -1)
