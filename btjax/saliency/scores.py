"""How well a saliency map locates the tumour: scores of maps against masks, and their chance levels.

Every score takes `maps` (float [N, S, S], any sign and scale) and `masks` (bool [N, S, S]) and returns float64 [N], one
value per slice, never NaN. Nothing is normalised on the way. Which part of a signed map counts:

- the order of the signed values, for the peak (pointing, distance), for the k highest pixels, and for ROC AUC and
  average precision; these do not change under a strictly increasing function of the map;
- the positive part, for the energy and for Otsu's threshold; these do not change under a positive factor.

A caller who wants magnitudes passes `np.abs(maps)`. Pixels of equal value are ordered at random and the score is the
expectation (for average precision: one threshold for all of them, as in scikit-learn), so a constant map has the score
of chance: it points nowhere. A map without a positive part is treated as constant where the positive part counts. A map
that is zero everywhere therefore has a score although it says nothing: `count_zero_maps` counts such maps.

No score chooses a threshold by looking at the mask. The best value of `iou_curve` does, slice by slice: it is never
below the value at any threshold fixed beforehand, for noise as for a good map, so it flatters every map and is for
drawing only.

`Score.chance` is the mean score of a map that is independent of the mask: uniform noise in [0, 1].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

TOLERANCE = 15 / 512
"""The largest distance of a hit from the tumour, in image sides: 15 pixels (Zhang 2018) of a 512-pixel slice."""


@dataclasses.dataclass(frozen=True)
class Score:
    """A score of maps against masks.

    Attributes:
      name: its name in tables.
      function: (maps, masks, **settings) -> float64 [N].
      chance: (masks, **settings) -> float64 [N], the mean score of uniform noise, from the mask alone.
      higher_is_better: the direction.
      reference: its source.
      settings: the names of the keyword arguments that `function` and `chance` take: `area_share`, `tolerance`.
    """

    name: str
    function: Callable[..., np.ndarray]
    chance: Callable[..., np.ndarray]
    higher_is_better: bool
    reference: str
    _: dataclasses.KW_ONLY
    settings: tuple[str, ...] = ()


def count_zero_maps(maps: np.ndarray) -> int:
    """How many maps are zero everywhere, as a Grad-CAM is where no channel speaks for the class.

    Args:
      maps: float [N, S, S].

    Example:
      >>> count_zero_maps(np.array([[[0.0, 0.0]], [[0.0, -1.0]]]))
      1
    """
    return int(np.sum(~np.any(np.asarray(maps), axis=(1, 2))))


def pointing_game(maps: np.ndarray, masks: np.ndarray, *, tolerance: float = TOLERANCE) -> np.ndarray:
    """Whether the map's peak lies in the tumour or near it: the share of the maximal pixels that do.

    Args:
      maps: float [N, S, S].
      masks: bool [N, S, S].
      tolerance: the largest distance to the nearest tumour pixel that counts as a hit, in image sides; 0 for none.

    Returns:
      float64 [N] in [0, 1]; 0 or 1 where the peak is a single pixel.

    Raises:
      ValueError: shapes or types that disagree, a map that is not finite, a mask without tumour or without background.
    """
    return _by_row(lambda values, mask: np.mean(_distances(mask)[values == values.max()] <= tolerance), maps, masks)


def peak_distance(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The distance of the map's peak from the nearest tumour pixel: float64 [N] in image sides, 0 inside the tumour.

    The mean over the maximal pixels, if there are several. Arguments and errors as in `pointing_game`.
    """
    return _by_row(lambda values, mask: np.mean(_distances(mask)[values == values.max()]), maps, masks)


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The share of the positive part's sum that lies in the tumour: float64 [N] in [0, 1].

    A map without a positive part scores the tumour's share of the area. Arguments and errors as in `pointing_game`.
    """

    def share(values, mask):
        positive = _positive_part(values)
        return positive[mask].sum() / positive.sum()

    return _by_row(share, maps, masks)


def iou_otsu(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Intersection over union of the tumour and the pixels above Otsu's threshold of the map's positive part.

    The threshold is the best of 256 equal bins. Where there is nothing to separate (no positive part, or a constant
    one) the whole image is selected. Arguments and errors as in `pointing_game`; float64 [N] in [0, 1].
    """

    def iou(values, mask):
        region = otsu_region(values)
        return (region & mask).sum() / (region | mask).sum()

    return _by_row(iou, maps, masks)


