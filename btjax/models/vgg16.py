"""VGG16 (Simonyan and Zisserman 2015) with the paper's transfer head (section 4.3; Figure 17; Table 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.nn.chain import run_chain
from btjax.nn.convolution import conv_general_dilated
from btjax.nn.pooling import max_pool

CONVOLUTIONS = {
    f"block{block}_conv{index}": width
    for block, (count, width) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1)
    for index in range(1, count + 1)
}
"""The 13 convolutions of the base, by Keras's names, in order, with their filters."""

TOP = {"fc1": 4096, "fc2": 4096, "predictions": 1000}
"""The dense layers of the ImageNet classifier, by Keras's names, with their units."""


class VGG16(nn.Module):
    """Five blocks of 3x3 convolutions with ReLU, each ended by 2x2 max pooling; then a head.

    The head is the paper's (Dense(128), Dense(3); how it flattens and its activation are not in the text), or
    ImageNet's own with the published dense layers. Layers have Keras's names.
    """

    pooling: str = option(
        "flatten", "how block5_pool becomes a vector: flatten, or average over places", choices=("flatten", "average")
    )
    dense: int = option(128, "units of the head's first dense layer; 0 leaves it out", minimum=0)
    dropout: float = option(0.0, "share of the head's hidden units dropped in training", minimum=0, maximum=0.99)
    dtype: str = option("float32", "type of the arithmetic; parameters stay float32", choices=("float32", "bfloat16"))
    classes: int = 3
    imagenet_top: bool = False
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    composite = ()
    """Names of the layers that are more than one affine layer and the activation."""

    frozen = ()
    """Names of the sub-trees of `params` that training must not move."""

    @property
    def trunk(self) -> tuple[str, ...]:
        """The names of the convolutions, with their activation, and of the pools, in order."""
        names = list(CONVOLUTIONS)
        for block in range(5, 0, -1):
            last = max(place for place, name in enumerate(names) if name.startswith(f"block{block}_"))
            names.insert(last + 1, f"block{block}_pool")
        return tuple(names)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the chain's layers, in order; convolutions and dense layers with their activation."""
        if self.imagenet_top:
            return (*self.trunk, "flatten", *TOP)
        return (*self.trunk, self.pooling, *["dense"] * bool(self.dense), "logits")

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
        """The class logits.

        Args:
          inputs: float32 [B, S, S, 3], scaled as the weights expect (`Preprocessing.scale`); with `start`, that
            layer's output.
          train: whether dropout is live; it then needs the random stream "dropout".
          counted: bool [B], as in `btjax.nn.network`; without effect, since no layer looks across the batch.
          start: the layer, of `layers`, after which to begin.
          stop: the layer whose output to return instead of the logits.

        Returns:
          float32 [B, classes] ([B, 1000] with `imagenet_top`); with `stop`, that layer's output.
        """
        head = {
            "flatten": lambda hidden: hidden.reshape(hidden.shape[0], -1),
            "average": lambda hidden: hidden.mean(axis=(1, 2)),
            "dense": lambda hidden: nn.Dropout(self.dropout, deterministic=not train)(
                self.activation(self._dense("dense", self.dense, hidden))
            ),
            "logits": lambda hidden: self._dense("logits", self.classes, hidden).astype(jnp.float32),
            "fc1": lambda hidden: self.activation(self._dense("fc1", TOP["fc1"], hidden)),
            "fc2": lambda hidden: self.activation(self._dense("fc2", TOP["fc2"], hidden)),
            "predictions": lambda hidden: self._dense("predictions", TOP["predictions"], hidden).astype(jnp.float32),
        }
        chain = self.trunk_stages(train=train, counted=counted)
        chain += [(name, head[name]) for name in self.layers[len(chain) :]]
        return run_chain(chain, inputs.astype(self.dtype), start, stop)

    def trunk_stages(self, *, train: bool, counted: jax.Array | None) -> list[tuple[str, Callable[[Any], Any]]]:
        """The layers of `trunk` with their names; training changes none of them."""
        del train, counted
        return [(name, max_pool if name.endswith("_pool") else self._convolution(name)) for name in self.trunk]

    def _convolution(self, name: str) -> Callable[[jax.Array], jax.Array]:
        def convolution(hidden):
            layer = nn.Conv(
                CONVOLUTIONS[name],
                (3, 3),
                name=name,
                dtype=self.dtype,
                kernel_init=nn.initializers.glorot_uniform(),
                conv_general_dilated=conv_general_dilated,
            )
            return self.activation(layer(hidden))

        return convolution

    def _dense(self, name: str, units: int, hidden: jax.Array) -> jax.Array:
        glorot = nn.initializers.glorot_uniform()
        return nn.Dense(units, name=name, dtype=self.dtype, kernel_init=glorot)(hidden)

    def check(self, image_size: int) -> None:
        """Raises InputError where slices of `image_size` pixels do not last through the five pools."""
        if image_size < 32:
            raise InputError(f"--image_size={image_size}: expected at least 32, which five pools halve to 1")

    def penalty(self, params: dict) -> jax.Array:
        """The model's own term of the loss: none, float32 scalar."""
        del params
        return jnp.float32(0)
