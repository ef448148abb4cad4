"""Patches of images, made a band at a time.

The patches of a 3x3 kernel take nine times the image's memory. For few channels on large maps writing them costs more
than the product they are for, so they are made for a few rows of a few images and used while they are in the cache.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

_BAND_BYTES = 1 << 20  # within the second-level cache of a core
_LARGE_BAND_BYTES = 1 << 23  # of channels first: products of several images, on several cores, at once
_LARGE_BAND_IMAGES = 4
_KERNEL_SHARE = 4  # a band's patches take at least this many times the kernel, which every band reads again


class Bands:
    """How the output is cut into bands of `rows` rows of every `groups`-th image, and the patches of each band.

    A band's patches take up to `_BAND_BYTES` (`_LARGE_BAND_BYTES` with the channels first), or `_KERNEL_SHARE` times
    the kernel if that is more, but they are at least those of one row. A band holds every `groups`-th image, not
    neighbours, and at least one for each device: so an image axis that is spread evenly over all devices stays spread,
    and nothing is gathered in the loop. With the channels first it holds up to four images, even if that leaves few
    rows of each.

    Attributes:
      images: of a band.
      groups: N / images.
      rows: of a band.
      count: bands in all.
    """

    def __init__(self, image, kernel_shape, strides, padding, height, width, channels_first=False):
        """Cuts an output [N, height, width, O].

        Args:
          image: float [N, H, W, C].
          kernel_shape: (h, w, C, O).
          strides: by axis.
          padding: zeros before and after each axis; cropped where negative.
          height: of the output.
          width: of the output.
          channels_first: how the patches lie; see `patches`.
        """
        kernel_height, kernel_width, channels, features = kernel_shape
        patch_bytes = kernel_height * kernel_width * channels * image.dtype.itemsize
        row_bytes = width * patch_bytes
        limit = _LARGE_BAND_BYTES if channels_first else _BAND_BYTES
        limit = max(limit, _KERNEL_SHARE * patch_bytes * features)
        fitting = max(_LARGE_BAND_IMAGES, limit // (row_bytes * height)) if channels_first else limit // row_bytes
        spread = math.gcd(image.shape[0], jax.device_count())
        self.images = spread * _largest_divisor(image.shape[0] // spread, fitting // spread)
        self.groups = image.shape[0] // self.images
        self.rows = _largest_divisor(height, limit // (row_bytes * self.images))
        self._bands = height // self.rows
        self.count = self.groups * self._bands
        self._kernel, self._strides, self._width = (kernel_height, kernel_width), strides, width
        image = pad(image, padding)
        self._channels_first = channels_first
        if channels_first:
            image = image.transpose(0, 3, 1, 2)
        self._image = image.reshape(self.images, self.groups, *image.shape[1:])

    def start(self, index):
        """Where band `index` begins in an output [images, groups, height, width, O]."""
        return 0, index // self._bands, index % self._bands * self.rows, 0, 0

    def patches(self, index):
        """Every window of band `index`: [images, rows, width, h * w * C], or [images, h * w * C, rows, width]."""
        _, group, row, *_ = self.start(index)
        band = lax.dynamic_index_in_dim(self._image, group, axis=1, keepdims=False)
        taken = (self.rows - 1) * self._strides[0] + self._kernel[0]
        band = lax.dynamic_slice_in_dim(band, row * self._strides[0], taken, axis=2 if self._channels_first else 1)
        reach = (self.rows - 1) * self._strides[0] + 1, (self._width - 1) * self._strides[1] + 1
        windows = [
            (slice(i, i + reach[0], self._strides[0]), slice(j, j + reach[1], self._strides[1]))
            for i in range(self._kernel[0])
            for j in range(self._kernel[1])
        ]
        if self._channels_first:
            return jnp.concatenate([band[:, :, *window] for window in windows], axis=1)
        return jnp.concatenate([band[:, *window] for window in windows], axis=-1)


def pad(image, padding):
    """The image [N, H, W, C] with zeros around it; cropped where the padding is negative."""
    spatial = [(low, high, 0) for low, high in padding]
    return lax.pad(image, jnp.zeros((), image.dtype), [(0, 0, 0), *spatial, (0, 0, 0)])


def _largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`, at least 1."""
    return next(divisor for divisor in range(max(1, min(number, limit)), 0, -1) if number % divisor == 0)