def dice_otsu(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Dice coefficient of the tumour and the region of `iou_otsu`: float64 [N] in [0, 1]."""
    iou = iou_otsu(maps, masks)
    return 2 * iou / (1 + iou)


def otsu_region(values: np.ndarray) -> np.ndarray:
    """The pixels above Otsu's threshold of the positive part of one map: float [S, S] -> bool [S, S]."""
    positive = _positive_part(values)
    if positive.min() == positive.max():
        return np.ones(values.shape, bool)
    from skimage.filters import threshold_otsu

    return positive > threshold_otsu(positive)


def iou_top(maps: np.ndarray, masks: np.ndarray, *, area_share: float) -> np.ndarray:
    """Intersection over union of the tumour and the k highest pixels of the map.

    Args:
      maps: float [N, S, S].
      masks: bool [N, S, S].
      area_share: k as a share of the pixels, in (0, 1], the same for every slice: a constant that was fixed without
        the scored masks, such as the mean tumour area of the training rows. k is rounded, and at least 1.

    Returns:
      float64 [N] in [0, 1].

    Raises:
      ValueError: as in `pointing_game`, or an area share outside (0, 1].
    """
    _check_share(area_share)

    def iou(values, mask):
        above, inside_above, tied, inside_tied, drawn = _top_counts(values, mask, area_share)
        return _expected_iou(tied, inside_tied, drawn, inside_above, above + drawn + mask.sum())

    return _by_row(iou, maps, masks)


def dice_top(maps: np.ndarray, masks: np.ndarray, *, area_share: float) -> np.ndarray:
    """Dice coefficient of the tumour and the k highest pixels: float64 [N] in [0, 1]; arguments as in `iou_top`."""
    _check_share(area_share)

    def dice(values, mask):
        above, inside_above, tied, inside_tied, drawn = _top_counts(values, mask, area_share)
        return 2 * (inside_above + drawn * inside_tied / tied) / (above + drawn + mask.sum())

    return _by_row(dice, maps, masks)


def iou_curve(maps: np.ndarray, masks: np.ndarray, area_shares: np.ndarray) -> np.ndarray:
    """`iou_top` at each of K area shares: float64 [N, K], for drawing. Its best value is not a score (see above)."""
    return np.stack([iou_top(maps, masks, area_share=share) for share in area_shares], axis=1)


def average_precision(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Average precision of the pixels as detections of tumour: float64 [N] in (0, 1].

    The mean over tumour pixels of the precision at that pixel's value: scikit-learn's `average_precision_score`.
    Arguments and errors as in `pointing_game`.
    """

    def precision(values, mask):
        inside = np.sort(values[mask])
        hits = len(inside) - np.searchsorted(inside, inside)
        return np.mean(hits / (values.size - np.searchsorted(np.sort(values, axis=None), inside)))

    return _by_row(precision, maps, masks)


def roc_auc(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of the pixels as detections of tumour: float64 [N] in [0, 1].

    The probability that a tumour pixel's value is above another pixel's, ties as one half. Arguments and errors as in
    `pointing_game`.
    """

    def area(values, mask):
        inside = np.sort(values[mask])
        ordered = np.sort(values, axis=None)
        ranks = np.searchsorted(ordered, inside) + np.searchsorted(ordered, inside, side="right")
        wins = ranks.sum() / 2 - len(inside) ** 2 / 2
        return wins / (len(inside) * (values.size - len(inside)))

    return _by_row(area, maps, masks)


def pointing_chance(masks: np.ndarray, *, tolerance: float = TOLERANCE) -> np.ndarray:
    """The share of the image within the tolerance of the tumour: float64 [N]."""
    return np.array([np.mean(_distances(mask) <= tolerance) for mask in masks])


def peak_distance_chance(masks: np.ndarray) -> np.ndarray:
    """The mean distance of all pixels to the tumour: float64 [N] in image sides."""
    return np.array([_distances(mask).mean() for mask in masks])


def area_chance(masks: np.ndarray) -> np.ndarray:
    """The tumour's share of the image's area: float64 [N]."""
    return np.asarray(masks).mean(axis=(1, 2), dtype=np.float64)


def average_precision_chance(masks: np.ndarray) -> np.ndarray:
    """The mean average precision over all orders of n pixels, m of them tumour: float64 [N].

    (H(n) + (m - 1) / (n - 1) (n - H(n))) / n with the harmonic number H(n): slightly more than m / n, since the
    tumour pixel at which a precision is taken counts itself (Bestgen, Exact expected average precision of the random
    baseline for system evaluation, Prague Bull. Math. Linguistics 103, 2015).
    """
    pixels = masks[0].size
    harmonic = np.sum(1 / np.arange(1, pixels + 1))
    areas = np.asarray(masks).sum(axis=(1, 2))
    return (harmonic + (areas - 1) / (pixels - 1) * (pixels - harmonic)) / pixels


def roc_auc_chance(masks: np.ndarray) -> np.ndarray:
    """One half: float64 [N]."""
    return np.full(len(masks), 0.5)


def iou_chance(masks: np.ndarray, *, area_share: float = 0.5) -> np.ndarray:
    """The mean IoU of the tumour and k pixels drawn at random: float64 [N], summed over the hypergeometric counts.

    The default is the share that Otsu's threshold selects of uniform noise: one half on average.
    """
    pixels = masks[0].size
    drawn = _pixel_count(area_share, pixels)
    areas = np.asarray(masks).sum(axis=(1, 2))
    by_area = {area: _expected_iou(pixels, area, drawn, 0, drawn + area) for area in np.unique(areas)}
    return np.array([by_area[area] for area in areas])


def dice_chance(masks: np.ndarray, *, area_share: float = 0.5) -> np.ndarray:
    """The mean Dice coefficient of the tumour and k pixels drawn at random: float64 [N], 2 k a / (k + a n)."""
    drawn = _pixel_count(area_share, masks[0].size)
    areas = np.asarray(masks).sum(axis=(1, 2))
    return 2 * drawn * areas / masks[0].size / (drawn + areas)


_SALIENCY_SEGMENTATION = "Saporta et al., Nat. Mach. Intell. 4, 2022 (Otsu 1979 thresholds of saliency maps)"
_SCORES = (
    Score(
        "pointing",
        pointing_game,
        pointing_chance,
        True,
        "Zhang et al., Top-down neural attention by excitation backprop, IJCV 126, 2018",
        settings=("tolerance",),
    ),
    Score("energy", energy_inside, area_chance, True, "Wang et al., Score-CAM, CVPR workshops 2020"),
    Score("iou_otsu", iou_otsu, iou_chance, True, _SALIENCY_SEGMENTATION),
    Score("dice_otsu", dice_otsu, dice_chance, True, _SALIENCY_SEGMENTATION),
    Score("iou_top", iou_top, iou_chance, True, "Jaccard, New Phytologist 11, 1912", settings=("area_share",)),
    Score("dice_top", dice_top, dice_chance, True, "Dice, Ecology 26, 1945", settings=("area_share",)),
    Score(
        "average_precision",
        average_precision,
        average_precision_chance,
        True,
        "Arun et al., Assessing the trustworthiness of saliency maps, Radiology: AI 3, 2021",
    ),
    Score("roc_auc", roc_auc, roc_auc_chance, True, "Bylinskii et al., IEEE TPAMI 41, 2019 (AUC of saliency models)"),
    Score("peak_distance", peak_distance, peak_distance_chance, False, "distance transform of the mask"),
)
SCORES: dict[str, Score] = {score.name: score for score in _SCORES}
"""Every score by name, in the order of the tables."""


def score_maps(
    maps: np.ndarray, masks: np.ndarray, *, area_share: float, tolerance: float = TOLERANCE
) -> dict[str, np.ndarray]:
    """Every score of `SCORES`.

    Args:
      maps: float [N, S, S], signed, as the method returned them.
      masks: bool [N, S, S].
      area_share: of `iou_top` and `dice_top`, fixed without the scored masks.
      tolerance: of `pointing_game`.

    Returns:
      Name -> float64 [N].

    Raises:
      ValueError: as in `iou_top`.
    """
    settings = {"area_share": area_share, "tolerance": tolerance}
    return {
        name: score.function(maps, masks, **{key: settings[key] for key in score.settings})
        for name, score in SCORES.items()
    }


def chance_levels(masks: np.ndarray, *, area_share: float, tolerance: float = TOLERANCE) -> dict[str, np.ndarray]:
    """The mean score of uniform noise, by the name of the score: float64 [N] each; arguments as in `score_maps`."""
    settings = {"area_share": area_share, "tolerance": tolerance}
    return {
        name: score.chance(masks, **{key: settings[key] for key in score.settings}) for name, score in SCORES.items()
    }


def _by_row(function: Callable, maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """float64 [N]: `function` of each (map, mask), after checking them all."""
    maps, masks = np.asarray(maps), np.asarray(masks)
    if maps.ndim != 3 or maps.shape != masks.shape or maps.shape[1] != maps.shape[2]:
        raise ValueError(f"maps and masks must both be [N, S, S], found {maps.shape} and {masks.shape}")
    if not np.issubdtype(maps.dtype, np.floating) or masks.dtype != np.bool_:
        raise ValueError(f"maps must be floating and masks bool, found {maps.dtype} and {masks.dtype}")
    bad = np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2)))
    if len(bad):
        raise ValueError(
            f"maps must be finite, found {len(bad)} of {len(maps)} that are not, the first in row {bad[0]}"
        )
    bad = np.flatnonzero(masks.all(axis=(1, 2)) | ~masks.any(axis=(1, 2)))
    if len(bad):
        raise ValueError(f"masks must have tumour and background, found {len(bad)} that lack one, first row {bad[0]}")
    return np.array([function(*row) for row in zip(maps, masks, strict=True)], dtype=np.float64)


