"""Winograd's convolution with 3x3 kernels: 16 multiplications for a tile of 2x2 outputs instead of 36.

Each tile reads 4x4 pixels. Tiles and kernel are transformed to 16 values each. For each of the 16, the tiles form a
matrix (tiles by channels) and the kernel another (channels by features); their products are transformed back to 2x2
outputs. The transforms add, subtract and halve, so in float32 the error is two to three times that of a plain sum of
products. Tiles of 4x4 outputs would need 36 multiplications for 16 outputs, but their transforms cost most of what
that saves, and the error is ten times larger.

Reference: Lavin and Gray, Fast algorithms for convolutional neural networks, CVPR 2016, F(2x2, 3x3).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from btjax.nn.bands import Bands, BandSize, Index, pad
from btjax.nn.window import Window

_SIDE = 2  # a tile has _SIDE x _SIDE outputs
_POSITIONS = 2048  # output pixels in a band
_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])  # G, [4, 3]
_KERNEL_2D = np.kron(_KERNEL, _KERNEL)  # [16, 9]
_OUTPUT = np.array([[1, 0], [1, 1], [1, -1], [0, -1]])  # A, [4, 2]
_OUTPUT_2D = np.kron(_OUTPUT, _OUTPUT)  # [16, 4]


def convolve(image: jax.Array, kernel: jax.Array, window: Window, mirrored: bool) -> jax.Array:
    """The convolution.

    A mirrored kernel is read in place: reversing the columns of the kernel's transform flips it, and the product
    contracts its last axis, so no flipped copy is made.

    Args:
      image: float32 or float64 [N, H, W, C].
      kernel: [3, 3, C, O]; [3, 3, O, C] if `mirrored`; of the image's dtype.
      window: padding and precision; strides and dilation must be 1.
      mirrored: convolve with the kernel flipped along height and width, and its last two axes swapped.

    Returns:
      [N, H_out, W_out, O], of the image's dtype.
    """
    height, width = window.output_size(image.shape[1:3], (3, 3))
    bands = _bands(image, window)
    transform = jnp.asarray(_KERNEL_2D[:, ::-1] if mirrored else _KERNEL_2D, kernel.dtype)
    matrices = (transform @ kernel.reshape(9, -1)).reshape(16, *kernel.shape[2:])
    terms = "knhwc,koc->knhwo" if mirrored else "knhwc,kco->knhwo"
    product = functools.partial(jnp.einsum, terms, precision=window.precision)

    def multiply(index: Index) -> jax.Array:
        return _outputs(product(_transformed_tiles(bands.read(index)), matrices))

    output = bands.join(multiply, features=kernel.shape[2] if mirrored else kernel.shape[3])
    return output[:, :height, :width]


def kernel_gradient(image: jax.Array, cotangent: jax.Array, window: Window) -> jax.Array:
    """The gradient of `convolve` for a kernel that is not mirrored.

    Args:
      image: float32 or float64 [N, H, W, C].
      cotangent: of the output, [N, H_out, W_out, O].
      window: padding and precision; strides and dilation must be 1.

    Returns:
      [3, 3, C, O], of the image's dtype.
    """
    bands = _bands(image, window)
    missing = [even - size for even, size in zip(bands.output_size, cotangent.shape[1:3], strict=True)]
    cotangent = pad(cotangent, [(0, size) for size in missing])

    def multiply(index: Index) -> jax.Array:
        tiles, band = _transformed_tiles(bands.read(index)), _transformed_cotangent(bands.cut(cotangent, index))
        return jnp.einsum("knhwc,knhwo->kco", tiles, band, precision=window.precision)

    total = bands.total(multiply)
    gradient = jnp.asarray(_KERNEL_2D.T, total.dtype) @ total.reshape(16, -1)
    return gradient.reshape(3, 3, *total.shape[1:])


def _bands(image: jax.Array, window: Window) -> Bands:
    """Bands of whole tiles: an output of odd height or width gets one more row or column, computed from zeros."""
    output_size = window.output_size(image.shape[1:3], (3, 3))
    (above, below), (left, right) = window.padding
    padding = (above, below + output_size[0] % _SIDE), (left, right + output_size[1] % _SIDE)
    window = dataclasses.replace(window, padding=padding)
    return Bands(image, (3, 3), window, BandSize(_POSITIONS, row_multiple=_SIDE))


def _transformed_tiles(image: jax.Array) -> jax.Array:
    """B^T d B of the overlapping 4x4 tiles d: [n, 2 h + 2, 2 w + 2, C] -> [16, n, h, w, C]."""

    def transform(values: jax.Array, axis: int, new_axis: int) -> jax.Array:
        stop = values.shape[axis] - 3  # one past the first pixel of the last tile
        one, two, three, four = (lax.slice_in_dim(values, pixel, stop + pixel, _SIDE, axis) for pixel in range(4))
        return jnp.stack([one - three, two + three, three - two, two - four], axis=new_axis)

    # The barrier keeps XLA from fusing the two passes: fused, it selects one of 16 sums for every value, instead of one
    # of four in each pass.
    rows = lax.optimization_barrier(transform(image, 1, 0))
    tiles = transform(rows, 3, 1)
    return tiles.reshape(16, *tiles.shape[2:])


def _transformed_cotangent(cotangent: jax.Array) -> jax.Array:
    """A y A^T of the 2x2 tiles y: [n, 2 h, 2 w, O] -> [16, n, h, w, O]."""
    count, height, width, features = cotangent.shape
    tiles = cotangent.reshape(count, height // _SIDE, _SIDE, width // _SIDE, _SIDE, features)
    tiles = tiles.transpose(2, 4, 0, 1, 3, 5)
    return (jnp.asarray(_OUTPUT_2D, tiles.dtype) @ tiles.reshape(4, -1)).reshape(16, *tiles.shape[2:])


def _outputs(products: jax.Array) -> jax.Array:
    """A^T m A of the products m: [16, n, h, w, O] -> [n, 2 h, 2 w, O]."""

    def transform(one: jax.Array, two: jax.Array, three: jax.Array, four: jax.Array) -> tuple[jax.Array, jax.Array]:
        return one + two + three, two - three - four  # the rows of A^T

    _, count, height, width, features = products.shape
    columns = zip(*(transform(*products[4 * row : 4 * row + 4]) for row in range(4)), strict=True)
    tiles = [transform(*column) for column in columns]  # tiles[column][row]
    rows = [jnp.stack([tiles[column][row] for column in range(_SIDE)], axis=3) for row in range(_SIDE)]
    return jnp.stack(rows, axis=2).reshape(count, _SIDE * height, _SIDE * width, features)
