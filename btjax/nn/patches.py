"""Convolution as `patches @ kernel` (im2col), one band at a time, and its gradient for the kernel."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from btjax.nn.bands import Bands, BandSize, Index
from btjax.nn.window import Window

_BAND_BYTES = 1 << 20  # of a band's patches: they fit in a core's second-level cache
_LARGE_BAND_BYTES = 1 << 23  # with the channels first, where several cores work on the images of one band
_LARGE_BAND_IMAGES = 4
_KERNEL_SHARE = 4  # every band reads the kernel again, so its patches are at least this many times larger
_LARGE_MAP, _MANY_TAPS = 1024, 5  # output pixels and kernel pixels from which the channels go first


def convolve(image: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution.

    Args:
      image: float [N, H, W, C].
      kernel: [h, w, C, O], of the image's dtype.
      window: strides, padding and precision; the dilation must be 1.

    Returns:
      [N, H_out, W_out, O], of the image's dtype.
    """
    bands = _bands(image, kernel.shape[:2], kernel.shape[3], window)
    matrix = kernel.reshape(-1, kernel.shape[3])

    def multiply(index: Index) -> jax.Array:
        patches = jnp.concatenate(bands.pixels_by_tap(index), axis=-1)
        return jnp.einsum("nhwk,ko->nhwo", patches, matrix, precision=window.precision)

    return bands.join(multiply, kernel.shape[3])


def kernel_gradient(image: jax.Array, cotangent: jax.Array, kernel_size: Sequence[int], window: Window) -> jax.Array:
    """The gradient for the kernel: the patches' transpose times the output's cotangent, summed over bands.

    Args:
      image: float [N, H, W, C].
      cotangent: of the output, [N, H_out, W_out, O].
      kernel_size: (height, width) of the kernel.
      window: of the convolution; the dilation must be 1.

    Returns:
      [h, w, C, O], of the image's dtype.
    """
    channels, features = image.shape[3], cotangent.shape[3]
    # With the channels first, the product's sum over pixels and the copies into patches both run along contiguous
    # memory, and several images are multiplied at once. On small maps the products become too small for that, and for
    # few taps transposing the image costs more than it saves.
    large_map = cotangent.shape[1] * cotangent.shape[2] >= _LARGE_MAP
    channels_first = large_map and kernel_size[0] * kernel_size[1] >= _MANY_TAPS
    bands = _bands(image, kernel_size, features, window, channels_first)
    # A bfloat16 sum over many bands would lose precision, so the bands are summed in float32.
    wide = jnp.float32 if image.dtype.itemsize < 4 else image.dtype
    multiply_add = functools.partial(jnp.einsum, precision=window.precision, preferred_element_type=wide)

    def multiply(index: Index) -> jax.Array:
        pixels, band = bands.pixels_by_tap(index), bands.cut(cotangent, index)
        if channels_first:
            return multiply_add("nkhw,nhwo->nko", jnp.concatenate(pixels, axis=1), band).sum(axis=0)
        return multiply_add("nhwk,nhwo->ko", jnp.concatenate(pixels, axis=-1), band)

    return bands.total(multiply).astype(image.dtype).reshape(*kernel_size, channels, features)


def _bands(
    image: jax.Array, kernel_size: Sequence[int], features: int, window: Window, channels_first: bool = False
) -> Bands:
    """Bands whose patches fit in the cache, or are `_KERNEL_SHARE` times the kernel if that is more."""
    patch_bytes = kernel_size[0] * kernel_size[1] * image.shape[3] * image.dtype.itemsize
    limit = max(_LARGE_BAND_BYTES if channels_first else _BAND_BYTES, _KERNEL_SHARE * patch_bytes * features)
    size = BandSize(limit // patch_bytes, least_images=_LARGE_BAND_IMAGES if channels_first else 1)
    return Bands(image, kernel_size, window, size, channels_first)
