"""Maps that do not depend on the classifier: what a saliency map has to beat.

A tumour is bright, near the centre and has edges, and each class has its usual place, so a map can find it without any
network. Each control returns float32 [N, S, S], at least 0, higher where it points, to be scored as the saliency maps
are (`btjax.saliency.scores`). No control sees the masks of the slices that it is scored on.

References: Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018 (edge detectors resemble saliency); Judd et
al., Learning to predict where humans look, ICCV 2009 (the centre); Arun et al., Assessing the trustworthiness of
saliency maps for localizing abnormalities, Radiology: AI 3, 2021 (the mean mask as a baseline).
"""

from __future__ import annotations

import numpy as np

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
    from skimage.filters import sobel

    return np.array([sobel(image) for image in intensity(images)], dtype=np.float32)


def head(images: np.ndarray) -> np.ndarray:
    """The head: all that is not background, with its holes filled.

    The pixels above half of Otsu's threshold, counted from the minimum (in many slices Otsu's threshold itself
    separates bright tissue from dark tissue), opened by one pixel; the largest component, with its holes filled. The
    whole image where no pixel remains.

    Args:
      images: uint8 [N, S, S].

    Returns:
      float32 [N, S, S], 1 in the head and 0 outside.
    """
    return np.array([_head(image) for image in images], dtype=np.float32)


def class_mean_mask(classes: np.ndarray, train_masks: np.ndarray, train_labels: np.ndarray) -> np.ndarray:
    """Where the training tumours of a class lie: the mean mask of the class that each slice's map explains.

    Args:
      classes: int [N], the class of each scored slice: the predicted one for maps that explain the prediction.
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
    from scipy.ndimage import binary_fill_holes, binary_opening
    from skimage.filters import threshold_otsu
    from skimage.measure import label

    if image.min() == image.max():
        return np.ones(image.shape, bool)
    background = image.min()
    bright = binary_opening(image > background + (threshold_otsu(image) - background) / 2)
    components = np.asarray(label(bright, connectivity=1))
    if not components.any():
        return np.ones(image.shape, bool)
    numbers, sizes = np.unique(components[components > 0], return_counts=True)
    return np.asarray(binary_fill_holes(components == numbers[sizes.argmax()]))
