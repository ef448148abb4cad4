"""Winograd's convolution equals `jax.lax`'s, and is taken where it is exact enough and fast."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from btjax.nn import winograd
from btjax.nn.convolution import conv_general_dilated
from btjax.nn.window import NHWC
from tests.nn.convolutions import assert_same, draw, plain, values_and_gradients, winograd_everywhere


@settings(max_examples=10, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(
    batch=st.sampled_from([1, 3, 4]),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    padding=st.sampled_from(["SAME", ((2, 1), (0, 3)), ((1, 2), (4, 1)), ((3, -1), (-1, 3)), ((0, 0), (-13, 30))]),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    positions=st.sampled_from([1, 20, 2048]),
)
def test_winograds_convolution_of_any_size_and_padding_equals_lax(batch, height, width, padding, channels, positions):
    with pytest.MonkeyPatch.context() as patch:
        winograd_everywhere(patch, positions)
        image, kernel = draw(0, (batch, height, width, channels[0]), (3, 3, *channels))
        assert_same(
            functools.partial(conv_general_dilated, window_strides=(1, 1), padding=padding, dimension_numbers=NHWC),
            functools.partial(plain, padding=padding),
            image,
            kernel,
        )


@pytest.mark.parametrize(("channels", "features"), [(64, 256), (512, 64)])
def test_winograds_convolution_loses_less_than_three_times_what_a_sum_of_products_loses(channels, features):
    image, kernel = draw(4, (2, 12, 12, channels), (3, 3, channels, features))
    image = nn.relu(image)  # as in a network: sums that do not cancel
    convolve = functools.partial(conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC)
    assert "convolution" not in jax.jit(convolve).lower(image, kernel).as_text()
    found = values_and_gradients(convolve, image, kernel)
    plainly = values_and_gradients(functools.partial(plain, padding="SAME"), image, kernel)
    with jax.enable_x64(True):
        exact = values_and_gradients(
            functools.partial(plain, padding="SAME"), jnp.asarray(image, jnp.float64), jnp.asarray(kernel, jnp.float64)
        )
        double = values_and_gradients(convolve, jnp.asarray(image, jnp.float64), jnp.asarray(kernel, jnp.float64))
    for ours, theirs, right, same in zip(found, plainly, exact, double, strict=True):
        right = np.asarray(right)
        assert right.dtype == np.float64
        assert np.std(np.asarray(same) - right) < 1e-14 * np.std(right)
        errors = [np.std(np.asarray(values) - right) for values in (ours, theirs)]
        assert errors[0] < 3 * errors[1] and errors[0] < 3e-6 * np.std(right), errors


@pytest.mark.parametrize(
    ("image", "kernel", "options", "calls"),
    [
        pytest.param((2, 12, 12, 64), (3, 3, 64, 256), {}, ["", "mirrored", "gradient"], id="many_channels"),
        pytest.param((1, 6, 6, 128), (3, 3, 128, 128), {}, ["mirrored"], id="few_positions"),
        pytest.param((2, 12, 12, 32), (3, 3, 32, 256), {}, [], id="few_channels_in"),
        pytest.param((2, 12, 12, 64), (3, 3, 64, 128), {}, [], id="few_channels_in_all"),
        pytest.param((2, 12, 12, 64), (5, 5, 64, 256), {}, [], id="5x5"),
        pytest.param((2, 24, 24, 64), (3, 3, 64, 256), {"strides": (2, 2)}, [], id="stride"),
        pytest.param((2, 12, 12, 64), (3, 3, 64, 256), {"dtype": jnp.bfloat16}, [], id="bfloat16"),
    ],
)
def test_winograds_convolution_is_for_many_channels_in_full_precision(monkeypatch, image, kernel, options, calls):
    found, (convolve, gradient) = [], (winograd.convolve, winograd.kernel_gradient)

    def seen_convolve(*arguments):
        found.append("mirrored" if arguments[-1] else "")
        return convolve(*arguments)

    def seen_gradient(*arguments):
        found.append("gradient")
        return gradient(*arguments)

    monkeypatch.setattr(winograd, "convolve", seen_convolve)
    monkeypatch.setattr(winograd, "kernel_gradient", seen_gradient)
    dtype = options.get("dtype", jnp.float32)

    def energy(image, kernel):
        strides = options.get("strides", (1, 1))
        return conv_general_dilated(image, kernel, strides, "SAME", dimension_numbers=NHWC).sum()

    jax.jit(jax.grad(energy, (0, 1))).lower(jax.ShapeDtypeStruct(image, dtype), jax.ShapeDtypeStruct(kernel, dtype))
    assert found == calls


def test_an_infinite_pixel_reaches_the_outputs_that_it_reaches_in_lax(monkeypatch):
    winograd_everywhere(monkeypatch)
    image, kernel = draw(6, (1, 8, 7, 2), (3, 3, 2, 3))
    image = image.at[0, 3, 4, 1].set(jnp.inf)
    found = conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=NHWC)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(plain(image, kernel, padding="SAME")))


@pytest.mark.skipif(jax.__version_info__ < (0, 12), reason="older compilers make the outputs of all layers at once")
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other platforms do not compute in bands")
def test_a_chain_holds_no_output_before_its_layer_is_reached():
    def chain(image, *kernels):
        for kernel in kernels:
            image = nn.relu(conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=NHWC))
        return image

    image = jax.ShapeDtypeStruct((8, 32, 32, 128), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 128, 128), jnp.float32)

    def temporary_bytes(layers):
        analysis = jax.jit(chain).lower(image, *[kernel] * layers).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    transformed_kernel = 16 * 128 * 128 * 4
    assert temporary_bytes(8) - temporary_bytes(2) < 6 * transformed_kernel + 2 * 4 * image.size
