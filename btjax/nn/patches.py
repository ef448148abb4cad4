"""Convolution as `patches @ kernel` (im2col), band by band, and its gradient for the kernel."""

import functools

import jax.numpy as jnp

from btjax.nn.bands import Bands

_BAND_BYTES = 1 << 20  # of patches: within the second-level cache of a core
_LARGE_BAND_BYTES = 1 << 23  # of channels first: products of several images, on several cores, at once
_LARGE_BAND_IMAGES = 4
_KERNEL_SHARE = 4  # a band's patches take at least this many times the kernel, which every band reads again
_LARGE_MAP, _MANY_TAPS = 1024, 5  # pixels of the output, of the kernel: from here on the channels go first


def convolve(image, kernel, strides, padding, output_size, precision):
    """The convolution of float [N, H, W, C] and [h, w, C, O]: [N, *output_size, O].

    Args:
      image: the images.
      kernel: the kernel.
      strides: by axis.
      padding: zeros before and after each axis; cropped where negative.
      output_size: (height, width), as these give it.
      precision: of the products.
    """
    bands = _bands(image, kernel.shape, strides, padding, output_size)
    matrix = kernel.reshape(-1, kernel.shape[3])

    def multiply(index):
        patches = jnp.concatenate(_windows(bands, index, kernel.shape, strides, output_size), axis=-1)
        return jnp.einsum("nhwk,ko->nhwo", patches, matrix, precision=precision)

    return bands.join(multiply, (image.shape[0], *output_size, kernel.shape[3]), image.dtype)


def kernel_gradient(image, cotangent, kernel_shape, strides, padding, precision):
    """The gradient for the kernel [h, w, C, O]: patches transposed times the output's cotangent, summed over bands.

    Args:
      image: float [N, H, W, C].
      cotangent: of the output, float [N, H_out, W_out, O].
      kernel_shape: (h, w, C, O).
      others: as in `convolve`.
    """
    output_size = cotangent.shape[1:3]
    # With the channels first, the pixels that a product sums over lie side by side, as do those that patches copy, and
    # products of several images are computed at once. Small maps make them too small, and for few taps the image's
    # transposition costs more than it wins.
    channels_first = output_size[0] * output_size[1] >= _LARGE_MAP and kernel_shape[0] * kernel_shape[1] >= _MANY_TAPS
    bands = _bands(image, kernel_shape, strides, padding, output_size, channels_first)
    # Bands are added up in float32: in bfloat16 a sum over many bands would lose what each adds.
    wide = jnp.float32 if image.dtype.itemsize < 4 else image.dtype
    multiply_add = functools.partial(jnp.einsum, precision=precision, preferred_element_type=wide)

    def multiply(index):
        windows, band = _windows(bands, index, kernel_shape, strides, output_size), bands.cut(cotangent, index)
        if channels_first:
            return multiply_add("nkhw,nhwo->nko", jnp.concatenate(windows, axis=1), band).sum(axis=0)
        return multiply_add("nhwk,nhwo->ko", jnp.concatenate(windows, axis=-1), band)

    return bands.total(multiply).astype(image.dtype).reshape(kernel_shape)


def _bands(image, kernel_shape, strides, padding, output_size, channels_first=False):
    """Bands whose patches fit the cache, but take `_KERNEL_SHARE` times the kernel's memory."""
    *kernel_size, channels, features = kernel_shape
    patch_bytes = kernel_size[0] * kernel_size[1] * channels * image.dtype.itemsize
    limit = max(_LARGE_BAND_BYTES if channels_first else _BAND_BYTES, _KERNEL_SHARE * patch_bytes * features)
    images, order = (_LARGE_BAND_IMAGES, "nchw") if channels_first else (1, "nhwc")
    return Bands(image, kernel_size, strides, padding, output_size, limit // patch_bytes, images, order=order)


def _windows(bands, index, kernel_shape, strides, output_size):
    """For each of the kernel's taps the pixels that it meets in band `index`, in the bands' order of axes."""
    part = bands.read(index)
    rows, columns = (bands.rows - 1) * strides[0] + 1, (output_size[1] - 1) * strides[1] + 1
    windows = [
        (slice(i, i + rows, strides[0]), slice(j, j + columns, strides[1]))
        for i in range(kernel_shape[0])
        for j in range(kernel_shape[1])
    ]
    return [part[:, :, *window] if bands.order == "nchw" else part[:, *window] for window in windows]
