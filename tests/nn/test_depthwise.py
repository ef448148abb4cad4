"""Depthwise convolution against XLA's own, with both gradients and theirs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from btjax.nn import depthwise
from btjax.nn.convolution import conv_general_dilated
from btjax.nn.depthwise import native, native_kernel_gradient, shifted, shifted_kernel_gradient
from btjax.nn.window import NHWC, Window

CASES = [(9, 3, 1, "SAME"), (10, 3, 2, "SAME"), (9, 5, 2, "SAME"), (8, 5, 1, ((2, 2), (2, 2))), (7, 3, 2, "VALID")]


def arrays(size, side, dtype=np.float32):
    random = np.random.default_rng(0)
    return (
        jnp.asarray(random.standard_normal((2, size, size + 1, 6)), dtype),
        jnp.asarray(random.standard_normal((side, side, 1, 6)), dtype),
    )


def ours(image, kernel, stride, padding):
    return conv_general_dilated(
        image, kernel, (stride, stride), padding, dimension_numbers=NHWC, feature_group_count=image.shape[-1]
    )


def theirs(image, kernel, stride, padding):
    return lax.conv_general_dilated(
        image, kernel, (stride, stride), padding, dimension_numbers=NHWC, feature_group_count=image.shape[-1]
    )


@pytest.mark.parametrize(("size", "side", "stride", "padding"), CASES)
def test_it_and_its_gradients_are_those_of_xla(size, side, stride, padding):
    image, kernel = arrays(size, side)
    results = []
    for convolve in (ours, theirs):
        outputs, pull = jax.vjp(lambda image, kernel, f=convolve: f(image, kernel, stride, padding), image, kernel)
        results.append((outputs, *pull(jnp.sin(jnp.arange(outputs.size, dtype=jnp.float32)).reshape(outputs.shape))))
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_gradients_of_gradients_are_those_of_xla():
    image, kernel = arrays(8, 3)

    def penalty(image, kernel, convolve):
        gradients = jax.grad(lambda *both: jnp.sum(convolve(*both, 2, "SAME") ** 3), (0, 1))(image, kernel)
        return sum(jnp.sum(leaf**2) for leaf in gradients)

    found, expected = (jax.grad(penalty, (0, 1))(image, kernel, convolve) for convolve in (ours, theirs))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * float(jnp.abs(other).max()))


def test_the_two_lowerings_agree_for_dilated_images_and_cropped_ones():
    image, kernel = arrays(7, 3)
    window = Window(padding=((2, 1), (-1, 3)), dilation=(2, 2))
    outputs = native(image, kernel, window)
    np.testing.assert_allclose(shifted(image, kernel, window), outputs, rtol=1e-4, atol=1e-4)
    gradients = [f(image, outputs, (3, 3), window) for f in (shifted_kernel_gradient, native_kernel_gradient)]
    np.testing.assert_allclose(*gradients, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    "window",
    [
        Window(padding=((1, 1), (1, 1))),
        Window(strides=(2, 2), padding=((0, 1), (1, 1))),
        Window(padding=((2, 1), (-1, 3)), dilation=(2, 2)),
    ],
)
def test_the_kernels_gradient_is_the_same_in_many_bands(window, dtype, monkeypatch):
    image, _ = arrays(12, 3, dtype)
    cotangent = jnp.sin(native(image, jnp.ones((3, 3, 1, 6), dtype), window))
    expected = native_kernel_gradient(image.astype(jnp.float32), cotangent.astype(jnp.float32), (3, 3), window)
    monkeypatch.setattr(depthwise, "_BAND_BYTES", 6 * 4 * 14)  # 14 positions
    found = shifted_kernel_gradient(image, cotangent, (3, 3), window)
    assert found.dtype == dtype
    tolerance = 1e-4 if dtype == np.float32 else 1e-2
    np.testing.assert_allclose(found.astype(jnp.float32), expected, rtol=tolerance, atol=tolerance * 10)


def test_bfloat16_is_added_up_in_float32():
    image, kernel = arrays(9, 5, jnp.bfloat16)
    found = ours(image, kernel, 1, "SAME")
    assert found.dtype == jnp.bfloat16
    expected = theirs(image.astype(jnp.float32), kernel.astype(jnp.float32), 1, "SAME")
    np.testing.assert_allclose(found.astype(jnp.float32), expected, rtol=1e-2, atol=1e-2)


def test_kernels_side_by_side_are_each_its_own():
    image, kernel = arrays(8, 3)
    kernels = jnp.stack([kernel, 2 * kernel])
    found = jax.vmap(lambda kernel: ours(image, kernel, 1, "SAME"))(kernels)
    np.testing.assert_allclose(found[1], 2 * found[0], rtol=1e-5)


def test_other_groups_are_left_to_xla():
    image = arrays(8, 3)[0]
    kernel = jnp.ones((3, 3, 2, 6))
    found = conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=3)
    expected = lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=3)
    np.testing.assert_array_equal(found, expected)
