"""Maps that know nothing of the classifier: what a saliency map has to beat.

A tumour is bright, near the middle and has edges, and each class has its usual place: a map can find it without any
network. Each control returns float32 [N, S, S], at least 0, higher where it "looks", made for the same scores as the
saliency maps (`btjax.saliency.scores`). No control sees the masks of the slices that it is scored on.

References: Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018 (edge detectors resemble saliency); Judd et
al., Learning to predict where humans look, ICCV 2009 (the centre); Arun et al., Assessing the trustworthiness of
saliency maps for localizing abnormalities, Radiology: AI 3, 2021 (the mean mask as a baseline).
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_fill_holes, binary_opening, label
from skimage.filters import sobel, threshold_otsu

CENTRE_SIGMA = 0.25
"""Standard deviation of the Gaussian at the centre, in image sides."""


def uniform_noise(rows: int, size: int, *, seed: int) -> np.ndarray:
    """Independent uniform noise in [0, 1): float32 [rows, size, size]; the map of `Score.chance`."""
    return np.random.default_rng(seed).random((rows, size, size), dtype=np.float32)


def centre_gaussian(rows: int, size: int, *, sigma: float = CENTRE_SIGMA) -> np.ndarray:
    """A Gaussian at the image's centre: float32 [rows, size, size] in (0, 1].

    Args:
      rows: N.
      size: S, pixels.
      sigma: standard deviation in image sides.
    """
    offsets = (np.arange(size) + 0.5) / size - 0.5
    profile = np.exp(-0.5 * (offsets / sigma) ** 2)
    return np.tile(np.outer(profile, profile).astype(np.float32), (rows, 1, 1))


def intensity(images: np.ndarray) -> np.ndarray:
    """The image itself: uint8 [N, S, S] -> float32 [N, S, S] in [0, 1]."""
    return images.astype(np.float32) / np.float32(255)


def edges(images: np.ndarray) -> np.ndarray:
    """The gradient magnitude by Sobel's filter: uint8 [N, S, S] -> float32 [N, S, S], intensity in [0, 1] per pixel."""
    return np.array([sobel(image) for image in intensity(images)], dtype=np.float32)


def head(images: np.ndarray) -> np.ndarray:
    """The head: what is not background, without holes.

    Pixels above half of Otsu's threshold, counted from the minimum (Otsu's own parts bright tissue from dark tissue in
    many slices), opened by one pixel, the largest component, its holes filled; everything, where nothing stands out.

    Args:
      images: uint8 [N, S, S].

    Returns:
      float32 [N, S, S], 1 in the head and 0 outside.
    """
    return np.array([_head(image) for image in images], dtype=np.float32)


def class_mean_mask(classes: np.ndarray, train_masks: np.ndarray, train_labels: np.ndarray) -> np.ndarray:
    """Where the training tumours of a class lie: the mean mask of the class that each slice's map explains.

    Args:
      classes: int [N], the class of each scored slice; the predicted one, for maps that explain the prediction.
      train_masks: bool [M, S, S], masks of the training rows only.
      train_labels: int [M], their true classes.

    Returns:
      float32 [N, S, S] in [0, 1].

    Raises:
      ValueError: a class without training rows.
    """
    classes, train_labels = np.asarray(classes), np.asarray(train_labels)
    means = np.empty((len(classes), *train_masks.shape[1:]), np.float32)
    for index in np.unique(classes):
        rows = train_labels == index
        if not rows.any():
            raise ValueError(f"class {index} has no training rows, so no mean mask")
        means[classes == index] = train_masks[rows].mean(axis=0)
    return means


def control_maps(
    images: np.ndarray, classes: np.ndarray, train_masks: np.ndarray, train_labels: np.ndarray, *, seed: int
) -> dict[str, np.ndarray]:
    """Every control by name, for the slices `images` (uint8 [N, S, S]) and the arguments of `class_mean_mask`.

    Returns:
      Name -> float32 [N, S, S].
    """
    rows, size = images.shape[:2]
    return {
        "noise": uniform_noise(rows, size, seed=seed),
        "centre": centre_gaussian(rows, size),
        "intensity": intensity(images),
        "edges": edges(images),
        "head": head(images),
        "class_mean_mask": class_mean_mask(classes, train_masks, train_labels),
    }


def _head(image: np.ndarray) -> np.ndarray:
    if image.min() == image.max():
        return np.ones(image.shape, bool)
    background = image.min()
    components, found = label(binary_opening(image > background + (threshold_otsu(image) - background) / 2))
    if not found:
        return np.ones(image.shape, bool)
    largest = np.bincount(components.ravel())[1:].argmax() + 1
    return binary_fill_holes(components == largest)
