"""A window's sizes are those that `jax.lax` computes, and its transpose is the gradient's window."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from btjax.nn import lowerings
from btjax.nn.window import NHWC, Window
from tests.nn.convolutions import draw

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
pads = st.tuples(st.integers(-1, 4), st.integers(-1, 4))


def strided_or_dilated(strides, dilation, padding, is_strided):
    return Window(strides=strides, padding=padding) if is_strided else Window(padding=padding, dilation=dilation)


windows = st.builds(strided_or_dilated, pairs, pairs, st.tuples(pads, pads), st.booleans())


@settings(max_examples=50, deadline=None, derandomize=True)
@given(windows, pairs, st.integers(5, 9), st.integers(5, 9))
def test_the_output_size_is_laxs(window, kernel_size, height, width):
    def convolve(image, kernel):
        return lax.conv_general_dilated(
            image, kernel, window.strides, window.padding, window.dilation, dimension_numbers=NHWC
        )

    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, height, width, 3), (*kernel_size, 3, 4))]
    assert window.output_size((height, width), kernel_size) == jax.eval_shape(convolve, *arrays).shape[1:3]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(windows, pairs, st.integers(5, 9), st.integers(5, 9))
def test_the_transposed_window_gives_the_images_size_and_its_own_transpose_gives_the_window(
    window, kernel_size, height, width
):
    output_size = window.output_size((height, width), kernel_size)
    transposed = window.transposed((height, width), kernel_size)
    assert transposed.output_size(output_size, kernel_size) == (height, width)
    twice = transposed.transposed(output_size, kernel_size)
    # A stride can leave out rows at the end: the transpose of the transpose does not pad what is never read.
    for axis in (0, 1):
        low, high = window.padding[axis]
        padded = ((height, width)[axis] - 1) * window.dilation[axis] + 1 + low + high
        unread = (padded - kernel_size[axis]) % window.strides[axis]
        assert twice.padding[axis] == (low, high - unread)
    assert dataclasses.replace(twice, padding=window.padding) == window


@pytest.mark.parametrize("window", [Window((2, 1), ((0, 1), (2, 1))), Window((1, 1), ((1, 0), (1, 2)), (1, 2))])
def test_convolving_the_cotangent_in_the_transposed_window_is_laxs_gradient(window):
    image, kernel = draw(11, (1, 6, 7, 2), (3, 2, 2, 3))
    output, pull_back = jax.vjp(lambda image: lowerings.native(image, kernel, window), image)
    (cotangent,) = draw(12, output.shape)
    transposed = window.transposed(image.shape[1:3], kernel.shape[:2])
    found = lowerings.native(cotangent, lowerings.mirror(kernel), transposed)
    np.testing.assert_allclose(found, pull_back(cotangent)[0], rtol=1e-5, atol=1e-5)


def test_equal_windows_are_one_static_argument():
    traced = []

    def first_rows(image, window):
        traced.append(window)
        return image[: window.strides[0]]

    compiled = jax.jit(first_rows, static_argnums=1)
    for stride in (2, 2, 1):
        assert len(compiled(jnp.ones(3), Window((stride, 2), precision=lax.Precision.HIGHEST))) == stride
    assert [window.strides[0] for window in traced] == [2, 1]
