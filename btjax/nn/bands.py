"""Bands of a convolution's output: the part that a matrix product gives while its operands are in the cache.

A convolution as matrix products writes several times the image's memory first. For few channels on large maps that
costs more than the products, so it is done for a few rows of a few images at a time.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax


class Bands:
    """How the output is cut into bands of some rows of every `groups`-th image, and what each band reads.

    A band holds every `groups`-th image, not neighbours, and at least one for each device: so an image axis that is
    spread evenly over all devices stays spread, and nothing is gathered in the loop.

    Attributes:
      images: of a band.
      groups: N / images.
      rows: of a band.
      count: bands in all.
      order: of the axes of what a band reads.
    """

    def __init__(
        self, image, kernel_size, strides, padding, output_size, positions, least_images=1, multiple=1, order="nhwc"
    ):
        """Cuts an output [N, height, width, O].

        Args:
          image: float [N, H, W, C].
          kernel_size: (h, w).
          strides: by axis.
          padding: zeros before and after each axis; cropped where negative.
          output_size: (height, width).
          positions: of the output in a band, about.
          least_images: a band has so many images, where there are so many, even if that leaves few rows of each.
          multiple: divides a band's rows, as it does the height.
          order: of the axes of what a band reads, "nhwc" or "nchw".
        """
        height, width = output_size
        spread = math.gcd(image.shape[0], jax.device_count())
        several = [spread * divisor for divisor in _divisors(image.shape[0] // spread)]
        several = [images for images in several if images >= min(least_images, image.shape[0])]
        pairs = [(images, multiple * rows) for images in several for rows in _divisors(height // multiple)]
        # The nearest by ratio, of equals the one with the most rows, which reads the fewest rows twice.
        self.images, self.rows = min(
            pairs, key=lambda p: (abs(math.log(p[0] * p[1] * width / max(positions, 1))), -p[1])
        )
        self.groups = image.shape[0] // self.images
        self._bands = height // self.rows
        self.count = self.groups * self._bands
        self._stride, self._taken = strides[0], (self.rows - 1) * strides[0] + kernel_size[0]
        self.order, self._axis = order, 1 + order.index("h")
        image = jnp.transpose(pad(image, padding), ["nhwc".index(axis) for axis in order])
        self._image = image.reshape(self.images, self.groups, *image.shape[1:])

    def start(self, index):
        """Where band `index` begins in an output [images, groups, height, width, O]."""
        return 0, index // self._bands, index % self._bands * self.rows, 0, 0

    def read(self, index):
        """The rows of the padded images that band `index` is computed from, whole, in `order`."""
        _, group, row, *_ = self.start(index)
        start, size = [0] * self._image.ndim, list(self._image.shape)
        start[1], size[1] = group, 1
        start[self._axis], size[self._axis] = row * self._stride, self._taken
        return lax.dynamic_slice(self._image, start, size)[:, 0]

    def cut(self, output, index):
        """Band `index` of an output [N, height, width, O]: [images, rows, width, O]."""
        output = output.reshape(self.images, self.groups, *output.shape[1:])
        size = (self.images, 1, self.rows, *output.shape[3:])
        return lax.dynamic_slice(output, self.start(index), size)[:, 0]

    def join(self, compute, shape, dtype):
        """The output of all bands.

        Args:
          compute: index -> [images, rows, width, O].
          shape: of the output, [N, height, width, O].
          dtype: of the output.
        """
        if self.count == 1:
            return compute(0)

        def body(index, output):
            return lax.dynamic_update_slice(output, compute(index)[:, None], self.start(index))

        # Every value is written over. Were they constants, XLA would make the outputs of all layers at once, one as a
        # copy of another, and hold each until it is needed (before jax 0.12 it does so all the same); this one is made
        # when the image is there.
        blank, _ = lax.optimization_barrier((jnp.zeros((), dtype), self._image))
        output = jnp.broadcast_to(blank, (self.images, self.groups, *shape[1:]))
        return lax.fori_loop(0, self.count, body, output).reshape(shape)

    def total(self, compute):
        """The sum over all bands of what `compute`, index -> array, gives."""
        if self.count == 1:
            return compute(0)
        return lax.fori_loop(1, self.count, lambda index, total: total + compute(index), compute(0))


def pad(image, padding):
    """The image [N, H, W, C] with zeros around it; cropped where the padding is negative."""
    spatial = [(low, high, 0) for low, high in padding]
    return lax.pad(image, jnp.zeros((), image.dtype), [(0, 0, 0), *spatial, (0, 0, 0)])


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
