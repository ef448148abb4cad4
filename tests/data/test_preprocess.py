import chex
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from btjax.data.preprocess import Preprocessing, viridis


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
