import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.saliency.perturbations import occlusion, rise, rise_mask

KEY = jax.random.key(4)
IMAGES = np.random.default_rng(3).random((2, 10, 10, 2), np.float32)
TARGETS = np.array([1, 0], np.int32)
WEIGHTS = np.random.default_rng(4).standard_normal((10, 10, 2, 2)).astype(np.float32)


def linear(inputs):
    return jnp.einsum("bhwc,hwck->bk", inputs, WEIGHTS)


@pytest.mark.parametrize(("window", "stride"), [(4, 4), (4, 3), (5, 2)])
def test_occlusion_of_a_linear_function_is_the_mean_of_the_hidden_squares(window, stride):
    contributions = np.sum((IMAGES - 0.5) * np.moveaxis(WEIGHTS[..., TARGETS], -1, 0), axis=-1)
    falls, cover = np.zeros((2, 10, 10)), np.zeros((10, 10))
    starts = range(0, 10 - window + stride, stride)
    for row in starts:
        for column in starts:
            square = (slice(row, row + window), slice(column, column + window))
            falls[:, *square] += contributions[:, *square].sum((1, 2), keepdims=True)
            cover[square] += 1
    assert cover.min() >= 1
    for chunk in (1, 20):
        maps = occlusion(linear, IMAGES, TARGETS, KEY, window=window, stride=stride, baseline=0.5, chunk=chunk)
        np.testing.assert_allclose(maps, falls / cover, atol=1e-5)


def test_occlusions_square_is_an_eighth_of_the_image_and_moves_by_half():
    images = np.ones((1, 32, 32, 1), np.float32)
    maps = occlusion(lambda inputs: inputs[:, 9, 9], images, TARGETS[1:], KEY)
    # The squares of 4 that start at 6 and 8 cover pixel 9; pixel 8 lies in the same two, pixel 6 in one of them.
    np.testing.assert_allclose(maps[0, [5, 6, 8, 11, 12], 9], [0, 0.5, 1, 0.5, 0])


@pytest.mark.parametrize("sizes", [(4, 5), (11, 2), (4, 0)])
def test_occlusion_refuses_gaps_and_squares_larger_than_the_image(sizes):
    with pytest.raises(InputError, match=f"window {sizes[0]}, stride {sizes[1]}, expected 1 <= stride"):
        occlusion(linear, IMAGES, TARGETS, KEY, window=sizes[0], stride=sizes[1])


def shown_pixel(inputs):
    """Logits whose softmax is (the value of pixel (7, 2), the rest of 1)."""
    value = jnp.clip(inputs[:, 7, 2, 0], 1e-6, 1 - 1e-6)
    return jnp.log(jnp.stack([value, 1 - value], axis=1))


def test_rise_averages_its_masks_by_the_probability_under_each():
    images = np.ones((2, 10, 10, 1), np.float32)
    maps = rise(shown_pixel, images, np.array([0, 1]), KEY, samples=12, grid=3, kept=0.4, chunk=6)
    keys = jax.random.split(KEY, 2)
    for image in (0, 1):
        masks = [rise_mask(jax.random.fold_in(keys[image], index), 10, 3, 0.4) for index in range(12)]
        shown = np.clip(np.array([mask[7, 2] for mask in masks]), 1e-6, 1 - 1e-6)
        weights = shown if image == 0 else 1 - shown
        expected = np.mean(weights[:, None, None] * np.array(masks), axis=0) / 0.4
        np.testing.assert_allclose(maps[image], expected, atol=1e-5)


def test_rise_finds_the_pixel_that_decides():
    """Far from it a pixel's value is the mean probability, `kept`; at it, more; for the other class, less."""
    images = np.ones((2, 10, 10, 1), np.float32)
    maps = rise(shown_pixel, images, np.array([0, 1]), KEY, samples=2000, grid=5, kept=0.5, chunk=500)
    np.testing.assert_allclose(maps[:, :3, 6:], 0.5, atol=0.05)
    assert np.argmax(maps[0]) == np.argmin(maps[1]) == 72
    assert maps[0, 7, 2] > 0.6 and maps[1, 7, 2] < 0.4


def test_masks_show_each_pixel_as_often():
    masks = jax.vmap(lambda key: rise_mask(key, 12, 4, 0.3))(jax.random.split(KEY, 4000))
    assert masks.min() >= 0 and masks.max() <= 1
    np.testing.assert_allclose(masks.mean(0), 0.3, atol=0.03)
    assert masks.std(0).min() > 0.1
