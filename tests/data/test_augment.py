"""Slices are changed at random, and their masks by the same maps."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import ndimage

from btjax.data.augment import Augmentation, sample_affine


def random_slices(count=4, size=24, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size), np.uint8)


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
        {"elastic": 0.05},
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


@pytest.mark.parametrize("options", [{}, {"intensity": 0.3}, {"gamma": 0.5}])
def test_masks_stay_where_only_grey_levels_change(options):
    masks, key = ellipses(), jax.random.key(0)
    images = jnp.asarray(np.where(masks, 200, 20).astype(np.uint8))
    moved, kept = Augmentation(**options).with_masks(images, jnp.asarray(masks), key)
    np.testing.assert_array_equal(kept, masks)
    np.testing.assert_array_equal(moved, Augmentation(**options)(images, key))


def test_no_augmentation_is_the_identity():
    images = random_slices()
    np.testing.assert_array_equal(Augmentation()(images, jax.random.key(0)), images)


def test_flip_gives_the_slice_or_its_mirror_and_both_occur():
    images = random_slices(64)
    flipped = np.asarray(Augmentation(flip=True)(jnp.asarray(images), jax.random.key(1)))
    same = (np.abs(flipped - images) < 1e-2).all((1, 2))
    mirrored = (np.abs(flipped - images[:, :, ::-1]) < 1e-2).all((1, 2))
    assert (same ^ mirrored).all()
    assert 10 < mirrored.sum() < 54


@hypothesis.given(st.floats(-40, 40), st.floats(0.7, 1.4), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2))
@hypothesis.settings(deadline=None, max_examples=15)
def test_affine_sampling_equals_scipys(angle, scale, down, right):
    image = ndimage.gaussian_filter(random_slices(1, 20)[0].astype(np.float32), 1)
    turn = np.deg2rad(angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * scale
    shift = np.array([down, right])
    centre = np.full(2, 9.5)
    offset = centre + shift * 20 - matrix @ centre
    expected = ndimage.affine_transform(image, matrix, offset, order=1, mode="constant")
    arrays = [jnp.asarray(value[None], jnp.float32) for value in (image, matrix, shift)]
    found = np.asarray(sample_affine(*arrays)[0])
    # On the outermost ring SciPy cuts off where JAX still blends with the zeros outside.
    inside = ndimage.affine_transform(np.ones_like(image), matrix, offset, order=1, mode="constant") > 0.999
    inside = ndimage.binary_erosion(inside)
    np.testing.assert_allclose(found[inside], expected[inside], atol=0.05)


def test_augmented_slices_stay_in_range_and_differ_from_slice_to_slice():
    images = np.repeat(random_slices(1), 8, axis=0)
    augmentation = Augmentation(flip=True, rotation=15, shift=0.1, zoom=0.1, intensity=0.2)
    augmented = np.asarray(jax.jit(augmentation)(images, jax.random.key(0)))
    assert augmented.min() >= 0 and augmented.max() <= 255
    assert len({row.tobytes() for row in augmented}) == 8


def test_the_same_key_augments_alike():
    images, augmentation = random_slices(), Augmentation(rotation=10, intensity=0.1)
    first, again = (augmentation(images, jax.random.key(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_elastic_shifts_have_the_deviation_that_was_asked_for_and_are_smooth():
    augmentation, size = Augmentation(elastic=0.03), 64
    bends = np.asarray(augmentation._draw_bends(200, size, jax.random.key(0)))
    nodes = bends[:, :, size // 16 :: size // 8, size // 16 :: size // 8]  # beside the points of the coarse grid
    assert bends.shape == (200, 2, size, size) and abs(nodes.std() / 0.03 - 1) < 0.1
    assert np.diff(bends, axis=3).std() < 0.03 / 4 and abs(bends.mean()) < 0.002


def test_gamma_raises_shares_of_white_to_a_power_between_its_bounds():
    images = jnp.full((500, 2, 2), 100, jnp.uint8)
    powers = np.log(np.asarray(Augmentation(gamma=0.5)(images, jax.random.key(0)))[:, 0, 0] / 255) / np.log(100 / 255)
    assert 1 / 1.5 - 1e-5 <= powers.min() < 0.7 and 1.45 < powers.max() <= 1.5 + 1e-5
    ends = jnp.asarray([[[0, 255]]], jnp.uint8)
    np.testing.assert_allclose(Augmentation(gamma=0.5)(ends, jax.random.key(1)), ends, atol=1e-4)


def test_cutout_blacks_out_one_square_somewhere_and_spares_the_tumour():
    masks, key = ellipses(64), jax.random.key(0)
    white, augmentation = jnp.full(masks.shape, 255, jnp.uint8), Augmentation(cutout=0.25)
    black = np.asarray(augmentation(white, key)) == 0
    assert (black.sum((1, 2)) == 12 * 12).all() and len({row.tobytes() for row in black}) > 60
    assert all(ndimage.find_objects(one)[0] for one in black.astype(int))
    height, width = (np.ptp(np.nonzero(black[0])[axis]) + 1 for axis in (0, 1))
    assert (height, width) == (12, 12)
    spared, kept = augmentation.with_masks(white, jnp.asarray(masks), key)
    np.testing.assert_array_equal(kept, masks)
    np.testing.assert_array_equal(np.asarray(spared) == 0, black & ~masks)
