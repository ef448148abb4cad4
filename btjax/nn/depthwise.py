"""Depthwise convolution, each channel with a kernel of its own: sums of shifted images on CPU, XLA's own elsewhere.

On a CPU XLA computes it, and its gradients, slower than the few additions and multiplications would take. Here each tap
of the kernel multiplies the shifted image, by channels; the taps' products are added in one pass. As for
`btjax.nn.convolution`, the gradient for the image is again such a convolution. Forward mode is not supported.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from btjax.nn.bands import Bands, BandSize, Index
from btjax.nn.window import NHWC, Pair, Window

_BAND_BYTES = 1 << 16  # of a tap's products in the kernel's gradient, which are summed before the next tap's are made


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve_depthwise(image: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution of each channel with its own kernel.

    Args:
      image: float [N, H, W, C].
      kernel: [h, w, 1, C], of the image's dtype.
      window: of the convolution; its output must not be empty.

    Returns:
      [N, H_out, W_out, C], of the image's dtype; equal to `jax.lax.conv_general_dilated` with
      `feature_group_count=C` up to rounding.
    """
    return lax.platform_dependent(
        image,
        kernel,
        cpu=functools.partial(shifted, window=window),
        default=functools.partial(native, window=window),
    )


def _forward(image: jax.Array, kernel: jax.Array, window: Window) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve_depthwise(image, kernel, window), (image, kernel)


def _backward(window: Window, saved: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    image, kernel = saved
    size = kernel.shape[0], kernel.shape[1]
    transposed = window.transposed(image.shape[1:3], size)
    image_cotangent: Any = convolve_depthwise(cotangent, jnp.flip(kernel, (0, 1)), transposed)
    kernel_cotangent = lax.platform_dependent(
        image,
        cotangent,
        cpu=functools.partial(shifted_kernel_gradient, size=size, window=window),
        default=functools.partial(native_kernel_gradient, size=size, window=window),
    )
    return image_cotangent, kernel_cotangent


convolve_depthwise.defvjp(_forward, _backward)


def native(image: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution, by the platform's own lowering; as `convolve_depthwise`."""
    return lax.conv_general_dilated(
        image,
        kernel,
        window.strides,
        window.padding,
        lhs_dilation=window.dilation,
        dimension_numbers=NHWC,
        feature_group_count=image.shape[3],
        precision=window.precision,
    )


def native_kernel_gradient(image: jax.Array, cotangent: jax.Array, size: Pair, window: Window) -> jax.Array:
    """The gradient of `native` for a kernel of `size`, by the platform's own lowering: [h, w, 1, C]."""
    kernel = jax.ShapeDtypeStruct((*size, 1, image.shape[3]), image.dtype)
    return jax.linear_transpose(lambda kernel: native(image, kernel, window), kernel)(cotangent)[0]


def shifted(image: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution as a sum of shifted images, in float32 at least; as `convolve_depthwise`."""
    dtype, size = image.dtype, (kernel.shape[0], kernel.shape[1])
    wide = dtype if dtype.itemsize >= 4 else jnp.float32
    kernel = kernel.astype(wide)
    parts = (
        part * kernel[row, column].reshape(1, 1, 1, -1)
        for row, column, part in _shifts(image.astype(wide), size, window)
    )
    return functools.reduce(jnp.add, parts).astype(dtype)


def shifted_kernel_gradient(image: jax.Array, cotangent: jax.Array, size: Pair, window: Window) -> jax.Array:
    """The gradient of `shifted` for a kernel of `size`, one band at a time: [h, w, 1, C], of the image's dtype."""
    dtype, channels = image.dtype, image.shape[3]
    wide = dtype if dtype.itemsize >= 4 else jnp.float32
    padded, cotangent = _padded(image.astype(wide), window), cotangent.astype(wide)
    positions = _BAND_BYTES // (channels * padded.dtype.itemsize)
    bands = Bands(padded, size, Window(strides=window.strides), BandSize(positions))

    def sums(index: Index) -> jax.Array:
        band = bands.cut(cotangent, index)
        # A product with ones: XLA's own sum over all axes but the last takes longer on a CPU.
        ones = jnp.ones(band.size // channels, wide)
        return jnp.stack([ones @ (part * band).reshape(-1, channels) for part in bands.pixels_by_tap(index)])

    return bands.total(sums).reshape(*size, 1, channels).astype(dtype)


def _padded(image: jax.Array, window: Window) -> jax.Array:
    """The image with the zeros around it and between its pixels."""
    edges = [(low, high, factor - 1) for (low, high), factor in zip(window.padding, window.dilation, strict=True)]
    return lax.pad(image, jnp.zeros((), image.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def _shifts(image: jax.Array, size: Pair, window: Window) -> Iterator[tuple[int, int, jax.Array]]:
    """For each tap of a kernel its row and column, and the pixels [N, H_out, W_out, C] that it meets."""
    rows, columns = window.output_size(image.shape[1:3], size)
    # Without the barrier every tap would ask again whether a pixel lies in the padding.
    padded = lax.optimization_barrier(_padded(image, window))
    down, right = window.strides
    for row in range(size[0]):
        for column in range(size[1]):
            part = padded[
                :, row : row + down * (rows - 1) + 1 : down, column : column + right * (columns - 1) + 1 : right
            ]
            yield row, column, part
