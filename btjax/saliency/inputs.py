"""What the methods and measures take: checked images and targets, and the baselines of the images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

BASELINES = ("black", "mean")
"""The names of the baselines: the network's input of a black slice, or the mean of each image (`mean_baseline`).

Black is a property of the preprocessing, not of this package: where slices are standardised one by one, black is
another value in each of them, and 0 is the mean of the slice.
"""


def as_baseline(baseline: jax.Array | np.ndarray | float, images: jax.Array) -> jax.Array:
    """The inputs that stand for "nothing there", in the images' shape and dtype.

    Args:
      baseline: a number, or an array that broadcasts to the images: [C], [S, S, C], or, with a baseline of its own for
        each image, [B, 1, 1, C] or [B, S, S, C].
      images: float [B, S, S, C].
    """
    return jnp.broadcast_to(jnp.asarray(baseline, images.dtype), images.shape)


def mean_baseline(inputs: np.ndarray) -> np.ndarray:
    """The mean over the pixels of each image and channel: float32 [N, S, S, C] -> float32 [N, 1, 1, C].

    Example:
      >>> mean_baseline(np.array([[[[0.0, 1.0], [4.0, 1.0]]]], np.float32)).tolist()
      [[[[2.0, 1.0]]]]
    """
    return np.asarray(inputs).mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)


def checked_inputs(images: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images and targets as arrays that fit together.

    Args:
      images: float [N, S, S, C], N at least 1.
      targets: int [N].

    Returns:
      The images as they are, and the targets as int32.

    Raises:
      ValueError: other shapes or types, or an image with a value that is not finite.
    """
    images, targets = np.asarray(images), np.asarray(targets)
    square = images.ndim == 4 and images.shape[1] == images.shape[2]
    if not square or not images.size or targets.shape != images.shape[:1]:
        raise ValueError(f"expected images [N, S, S, C] and targets [N], found {images.shape} and {targets.shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images are {images.dtype}, expected floating point: the network's inputs")
    if not np.issubdtype(targets.dtype, np.integer):
        raise ValueError(f"targets are {targets.dtype}, expected integers: the classes to explain")
    limit = np.iinfo(np.int32).max
    if targets.min() < 0 or targets.max() > limit:
        raise ValueError(f"targets from {targets.min()} to {targets.max()}, expected 0 to {limit} at most")
    _check_finite(images, "images")
    return images, targets.astype(np.int32)


def checked_baselines(baselines: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Baselines with a row for each image.

    Args:
      baselines: float [N or 1, S or 1, S or 1, C or 1].
      images: float [N, S, S, C].

    Returns:
      The baselines with N rows, their other sides as they are, in the images' dtype.

    Raises:
      ValueError: a shape that does not broadcast to the images', or a value that is not finite.
    """
    baselines = np.asarray(baselines).astype(images.dtype)
    fits = baselines.ndim == 4 and all(
        side in (1, whole) for side, whole in zip(baselines.shape, images.shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"baselines are {baselines.shape}, expected [N or 1, S or 1, S or 1, C] for images {images.shape}"
        )
    _check_finite(baselines, "baselines")
    return np.broadcast_to(baselines, (len(images), *baselines.shape[1:]))


def _check_finite(values: np.ndarray, what: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2, 3)))
    if len(bad):
        raise ValueError(f"{what} must be finite, found {len(bad)} of {len(values)} that are not, first row {bad[0]}")
