"""A classifier that outlines the tumour first, and looks where the outline is.

An encoder-decoder gives class logits of pixels, as `btjax.models.segmenter` does. The slice's class comes from the
features of the pixels that the network takes for tumour: the smallest map of the encoder, the last of the decoder and
the pixels' own classes are averaged with the probability of tumour as weight. Masks train the outline; they are not
needed to predict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import linen as nn

from btjax.base.options import option
from btjax.models.segmenter import Segmenter, pixel_logits, tumour_probability
from btjax.nn.chain import Layer, run_chain
from btjax.nn.convolution import conv_general_dilated

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST = 1e-3
"""Added to each pixel's probability of tumour: where nothing is taken for tumour, every place weighs the same."""


class JointNetwork(Segmenter):
    """A segmenter with a classifier on what it outlines.

    The stages are those of `Segmenter` up to the pixel logits, here `pixels`; then `attend`, the features of each place
    of the smallest map times the place's share of the tumour; `pool`, their sum over places; and `logits`. So a class
    activation map of `attend` shows how much each place says for a class.
    """

    features: int = option(128, "features of the encoder's smallest map that the classes are told by", minimum=1)
    head_dropout: float = option(
        0.3, "share of the pooled features dropped in training", minimum=0, maximum=0.99
    )  # fmt: skip

    keeps_smallest = True

    @property
    def layers(self) -> tuple[str, ...]:
        """The stages' names, in order."""
        return (*self.levels, "pixels", "attend", "pool", "logits")

    @property
    def composite(self) -> tuple[str, ...]:
        """The stages with several convolutions, and that of the attention."""
        single = ("pixels", "attend", "pool")
        return (*(name for name in super().composite if name not in single), "attend")

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
        """The logits of the slice's class.

        Args:
          inputs: float32 [B, S, S, channels]; with `start`, that stage's output.
          train: as in `Segmenter`.
          counted: as in `Segmenter`.
          start: the stage, of `layers`, after which to begin.
          stop: the stage whose output to return instead of the logits.

        Returns:
          float32 [B, classes]; with `stop`, that stage's output: of `pixels` a tuple whose first element is the class
          logits of pixels, float32 [B, S / 2, S / 2, 1 + classes], the background first.

        Raises:
          InputError: images that cannot be halved so often.
        """
        if start is None:
            self.check(inputs.shape[1])
            inputs = inputs.astype(self.dtype)
        pixels = pixel_logits(self.classes, self.dtype, "pixels")
        rest = class_stages(self.features, self.head_dropout, self.classes, self.activation, self.dtype, train=train)
        chain = [*self.stages(train, counted), ("pixels", lambda hidden: (pixels(hidden[0]), hidden)), *rest]
        return run_chain(chain, inputs, start, stop)


def class_stages(
    features: int,
    dropout: float,
    classes: int,
    activation: Callable[[jax.Array], jax.Array],
    dtype: str,
    *,
    train: bool,
) -> list[Layer]:
    """The stages `attend`, `pool` and `logits`, which tell the class by what `pixels` takes for tumour.

    Args:
      features: of each place of the smallest map.
      dropout: share of the pooled features dropped in training.
      classes: of the logits.
      activation: the function after the features.
      dtype: type of the arithmetic.
      train: whether dropout is live.

    Returns:
      Stages that begin with (pixel logits, (the decoder's map, (the encoder's smallest map,))).
    """

    def attend(hidden):
        logits, (images, (smallest,)) = hidden
        layer = nn.Conv(features, (1, 1), name="attend", dtype=dtype, conv_general_dilated=conv_general_dilated)
        return attended(logits, images, activation(layer(smallest)))

    def pool(hidden):
        return nn.Dropout(dropout, deterministic=not train)(hidden.sum(axis=(1, 2)))

    def logits(hidden):
        return nn.Dense(classes, name="logits")(hidden)

    return [("attend", attend), ("pool", pool), ("logits", logits)]


def attended(logits: jax.Array, images: jax.Array, smallest: jax.Array) -> jax.Array:
    """What is known of each place, times the place's share of the tumour.

    A pixel's weight is its probability of any tumour, and `LEAST`; weights of a slice are divided by their sum.

    Args:
      logits: float32 [B, H, W, 1 + classes], the background first.
      images: float [B, H, W, F], the decoder's map.
      smallest: float [B, h, w, D], whose sides divide H and W.

    Returns:
      float32 [B, h, w, D + F + classes]; the sum over places is a weighted mean of features, of the decoder's map and
      of the pixels' classes.
    """
    count, height, width, _ = logits.shape
    rows, columns = smallest.shape[1:3]
    weights = tumour_probability(logits) + LEAST
    weights = (weights / weights.sum(axis=(1, 2), keepdims=True))[..., None]
    fine = jnp.concatenate([images.astype(jnp.float32), jax.nn.softmax(logits[..., 1:])], axis=-1) * weights

    def of_places(values: jax.Array) -> jax.Array:
        blocks = values.reshape(count, rows, height // rows, columns, width // columns, values.shape[-1])
        return blocks.sum(axis=(2, 4))

    return jnp.concatenate([smallest.astype(jnp.float32) * of_places(weights), of_places(fine)], axis=-1)