def _distances(mask: np.ndarray) -> np.ndarray:
    """The distance from each pixel to the nearest tumour pixel, between centres: float64 [S, S] in image sides."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(~mask)) / len(mask)


def _positive_part(values: np.ndarray) -> np.ndarray:
    """float64 [S, S], at least 0 and not all 0: ones where the map has no positive part."""
    positive = np.maximum(values, 0, dtype=np.float64)
    return positive if positive.any() else np.ones_like(positive)


def _check_share(area_share: float) -> None:
    if not 0 < area_share <= 1:
        raise ValueError(f"area_share must lie in (0, 1], found {area_share}")


def _pixel_count(area_share: float, pixels: int) -> int:
    return max(1, round(area_share * pixels))


def _top_counts(values: np.ndarray, mask: np.ndarray, area_share: float) -> tuple[int, int, int, int, int]:
    """Counts of the k highest pixels.

    How many lie above the k-th value, and how many of these in the tumour; how many equal it, and how many of these in
    the tumour; and how many of the equal ones complete the k.
    """
    selected = _pixel_count(area_share, values.size)
    value = np.partition(values, values.size - selected, axis=None)[values.size - selected]
    above, tied = values > value, values == value
    return above.sum(), (above & mask).sum(), tied.sum(), (tied & mask).sum(), selected - above.sum()


def _expected_iou(tied: int, inside_tied: int, drawn: int, inside: int, total: int) -> float:
    """The mean IoU when `drawn` of `tied` pixels, `inside_tied` of them tumour, join `inside` tumour pixels.

    `total` is the size of the selection plus that of the tumour: the union is `total` less the intersection.
    """
    mean = drawn * inside_tied / tied
    # Beyond 12 standard deviations (and 12 pixels, where the deviation is small) the probabilities are below 1e-20.
    reach = 12 * (1 + np.sqrt(mean * (1 - inside_tied / tied)))
    low = max(0, drawn + inside_tied - tied, int(mean - reach))
    high = min(drawn, inside_tied, int(mean + reach) + 1)
    if low == high:
        return (inside + low) / (total - inside - low)
    from scipy.stats import hypergeom

    counts = np.arange(low, high + 1)
    return np.sum(hypergeom.pmf(counts, tied, inside_tied, drawn) * (inside + counts) / (total - inside - counts))
