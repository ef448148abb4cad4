"""The network of three pathways: what is the pixel in the middle of a window, seen at three scales.

Díaz-Pernas, Martínez-Zarzuela, Antón-Rodríguez and González-Ortega, "A deep learning approach for brain tumor
classification and segmentation using a multiscale convolutional neural network", Healthcare 9(2):153, 2021. A window
of 65 x 65 pixels goes through three pathways, each twice a convolution, ReLU and the largest of 3 x 3 at every second
pixel: 128 filters of 11 x 11, 96 of 7 x 7, 64 of 3 x 3. Together they go through 128 filters of 3 x 3, the same
pooling, and a hidden layer with dropout to four classes, the background and three tumours, of the window's middle.

A slice is not cut into windows here. The whole network is a convolution, so one pass gives the classes of the middles
of all windows at a `grid` of pixels, and shares what windows have in common. On a grid of 8 this is the network as it
is; on a finer one its last poolings take every pixel, and what follows them looks at pixels as far apart as before.
Both give the same numbers. Windows reach over the slice's border into zeros.

The paper does not say how the pathways, whose maps of a window have different sizes, come together: here convolutions
do not pad, and each map is cut to the 8 x 8 places that all three see. Of these the last pooling leaves one of each
side over, so that 61 of the 65 pixels count; the middle is theirs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.models.segmenter import mostly_background
from btjax.nn.chain import run_chain
from btjax.nn.convolution import conv_general_dilated

WINDOW = 61
"""Pixels of a window's side that count."""

KERNELS = (11, 7, 3)
"""Pixels of the kernels' sides, by pathway."""

CUT = (0, 2, 0)
"""Pixels cut from every side of a window before a pathway, so that the three maps' places fall together."""

LEAST = 1e-6
"""Added to the share of pixels that say a class, whose logarithm is the class's logit."""


class Pathways(nn.Module):
    """The network of three pathways as a chain of stages: `pathways`, `merge`, `pool`, `hidden`, `pixels`, `logits`."""

    widths: tuple[int, ...] = option((128, 96, 64), "filters of the pathways of 11x11, 7x7 and 3x3", minimum=1)
    merged: int = option(128, "filters after the pathways have come together", minimum=1)
    dense: int = option(256, "units of the hidden layer", minimum=1)
    dropout: float = option(0.5, "share of the hidden layer dropped in training", minimum=0, maximum=0.99)
    grid: int = option(8, "pixels between the middles of windows: 1, 2, 4 or 8", minimum=1, maximum=8)
    dtype: str = option("float32", "type of the arithmetic; parameters stay float32", choices=("float32", "bfloat16"))
    classes: int = 3
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    layers = ("pathways", "merge", "pool", "hidden", "pixels", "logits")
    composite = ("pathways", "pixels", "logits")
    frozen = ()

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        *,
        train: bool = False,
        counted: jax.Array | None = None,
        start: str | None = None,
        stop: str | None = None,
    ) -> jax.Array:
        """The logits of the slice's class: the logarithm of the mean probability that its pixels give a tumour's class.

        The pixels alone are trained: no gradient goes through the classes' logits in training.

        Args:
          inputs: float32 [B, S, S, channels]; with `start`, that stage's output.
          train: whether dropout is live; it needs the random stream "dropout".
          counted: not used, since no statistic is kept.
          start: the stage, of `layers`, after which to begin.
          stop: the stage whose output to return instead of the logits.

        Returns:
          float32 [B, classes]; with `stop`, that stage's output: of `pixels` a tuple of one, the class logits of the
          windows' middles, float32 [B, S / grid, S / grid, 1 + classes], the background first.

        Raises:
          InputError: an image size that is no multiple of the grid, other widths than three, or a grid that is none.
        """
        del counted
        if start is None:
            self.check(inputs.shape[1])
            inputs = inputs.astype(self.dtype)
        steps = Steps(self.grid)

        def pathways(images):
            margin = WINDOW // 2 - self.grid // 2
            reach = (margin, WINDOW - 1 - margin)
            return Scales(self.widths, self.activation, self.dtype, steps, name="pathways")(
                jnp.pad(images, ((0, 0), reach, reach, (0, 0)))
            )

        def merge(hidden):
            return self.activation(convolution("merge", self.merged, 3, steps.apart(2), self.dtype)(hidden))

        def pool(hidden):
            return pooled(hidden, steps.stride(2), steps.apart(2))

        def hidden_layer(hidden):
            hidden = self.activation(convolution("hidden", self.dense, 2, steps.apart(3), self.dtype)(hidden))
            return nn.Dropout(self.dropout, deterministic=not train)(hidden)

        def pixels(hidden):
            layer = nn.Conv(1 + self.classes, (1, 1), name="pixels", dtype=self.dtype, bias_init=mostly_background)
            return (layer(hidden).astype(jnp.float32),)

        def logits(hidden):
            shares = jax.nn.softmax(hidden[0])[..., 1:].mean(axis=(1, 2))
            return jnp.log((jax.lax.stop_gradient(shares) if train else shares) + LEAST)

        chain: list[Any] = [("pathways", pathways), ("merge", merge), ("pool", pool), ("hidden", hidden_layer)]
        return run_chain([*chain, ("pixels", pixels), ("logits", logits)], inputs, start, stop)

    def check(self, image_size: int) -> None:
        """Raises InputError where the options or the slices' size do not fit."""
        if len(self.widths) != len(KERNELS):
            raise InputError(f"--widths: found {len(self.widths)}, expected {len(KERNELS)}, one of each pathway")
        if self.grid not in (1, 2, 4, 8):
            raise InputError(f"--grid={self.grid}: expected 1, 2, 4 or 8")
        if image_size % self.grid:
            raise InputError(f"--image_size={image_size}: --grid={self.grid} expects a multiple of {self.grid}")

    def penalty(self, params: dict) -> jax.Array:
        """The model's own term of the loss: none, float32 scalar 0."""
        del params
        return jnp.float32(0)


