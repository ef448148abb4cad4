"""InceptionV3 (Szegedy, Vanhoucke, Ioffe, Shlens and Wojna 2016, "Rethinking the Inception architecture").

Stages have the names of Keras's joins, `mixed0` to `mixed10`. torchvision's form (`--form=torch`) has a scale in its
normalisation, and counts the zeros around a map in its average pooling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from btjax.models.backbone import Backbone, Layers, NormalisedConvolution


class Step(NamedTuple):
    """A convolution of a branch, with normalisation and the activation.

    Attributes:
      features: filters.
      rows: of the kernel.
      columns: of the kernel.
    """

    features: int
    rows: int = 1
    columns: int = 1


class Mixed(NamedTuple):
    """A block of branches side by side, joined by channels.

    Attributes:
      branches: of steps; a pair of steps in the place of one forks the branch.
      pooled: filters of the 1x1 convolution after the block's average pooling; 0 where the block halves the map: then
        the last step of each branch has stride 2, and the pooling is max.
    """

    branches: tuple[tuple[Step | tuple[Step, Step], ...], ...]
    pooled: int


def _seven(inside: int) -> Mixed:
    """A block of 7x7 convolutions in two parts, with `inside` filters between."""
    row, column = Step(inside, 1, 7), Step(inside, 7, 1)
    single = (Step(inside), row, Step(192, 7, 1))
    double = (Step(inside), column, row, column, Step(192, 1, 7))
    return Mixed(((Step(192),), single, double), 192)


def _thirty_five(pooled: int) -> Mixed:
    return Mixed(
        ((Step(64),), (Step(48), Step(64, 5, 5)), (Step(64), Step(96, 3, 3), Step(96, 3, 3))),
        pooled,
    )


_FORK = (Step(384, 1, 3), Step(384, 3, 1))
_EIGHT = Mixed(((Step(320),), (Step(384), _FORK), (Step(448), Step(384, 3, 3), _FORK)), 192)

BLOCKS = (
    *(_thirty_five(pooled) for pooled in (32, 64, 64)),
    Mixed(((Step(384, 3, 3),), (Step(64), Step(96, 3, 3), Step(96, 3, 3))), 0),
    *(_seven(inside) for inside in (128, 160, 160, 192)),
    Mixed(((Step(192), Step(320, 3, 3)), (Step(192), Step(192, 1, 7), Step(192, 7, 1), Step(192, 3, 3))), 0),
    _EIGHT,
    _EIGHT,
)
"""The blocks `mixed0` to `mixed10`."""

_STEM = {"conv1": (32, 3, 2, "VALID"), "conv2": (32, 3, 1, "VALID"), "conv3": (64, 3, 1, "SAME"), "pool1": None}
_STEM |= {"conv4": (80, 1, 1, "VALID"), "conv5": (192, 3, 1, "VALID"), "pool2": None}


class Inception(Backbone):
    """Five convolutions and two max pools, eleven blocks of branches; then the head.

    Stages: `conv1`, ..., `pool2`, `mixed0`, ..., `mixed10`, `average`, `logits`. `blocks` and
    `divisor`, of all filters, are InceptionV3's, or smaller ones in a test.
    """

    blocks: tuple[Mixed, ...] = BLOCKS
    divisor: int = 1

    @property
    def single(self) -> tuple[str, ...]:
        """The stages of the trunk that are one affine layer and the activation, or none."""
        return tuple(_STEM)

    smallest = 75
    """The side of the smallest slices that the trunk takes, in pixels, as in Keras."""

    @property
    def trunk(self) -> tuple[str, ...]:
        """The names of the trunk's stages, in order."""
        return (*_STEM, *(f"mixed{number}" for number in range(len(self.blocks))))

    def make_layers(self, **state: Any) -> Layers:
        """Convolutions without biases; Keras's normalisation has no scale."""
        keras = self.form == "keras"
        return Layers(self.dtype, 1e-3, momentum=0.99 if keras else 0.9, scaled=not keras, **state)

    def stage(self, name: str, layers: Layers) -> Callable[[Any], Any]:
        """The function of one of the trunk's stages."""
        if name.startswith("pool"):
            return _max_pool
        if name.startswith("conv"):
            features, size, stride, padding = _STEM[name]
            features //= self.divisor
            stage: Any = NormalisedConvolution(features, size, self.activation, stride, padding, name=name)
        else:
            block = self.blocks[int(name.removeprefix("mixed"))]
            stage = Branches(block, self.divisor, self.form == "torch", self.activation, name=name)
        return lambda hidden: stage(hidden, layers)


class Branches(nn.Module):
    """The branches of a block, joined by channels; layers are numbered as Keras makes them, branch by branch.

    Attributes:
      block: the branches.
      divisor: of all filters.
      padded: whether average pooling counts the zeros around the map.
      activation: the function after each normalisation.
    """

    block: Mixed
    divisor: int
    padded: bool
    activation: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, inputs: jax.Array, layers: Layers) -> jax.Array:
        """[B, h, w, features] of [B, H, W, C]."""
        made = 0

        def convolved(hidden, step, halves=False):
            nonlocal made
            made += 1
            form = {"stride": 2, "padding": "VALID"} if halves else {}
            size, features = (step.rows, step.columns), step.features // self.divisor
            hidden = layers.convolution(hidden, f"{made}_conv", features, size, **form)
            return self.activation(layers.normalisation(hidden, f"{made}_bn"))

        parts, halves = [], not self.block.pooled
        for branch in self.block.branches:
            hidden = inputs
            for step in branch:
                if isinstance(step, Step):
                    hidden = convolved(hidden, step, halves and step is branch[-1])
                else:
                    hidden = jnp.concatenate([convolved(hidden, one) for one in step], axis=-1)
            parts.append(hidden)
        if halves:
            parts.append(_max_pool(inputs))
        else:
            parts.append(convolved(self._average(inputs), Step(self.block.pooled)))
        return jnp.concatenate(parts, axis=-1)

    def _average(self, inputs: jax.Array) -> jax.Array:
        """The mean of 3x3 pixels; at the border of those that are there, unless the form counts zeros around them."""
        ones = jnp.ones_like(inputs[:1])
        return _sums(inputs) / (9.0 if self.padded else _sums(ones))


def _max_pool(hidden: jax.Array) -> jax.Array:
    return nn.max_pool(hidden, (3, 3), (2, 2))


def _sums(inputs: jax.Array) -> jax.Array:
    """The sums of 3x3 pixels, of the same size."""
    return nn.pool(inputs, 0.0, jax.lax.add, (3, 3), (1, 1), "SAME")
