"""Bands: parts of a convolution's output small enough that the operands of their matrix product fit in the cache.

Written as a matrix product, a convolution first copies the image several times over. With few channels on large maps
these copies cost more than the products, so they are made for a few rows of a few images at a time.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from btjax.nn.window import Pair, Window

Index = int | jax.Array
"""The number of a band, 0 to `Bands.count` - 1."""


@dataclasses.dataclass(frozen=True)
class BandSize:
    """How large a band should be.

    Attributes:
      positions: output pixels in a band; the nearest possible number is taken.
      least_images: a band holds at least this many images (or the whole batch), even if few rows of each then fit.
      row_multiple: a band's rows are a multiple of this, which must divide the output's height.
    """

    positions: int
    least_images: int = 1
    row_multiple: int = 1

    def split(self, count: int, height: int, width: int) -> Pair:
        """The number of images and of rows in a band of an output [count, height, width, O]."""
        devices = math.gcd(count, jax.device_count())
        images = [devices * divisor for divisor in _divisors(count // devices)]
        images = [number for number in images if number >= min(self.least_images, count)]
        rows = [self.row_multiple * divisor for divisor in _divisors(height // self.row_multiple)]

        def distance(pair: Pair) -> tuple[float, int]:
            ratio = pair[0] * pair[1] * width / max(self.positions, 1)
            return abs(math.log(ratio)), -pair[1]  # on a tie the most rows: adjacent bands read fewer rows twice

        return min(((number, row) for number in images for row in rows), key=distance)


class Bands:
    """A convolution's output, cut into bands, and the padded image that the bands are computed from.

    A band takes every `groups`-th image of the batch, not adjacent images, and at least one image per device. A batch
    sharded over all devices therefore stays sharded, and the loop over bands needs no communication.

    Attributes:
      kernel_size: (height, width) of the kernel.
      strides: of the convolution.
      output_size: (height, width) of the output.
      images: images in a band.
      groups: N / images.
      rows: output rows in a band.
      count: number of bands.
      channels_first: whether `read` returns [images, C, H, W] instead of [images, H, W, C].
    """

    def __init__(
        self,
        image: jax.Array,
        kernel_size: Sequence[int],
        window: Window,
        size: BandSize,
        channels_first: bool = False,
    ) -> None:
        """Pads the image and chooses the bands.

        Args:
          image: float [N, H, W, C].
          kernel_size: (height, width) of the kernel.
          window: of the convolution; its dilation must be 1.
          size: how large a band should be.
          channels_first: move the channels in front of the rows in what `read` returns.
        """
        count, *image_size, _ = image.shape
        self.kernel_size, self.strides = tuple(kernel_size), window.strides
        self.output_size = window.output_size(image_size, kernel_size)
        self.images, self.rows = size.split(count, *self.output_size)
        self.groups = count // self.images
        self._bands_per_group = self.output_size[0] // self.rows
        self.count = self.groups * self._bands_per_group
        self.channels_first = channels_first
        image = pad(image, window.padding)
        if channels_first:
            image = image.transpose(0, 3, 1, 2)
        self._image = image.reshape(self.images, self.groups, *image.shape[1:])

    def _start(self, index: Index) -> tuple[Index, ...]:
        """Where band `index` begins in an output [images, groups, height, width, O]."""
        return 0, index // self._bands_per_group, index % self._bands_per_group * self.rows, 0, 0

    def read(self, index: Index) -> jax.Array:
        """The padded image rows, at full width, that band `index` is computed from.

        Returns:
          [images, rows read, W, C]; [images, C, rows read, W] if `channels_first`.
        """
        _, group, row, *_ = self._start(index)
        row_axis = 3 if self.channels_first else 2
        start: list[Index] = [0] * self._image.ndim
        start[1], start[row_axis] = group, row * self.strides[0]
        size = list(self._image.shape)
        size[1], size[row_axis] = 1, (self.rows - 1) * self.strides[0] + self.kernel_size[0]
        return lax.dynamic_slice(self._image, start, size)[:, 0]

    def pixels_by_tap(self, index: Index) -> list[jax.Array]:
        """For each of the kernel's taps, the pixels that it meets in band `index`, in the layout of `read`."""
        part = self.read(index)
        (row_stride, column_stride), width = self.strides, self.output_size[1]
        rows, columns = (self.rows - 1) * row_stride + 1, (width - 1) * column_stride + 1
        windows = [
            (slice(i, i + rows, row_stride), slice(j, j + columns, column_stride))
            for i in range(self.kernel_size[0])
            for j in range(self.kernel_size[1])
        ]
        return [part[:, :, *window] if self.channels_first else part[:, *window] for window in windows]

    def cut(self, output: jax.Array, index: Index) -> jax.Array:
        """Band `index` of an output [N, height, width, O]: [images, rows, width, O]."""
        output = output.reshape(self.images, self.groups, *output.shape[1:])
        size = (self.images, 1, self.rows, *output.shape[3:])
        return lax.dynamic_slice(output, self._start(index), size)[:, 0]

    def join(self, compute: Callable[[Index], jax.Array], features: int) -> jax.Array:
        """Computes every band and assembles the output, in the image's dtype.

        Args:
          compute: index -> [images, rows, width, features].
          features: channels of the output.

        Returns:
          [N, height, width, features].
        """
        if self.count == 1:
            return compute(0)

        def body(index: Index, output: jax.Array) -> jax.Array:
            return lax.dynamic_update_slice(output, compute(index)[:, None], self._start(index))

        # The loop overwrites every value of the blank output. Without the barrier the blank would be a constant: XLA
        # would then allocate the outputs of all layers at once, some as copies of others, and hold each until its layer
        # runs (before jax 0.12 it does so in any case). The barrier makes the blank depend on the image.
        blank, _ = lax.optimization_barrier((jnp.zeros((), self._image.dtype), self._image))
        output = jnp.broadcast_to(blank, (self.images, self.groups, *self.output_size, features))
        return lax.fori_loop(0, self.count, body, output).reshape(-1, *self.output_size, features)

    def total(self, compute: Callable[[Index], jax.Array]) -> jax.Array:
        """The sum of `compute(index)` over all bands."""
        if self.count == 1:
            return compute(0)
        return lax.fori_loop(1, self.count, lambda index, total: total + compute(index), compute(0))


def pad(image: jax.Array, padding: Sequence[Pair]) -> jax.Array:
    """The image [N, H, W, C] with zeros around it; cropped where the padding is negative."""
    spatial = [(low, high, 0) for low, high in padding]
    return lax.pad(image, jnp.zeros((), image.dtype), [(0, 0, 0), *spatial, (0, 0, 0)])


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
