import jax.numpy as jnp
import numpy as np

from btjax.data.preprocess import Preprocessing
from btjax.saliency.inputs import BASELINES, as_baseline, mean_baseline


def test_a_baseline_of_any_shape_fills_the_images(small_images):
    images = jnp.asarray(small_images)
    np.testing.assert_array_equal(as_baseline(0.5, images), np.full_like(small_images, 0.5))
    np.testing.assert_array_equal(as_baseline(np.array([1.0, 2.0]), images)[3, 5, 7], [1, 2])
    np.testing.assert_array_equal(as_baseline(np.arange(8.0).reshape(4, 1, 1, 2), images)[3, 5, 7], [6, 7])


def test_the_mean_baseline_is_the_mean_of_each_image_and_channel(small_images):
    found = mean_baseline(small_images)
    assert found.dtype == np.float32 and found.shape == (4, 1, 1, 2)
    for image, baseline in zip(small_images, found, strict=True):
        for channel in (0, 1):
            np.testing.assert_allclose(baseline[0, 0, channel], image[..., channel].mean(), rtol=1e-5)


def test_in_standardised_slices_zero_is_the_mean_baseline_and_black_is_not():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8), np.uint8)
    images[:, :2] = 0
    inputs = np.asarray(Preprocessing("grey", "standard")(jnp.asarray(images)))
    np.testing.assert_allclose(mean_baseline(inputs), 0, atol=1e-5)
    assert (inputs[:, 0, 0] < -0.5).all()
    assert BASELINES == ("black", "mean")
