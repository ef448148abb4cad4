"""The window of a two-dimensional convolution: how the kernel moves over the image."""

import dataclasses
from collections.abc import Sequence
from typing import Self

from jax import lax

NHWC = ("NHWC", "HWIO", "NHWC")
"""Layouts of image, kernel and output, as `jax.lax` names them: the only ones that `btjax.nn` computes in."""

Pair = tuple[int, int]
"""(height, width), or (before, after)."""


@dataclasses.dataclass(frozen=True)
class Window:
    """Strides, padding, image dilation and precision of one convolution; for each of height and width.

    It is hashable, as `jax.custom_vjp` and `jax.jit` ask of static arguments.

    Attributes:
      strides: pixels from one window to the next.
      padding: rows of zeros (above, below) and columns of zeros (left, right); negative numbers crop.
      dilation: the image's pixels are this far apart, with zeros between them (`lhs_dilation` in `jax.lax`).
      precision: of the products, as in `jax.lax.conv_general_dilated`.

    Example:
      >>> same = Window(strides=(2, 2), padding=((0, 1), (0, 1)))
      >>> same.output_size((64, 64), (3, 3))
      (32, 32)
      >>> backward = same.transposed((64, 64), (3, 3))
      >>> backward.dilation, backward.padding
      ((2, 2), ((2, 1), (2, 1)))
      >>> backward.output_size((32, 32), (3, 3))
      (64, 64)
    """

    strides: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    precision: lax.PrecisionLike = None

    def output_size(self, image_size: Sequence[int], kernel_size: Sequence[int]) -> Pair:
        """The output's (height, width), below 1 where the padded image is smaller than the kernel.

        Args:
          image_size: (height, width) of the image.
          kernel_size: (height, width) of the kernel.
        """
        height, width = (
            ((image_size[axis] - 1) * self.dilation[axis] + 1 + sum(self.padding[axis]) - kernel_size[axis])
            // self.strides[axis]
            + 1
            for axis in (0, 1)
        )
        return height, width

    def transposed(self, image_size: Sequence[int], kernel_size: Sequence[int]) -> Self:
        """The window of the gradient for the image, a convolution of the output's cotangent with the mirrored kernel.

        Strides and dilation swap. The padding makes each pixel of the image meet every tap of the kernel once.

        Args:
          image_size: (height, width) of the image.
          kernel_size: (height, width) of the kernel.
        """
        output_size = self.output_size(image_size, kernel_size)

        def pads(axis: int) -> Pair:
            low = kernel_size[axis] - 1 - self.padding[axis][0]
            padded = (image_size[axis] - 1) * self.dilation[axis] + kernel_size[axis]
            return low, padded - low - (output_size[axis] - 1) * self.strides[axis] - 1

        return dataclasses.replace(self, strides=self.dilation, padding=(pads(0), pads(1)), dilation=self.strides)
