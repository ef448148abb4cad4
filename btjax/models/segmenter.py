"""A small U-Net that outlines tumours: class logits of pixels, at half the slice's resolution.

The form is that of Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image segmentation",
MICCAI 2015: channels doubled at each halving, and a decoder that joins the encoder's map of each size. What differs
saves time on a CPU or is usual today:

- The decoder ends at half the slice's size, a quarter of the pixels.
- There is one convolution at full size and at each size of the decoder, whose maps have half the encoder's channels.
- The decoder goes up by a 1x1 convolution and nearest-neighbour upsampling.
- Convolutions keep the size ("SAME"), have no bias and are followed by batch normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.nn.chain import Layer, run_chain
from btjax.nn.convolution import conv_general_dilated
from btjax.nn.pooling import max_pool

MOMENTUM = 0.9
"""How much of its old value a running statistic keeps at each step: low, since runs of this network are short."""

EPSILON = 1e-3
"""What batch normalisation adds to the variance."""

RARITY = 0.05
"""The probability of any tumour that a fresh network gives a pixel: near the truth, which saves the first steps."""


class Segmenter(nn.Module):
    """An encoder-decoder with skip connections, from slices to class logits of pixels.

    A chain of named stages: `encode_1` at full size, `encode_2` to `encode_{halvings + 1}` at a half, a quarter and so
    on, `decode_{halvings - 1}` to `decode_1` back to a half, `logits`. Between the stages travel the map and, beside
    it, the encoder's maps that the decoder still needs.
    """

    width: int = option(16, "filters at full size; they are doubled at each halving", minimum=1)
    halvings: int = option(4, "how often the encoder halves a slice", minimum=1, maximum=8)
    convolutions: int = option(2, "3x3 convolutions at each size of the encoder below the full one", minimum=1)
    dropout: float = option(0.0, "share of the smallest map's channels dropped in training", minimum=0, maximum=0.99)
    dtype: str = option("float32", "type of the arithmetic; parameters stay float32", choices=("float32", "bfloat16"))
    classes: int = 3
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    frozen = ()
    """Names of the sub-trees of `params` that training must not move."""

    keeps_smallest = False
    """Whether the encoder's smallest map travels on beside the decoder's, which ends with (map, (smallest map,))."""

    @property
    def levels(self) -> tuple[str, ...]:
        """The names of the encoder's and the decoder's stages, in order."""
        encoder = (f"encode_{place}" for place in range(1, self.halvings + 2))
        decoder = (f"decode_{place}" for place in range(self.halvings - 1, 0, -1))
        return (*encoder, *decoder)

    @property
    def layers(self) -> tuple[str, ...]:
        """The stages' names, in order."""
        return (*self.levels, "logits")

    @property
    def composite(self) -> tuple[str, ...]:
        """The stages with several convolutions."""
        single = ("encode_1", "logits") if self.convolutions > 1 else ("encode", "logits")
        return tuple(name for name in self.layers if not name.startswith(single))

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
        """The logits of background and classes, of every pixel.

        Args:
          inputs: float32 [B, S, S, channels]; with `start`, that stage's output.
          train: whether dropout is live (it needs the random stream "dropout") and batch normalisation uses the batch's
            own statistics (and updates the running ones: make "batch_stats" mutable).
          counted: bool [B], False for rows that are padding, which the batch's own statistics leave out; None for none.
          start: the stage, of `layers`, after which to begin.
          stop: the stage whose output to return instead of the logits.

        Returns:
          float32 [B, S / 2, S / 2, 1 + classes], the background first; with `stop`, that stage's output.

        Raises:
          InputError: images that cannot be halved so often.
        """
        if start is None:
            self.check(inputs.shape[1])
            inputs = inputs.astype(self.dtype)

        return run_chain(
            [*self.stages(train, counted), ("logits", pixel_logits(self.classes, self.dtype, "logits"))],
            inputs,
            start,
            stop,
        )

    def stages(self, train: bool, counted: jax.Array | None) -> list[Layer]:
        """The stages of `levels`."""
        return [(name, self._stage(name, train, counted)) for name in self.levels]

    def _stage(self, name: str, train: bool, counted: jax.Array | None) -> Callable[[Any], Any]:
        """A stage of the encoder or decoder: from (map, skips) to (map, skips), or the map alone before the logits."""
        kind, place = name.split("_")[0], int(name.split("_")[1])
        last = self.halvings + 1

        def encode(hidden):
            images, skips = (hidden, ()) if place == 1 else hidden
            images = images if place == 1 else max_pool(images)
            images = block(images)
            if place == last:
                images = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)(images)
                skips = (images, *skips) if self.keeps_smallest else skips
                return (images, skips) if skips else images
            # The decoder ends at half size: the map at full size is not joined.
            return images, (*skips, images) if place > 1 else ()

        def decode(hidden):
            images, skips = hidden
            images = block(images, skips[-1])
            return (images, skips[:-1]) if skips[:-1] else images

        def block(images, skip=None):
            convolutions = self.convolutions if kind == "encode" and place > 1 else 1
            layer = Block(self.width * 2 ** (place - 1), convolutions, self.activation, self.dtype, name=name)
            return layer(images, skip, train, counted)

        return encode if kind == "encode" else decode

    def check(self, image_size: int) -> None:
        """Raises InputError where slices of `image_size` pixels cannot be halved so often."""
        if image_size % 2**self.halvings:
            raise InputError(
                f"--image_size={image_size}: --halvings={self.halvings} expects a multiple of {2**self.halvings}"
            )

    def penalty(self, params: dict) -> jax.Array:
        """The model's own term of the loss: none, float32 scalar 0."""
        del params
        return jnp.float32(0)


