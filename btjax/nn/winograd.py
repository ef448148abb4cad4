"""Winograd's convolution of 3x3 kernels: 16 products for a tile of 2x2 outputs, in place of 36.

A tile reads 4x4 pixels. Tiles and kernel are transformed to 16 values each, whose products (of matrices: positions by
channels) are transformed back. The transforms add, subtract and halve: in float32 the error is two to three times that
of a sum of products. Tiles of 4x4 outputs would need 36 products for 16 outputs, but their transforms cost most of what
that saves, and ten times the error.

Reference: Lavin and Gray, Fast algorithms for convolutional neural networks, CVPR 2016, F(2x2, 3x3).
"""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax

from btjax.nn.bands import Bands, pad

_SIDE = 2  # of a tile's outputs
_POSITIONS = 2048  # outputs in a band
_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])  # G, [4, 3]
_KERNEL_2D = np.kron(_KERNEL, _KERNEL)  # [16, 9]
_OUTPUT = np.array([[1, 0], [1, 1], [1, -1], [0, -1]])  # A, [4, 2]
_OUTPUT_2D = np.kron(_OUTPUT, _OUTPUT)  # [16, 4]


def convolve(image, kernel, padding, output_size, precision, mirrored):
    """The convolution with stride 1: [N, *output_size, O].

    Args:
      image: float32 or float64 [N, H, W, C].
      kernel: [3, 3, C, O], or [3, 3, O, C] if it is to be mirrored.
      padding: zeros before and after each axis; cropped where negative.
      output_size: (height, width), as these give it.
      precision: of the products.
      mirrored: take the kernel upside down, back to front, and channels swapped, as it lies: it is not copied for it.
    """
    even_size = [size + size % _SIDE for size in output_size]
    bands = _bands(image, padding, output_size, even_size)
    transform = jnp.asarray(_KERNEL_2D[:, ::-1] if mirrored else _KERNEL_2D, kernel.dtype)
    matrices = (transform @ kernel.reshape(9, -1)).reshape(16, *kernel.shape[2:])
    product = functools.partial(jnp.einsum, "knhwc,koc->knhwo" if mirrored else "knhwc,kco->knhwo", precision=precision)

    def multiply(index):
        return _outputs(product(_transformed_tiles(bands.read(index)), matrices))

    features = kernel.shape[2] if mirrored else kernel.shape[3]
    output = bands.join(multiply, (image.shape[0], *even_size, features), image.dtype)
    return output[:, : output_size[0], : output_size[1]]


def kernel_gradient(image, cotangent, padding, precision):
    """The gradient of `convolve` for the kernel [3, 3, C, O].

    Args:
      image: float32 or float64 [N, H, W, C].
      cotangent: of the output, [N, H_out, W_out, O].
      others: as in `convolve`.
    """
    output_size = cotangent.shape[1:3]
    even_size = [size + size % _SIDE for size in output_size]
    bands = _bands(image, padding, output_size, even_size)
    cotangent = pad(cotangent, [(0, even - size) for even, size in zip(even_size, output_size, strict=True)])

    def multiply(index):
        tiles, band = _transformed_tiles(bands.read(index)), _transformed_cotangent(bands.cut(cotangent, index))
        return jnp.einsum("knhwc,knhwo->kco", tiles, band, precision=precision)

    total = bands.total(multiply)
    gradient = jnp.asarray(_KERNEL_2D.T, total.dtype) @ total.reshape(16, -1)
    return gradient.reshape(3, 3, *total.shape[1:])


def _bands(image, padding, output_size, even_size):
    """Bands of whole tiles: zeros make up the last ones of an odd size."""
    sizes = zip(padding, output_size, even_size, strict=True)
    padding = [(low, high + even - size) for (low, high), size, even in sizes]
    return Bands(image, (3, 3), (1, 1), padding, even_size, _POSITIONS, multiple=_SIDE)


def _transformed_tiles(image):
    """B^T d B of the overlapping tiles d: [n, 2 h + 2, 2 w + 2, C] -> [16, n, h, w, C]."""

    def transform(values, axis, place):
        last = values.shape[axis] - 3  # where the last tile ends its first pixel
        one, two, three, four = (lax.slice_in_dim(values, pixel, last + pixel, _SIDE, axis) for pixel in range(4))
        return jnp.stack([one - three, two + three, three - two, two - four], axis=place)

    # In one pass XLA chooses between 16 sums for every value; in two it chooses between four, twice.
    rows = lax.optimization_barrier(transform(image, 1, 0))
    tiles = transform(rows, 3, 1)
    return tiles.reshape(16, *tiles.shape[2:])


def _transformed_cotangent(cotangent):
    """A y A^T of the tiles y: [n, 2 h, 2 w, O] -> [16, n, h, w, O]."""
    count, height, width, features = cotangent.shape
    tiles = cotangent.reshape(count, height // _SIDE, _SIDE, width // _SIDE, _SIDE, features).transpose(
        2, 4, 0, 1, 3, 5
    )
    return (jnp.asarray(_OUTPUT_2D, tiles.dtype) @ tiles.reshape(4, -1)).reshape(16, *tiles.shape[2:])


def _outputs(products):
    """A^T m A of the products m: [16, n, h, w, O] -> [n, 2 h, 2 w, O]."""

    def transform(one, two, three, four):  # _OUTPUT, transposed
        return one + two + three, two - three - four

    _, count, height, width, features = products.shape
    columns = zip(*(transform(*products[4 * row : 4 * row + 4]) for row in range(4)), strict=True)
    tiles = [transform(*column) for column in columns]  # [column][row] of a tile
    rows = [jnp.stack([tiles[column][row] for column in range(_SIDE)], axis=3) for row in range(_SIDE)]
    return jnp.stack(rows, axis=2).reshape(count, _SIDE * height, _SIDE * width, features)