@dataclasses.dataclass(frozen=True)
class Steps:
    """The three poolings on a grid of pixels: as far as the grid allows they take every second place.

    Where one takes every place instead, what follows looks at places twice as far apart.

    Attributes:
      grid: pixels between the middles of windows.
    """

    grid: int

    def stride(self, pooling: int) -> int:
        """Places between two results of pooling 0, 1 or 2."""
        return 2 if 2 ** (pooling + 1) <= self.grid else 1

    def apart(self, poolings: int) -> int:
        """After so many poolings, how many places lie where there would be one had all taken every second."""
        return 2**poolings // min(2**poolings, self.grid)


class Scales(nn.Module):
    """The three pathways, side by side.

    Attributes:
      widths: filters of each.
      activation: the rectifier.
      dtype: type of the arithmetic.
      steps: how far apart the poolings' results are.
    """

    widths: tuple[int, ...]
    activation: Callable[[jax.Array], jax.Array]
    dtype: str
    steps: Steps

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Their maps where all see, `dtype` [B, H, W, sum of widths], of images [B, S, S, channels]."""
        paths = zip(KERNELS, self.widths, CUT, strict=True)
        maps = [self._path(images, kernel, width, cut) for kernel, width, cut in paths]
        # A pathway's first place has its middle at half of its reach, 3 k + 4 pixels; the others begin where that of
        # 11 x 11 does. Between places lie the grid's pixels, or 4 where it is coarser.
        between = min(self.steps.grid, 4)
        middles = [(3 * kernel + 3) // 2 + cut for kernel, cut in zip(KERNELS, CUT, strict=True)]
        maps = [
            one[:, (first := (middles[0] - middle) // between) :, first:]
            for one, middle in zip(maps, middles, strict=True)
        ]
        side = min(one.shape[1] for one in maps)
        return jnp.concatenate([one[:, :side, :side] for one in maps], axis=-1)

    def _path(self, images: jax.Array, kernel: int, width: int, cut: int) -> jax.Array:
        hidden = images[:, cut : images.shape[1] - cut, cut : images.shape[2] - cut]
        for number in range(2):
            apart = self.steps.apart(number)
            hidden = convolution(f"conv_{kernel}_{number + 1}", width, kernel, apart, self.dtype)(hidden)
            hidden = pooled(self.activation(hidden), self.steps.stride(number), apart)
        return hidden


def convolution(name: str, features: int, size: int, apart: int, dtype: str) -> nn.Conv:
    """A convolution without padding whose kernel looks at places `apart` from each other."""
    return nn.Conv(
        features,
        (size, size),
        name=name,
        padding="VALID",
        kernel_dilation=(apart, apart),
        dtype=dtype,
        kernel_init=nn.initializers.he_normal(),
        conv_general_dilated=conv_general_dilated,
    )


def pooled(images: jax.Array, stride: int, apart: int) -> jax.Array:
    """The largest of 3 x 3 places, `apart` from each other, at every `stride`-th place; nothing is padded.

    Args:
      images: float [B, H, W, C].
      stride: places between results.
      apart: places between those that are compared.

    Example:
      >>> pooled(jnp.arange(25.0).reshape(1, 5, 5, 1), 2, 1)[0, ..., 0].tolist()
      [[12.0, 14.0], [22.0, 24.0]]
    """
    for axis in (1, 2):
        end = images.shape[axis] - 2 * apart
        first, second, third = (
            jax.lax.slice_in_dim(images, place, end + place, stride, axis) for place in (0, apart, 2 * apart)
        )
        images = jnp.maximum(jnp.maximum(first, second), third)
    return images