def pixel_logits(classes: int, dtype: str, name: str) -> Callable[[jax.Array], jax.Array]:
    """A stage from a decoder's map [B, H, W, F] to the logits of background and classes, float32 [B, H, W, 1 + C]."""

    def logits(hidden):
        layer = nn.Conv(
            1 + classes,
            (1, 1),
            name=name,
            dtype=dtype,
            kernel_init=nn.initializers.glorot_uniform(),
            bias_init=mostly_background,
            conv_general_dilated=conv_general_dilated,
        )
        return layer(hidden).astype(jnp.float32)

    return logits


def tumour_probability(logits: jax.Array) -> jax.Array:
    """The probability of any tumour, float32 [...], of pixel logits [..., 1 + classes] with the background first."""
    return jax.nn.sigmoid(jax.nn.logsumexp(logits[..., 1:], axis=-1) - logits[..., 0])


def mostly_background(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Biases of the logits, float32 [1 + classes], under which tumours of all classes together have `RARITY`."""
    del key
    return jnp.zeros(shape, dtype).at[0].set(jnp.log((shape[0] - 1) * (1 - RARITY) / RARITY))


class Block(nn.Module):
    """Convolutions with batch normalisation and the activation; in the decoder after going up and joining a skip.

    Attributes:
      features: filters of each convolution.
      convolutions: how many there are.
      activation: the function after each.
      dtype: type of the arithmetic.
    """

    features: int
    convolutions: int
    activation: Callable[[jax.Array], jax.Array]
    dtype: str

    @nn.compact
    def __call__(self, images: jax.Array, skip: jax.Array | None, train: bool, counted: jax.Array | None) -> jax.Array:
        """`dtype` [B, S, S, features] of images [B, S, S, channels], or of [B, S / 2, S / 2, channels] with a skip."""
        if skip is not None:
            images = self._convolution("up", 1)(images)
            images = jnp.concatenate([jnp.repeat(jnp.repeat(images, 2, axis=1), 2, axis=2), skip], axis=-1)
        for index in range(1, self.convolutions + 1):
            images = self._convolution(f"conv_{index}", 3)(images)
            images = self.activation(self._normalised(f"batch_norm_{index}", images, train, counted))
        return images

    def _convolution(self, name: str, size: int) -> nn.Conv:
        return nn.Conv(
            self.features,
            (size, size),
            name=name,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.he_normal(),
            conv_general_dilated=conv_general_dilated,
        )

    def _normalised(self, name: str, images: jax.Array, train: bool, counted: jax.Array | None) -> jax.Array:
        """Batch normalisation in float32; rows that are padding are left out of the batch's statistics."""
        layer = nn.BatchNorm(
            use_running_average=not train, momentum=MOMENTUM, epsilon=EPSILON, name=name, dtype=jnp.float32
        )
        mask = None if counted is None else counted[:, None, None, None]
        return layer(images.astype(jnp.float32), mask=mask).astype(images.dtype)
