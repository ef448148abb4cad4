"""Masks are augmented by the same affine maps as their slices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from btjax.data.preprocess import Augmentation


def ellipses(count: int = 6, size: int = 48) -> np.ndarray:
    """Masks of one ellipse each, somewhere off the middle."""
    random, grid = np.random.default_rng(0), np.indices((size, size))
    middles, radii = random.uniform(16, 32, (count, 2)), random.uniform(4, 10, (count, 2))
    parts = (grid - middles[:, :, None, None]) / radii[:, :, None, None]
    return (parts**2).sum(axis=1) < 1


@pytest.mark.parametrize(
    "options",
    [
        {"flip": True},
        {"rotation": 40.0},
        {"shift": 0.2},
        {"zoom": 0.3},
        {"flip": True, "rotation": 20.0, "shift": 0.1, "zoom": 0.2},
    ],
    ids=lambda options: "+".join(options),
)
def test_masks_and_slices_move_together(options):
    masks, key = ellipses(), jax.random.key(3)
    images = jnp.asarray(np.where(masks, 200, 20).astype(np.uint8))
    augmentation = Augmentation(**options)
    moved, moved_masks = jax.jit(augmentation.with_masks)(images, jnp.asarray(masks), key)
    np.testing.assert_array_equal(moved, jax.jit(augmentation)(images, key))
    assert moved_masks.dtype == bool and not np.array_equal(moved_masks, masks)
    bright = np.asarray(moved) > 110
    for mask, expected in zip(np.asarray(moved_masks), bright, strict=True):
        inner, outer = ndimage.binary_erosion(expected), ndimage.binary_dilation(expected)
        assert (mask >= inner).all() and (mask <= outer).all(), "they differ by more than a pixel at the edge"


@pytest.mark.parametrize("options", [{}, {"intensity": 0.3}])
def test_masks_stay_where_only_grey_levels_change(options):
    masks, key = ellipses(), jax.random.key(0)
    images = jnp.asarray(np.where(masks, 200, 20).astype(np.uint8))
    moved, kept = Augmentation(**options).with_masks(images, jnp.asarray(masks), key)
    np.testing.assert_array_equal(kept, masks)
    np.testing.assert_array_equal(moved, Augmentation(**options)(images, key))
