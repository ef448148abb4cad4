import chex
import hypothesis
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import strategies as st

from btjax.data.preprocess import Augmentation, Preprocessing, sample_affine, viridis


def random_slices(count=4, size=24, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size), np.uint8)


def test_viridis_is_matplotlibs():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = matplotlib.colormaps["viridis"](levels, bytes=True)[..., :3] / np.float32(255)
    np.testing.assert_allclose(viridis(jnp.asarray(levels)), expected, rtol=1e-6)


@pytest.mark.parametrize(("colour", "channels"), [("grey", 1), ("grey3", 3), ("viridis", 3)])
@pytest.mark.parametrize(("scale", "low", "high"), [("unit", 0, 1), ("signed", -1, 1)])
def test_inputs_have_their_channels_and_range(colour, channels, scale, low, high):
    preprocessing = Preprocessing(colour, scale)
    inputs = jax.jit(preprocessing)(random_slices())
    chex.assert_shape(inputs, (4, 24, 24, channels))
    chex.assert_type(inputs, jnp.float32)
    assert preprocessing.channels == channels
    assert low - 1e-6 <= inputs.min() < inputs.max() <= high + 1e-6


def test_standard_scale_gives_each_slice_mean_zero_and_deviation_one():
    inputs = Preprocessing("grey", "standard")(jnp.asarray(random_slices()))
    np.testing.assert_allclose(inputs.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.std((1, 2, 3)), 1, atol=1e-4)


def test_a_black_slice_stays_finite_under_standard_scale():
    assert jnp.isfinite(Preprocessing("grey", "standard")(jnp.zeros((1, 8, 8), jnp.uint8))).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    ("colour", "scale"),
    [(colour, scale) for colour in ("grey", "grey3", "viridis") for scale in ("unit", "signed", "standard")]
    + [(colour, scale) for colour in ("grey3", "viridis") for scale in ("caffe", "torch")],
)
def test_black_is_the_input_of_a_pixel_that_is_zero(colour, scale, dtype):
    images = random_slices().astype(dtype)
    images[0] //= 3
    images[1] = 255
    images[:, 2, 3] = 0
    preprocessing = Preprocessing(colour, scale)
    black = preprocessing.black(jnp.asarray(images))
    chex.assert_shape(black, (4, 1, 1, preprocessing.channels))
    chex.assert_type(black, jnp.float32)
    np.testing.assert_allclose(black[:, 0, 0], preprocessing(jnp.asarray(images))[:, 2, 3], rtol=3e-7)
    assert (len(np.unique(np.asarray(black), axis=0)) == 4) == (scale == "standard")


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
    image = scipy.ndimage.gaussian_filter(random_slices(1, 20)[0].astype(np.float32), 1)
    turn = np.deg2rad(angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * scale
    shift = np.array([down, right])
    centre = np.full(2, 9.5)
    offset = centre + shift * 20 - matrix @ centre
    expected = scipy.ndimage.affine_transform(image, matrix, offset, order=1, mode="constant")
    arrays = [jnp.asarray(value[None], jnp.float32) for value in (image, matrix, shift)]
    found = np.asarray(sample_affine(*arrays)[0])
    # On the outermost ring SciPy cuts off where JAX still blends with the zeros outside.
    inside = scipy.ndimage.affine_transform(np.ones_like(image), matrix, offset, order=1, mode="constant") > 0.999
    inside = scipy.ndimage.binary_erosion(inside)
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
