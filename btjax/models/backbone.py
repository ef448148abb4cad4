"""What the pretrained backbones share: a trunk of named stages, the average over places, and a head.

A trunk's layers are called as in Keras: the layer `block2a_expand_conv` is `expand_conv` of the stage `block2a`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.nn.chain import run_chain
from btjax.nn.convolution import conv_general_dilated

FORMS = ("keras", "torch")
"""Whose form of a network: Keras's and torchvision's differ in padding, strides, epsilons and biases."""

Padding = str | tuple[tuple[int, int], tuple[int, int]]


@dataclasses.dataclass(frozen=True, eq=False)
class Layers:
    """Makes the convolutions and normalisations of one pass through a trunk.

    Attributes:
      dtype: type of the arithmetic.
      epsilon: what normalisation adds to the variance.
      momentum: how much of its old value a running statistic keeps at each step.
      kernel_init: of the convolutions.
      bias: whether convolutions have one.
      scaled: whether normalisation has a scale.
      train: whether stochastic depth is live.
      statistics: whether normalisation uses the batch's own statistics, and updates the running ones.
      counted: bool [B], False for rows that are padding, which the batch's statistics leave out; or None.
    """

    dtype: str
    epsilon: float
    momentum: float = 0.99
    kernel_init: Callable = nn.initializers.glorot_uniform()  # noqa: RUF009, a function
    bias: bool = False
    scaled: bool = True
    train: bool = False
    statistics: bool = False
    counted: jax.Array | None = None

    def convolution(
        self,
        hidden: jax.Array,
        name: str,
        features: int,
        size: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: Padding = "SAME",
        depthwise: bool = False,
        bias: bool | None = None,
    ) -> jax.Array:
        """A convolution of `hidden` [B, H, W, C]; with `depthwise` each channel has a kernel of its own."""
        layer = nn.Conv(
            features,
            (size, size) if isinstance(size, int) else size,
            stride,
            padding,
            name=name,
            feature_group_count=features if depthwise else 1,
            use_bias=self.bias if bias is None else bias,
            dtype=self.dtype,
            # By channel, a depthwise kernel's fan-out is its fan-in; Flax's fans count all channels.
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")
            if depthwise
            else self.kernel_init,
            conv_general_dilated=conv_general_dilated,
        )
        return layer(hidden)

    def normalisation(self, hidden: jax.Array, name: str) -> jax.Array:
        """Batch normalisation of `hidden` [B, H, W, C], in float32."""
        layer = nn.BatchNorm(
            use_running_average=not self.statistics,
            momentum=self.momentum,
            epsilon=self.epsilon,
            use_scale=self.scaled,
            dtype=jnp.float32,
            name=name,
        )
        mask = None if self.counted is None else self.counted[:, None, None, None]
        return layer(hidden.astype(jnp.float32), mask=mask).astype(hidden.dtype)


class Backbone(nn.Module):
    """A trunk and a head: the average over places, a dense layer if asked for, dropout, the logits."""

    form: str = option(
        "keras", "whose form of the network, which the weights decide: keras, or torch for torchvision's", choices=FORMS
    )
    fixed_statistics: bool = option(
        True,
        "batch normalisation uses the statistics that the weights come with in training too; else those of each batch, "
        "wherever something below trains",
    )
    dense: int = option(0, "units of a dense layer before the logits; 0 leaves it out", minimum=0)
    dropout: float = option(0.2, "share of the logits' inputs dropped in training", minimum=0, maximum=0.99)
    dtype: str = option("float32", "type of the arithmetic; parameters stay float32", choices=("float32", "bfloat16"))
    classes: int = 3
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    frozen = ()
    """Names of the sub-trees of `params` that training must not move."""

    smallest: ClassVar[int] = 32
    """The side of the smallest slices that the trunk takes, in pixels, as in Keras."""

    @property
    def trunk(self) -> tuple[str, ...]:
        """The names of the trunk's stages, in order."""
        raise NotImplementedError

    @property
    def single(self) -> tuple[str, ...]:
        """The stages of the trunk that are one affine layer and the activation, or none."""
        raise NotImplementedError

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the stages, in order."""
        return (*self.trunk, "average", *["dense"] * bool(self.dense), "logits")

    @property
    def composite(self) -> tuple[str, ...]:
        """The stages that are more than one affine layer and the activation."""
        return tuple(name for name in self.trunk if name not in self.single)

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
            stage's output.
          train: whether dropout and stochastic depth are live (they need the random stream "dropout") and, without
            `fixed_statistics`, batch normalisation uses the batch's own statistics (and updates the running ones: make
            "batch_stats" mutable).
          counted: bool [B], False for rows that are padding, which the batch's own statistics leave out; None for none.
          start: the stage, of `layers`, after which to begin.
          stop: the stage whose output to return instead of the logits.

        Returns:
          float32 [B, classes]; with `stop`, that stage's output.
        """

        def dense(hidden):
            return self.activation(nn.Dense(self.dense, name="dense", dtype=self.dtype, kernel_init=glorot)(hidden))

        def logits(hidden):
            hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
            hidden = nn.Dense(self.classes, name="logits", dtype=self.dtype, kernel_init=glorot)(hidden)
            return hidden.astype(jnp.float32)

        glorot = nn.initializers.glorot_uniform()
        head = {"average": lambda hidden: hidden.mean(axis=(1, 2)), "dense": dense, "logits": logits}
        chain = self.trunk_stages(train=train, counted=counted)
        chain += [(name, head[name]) for name in self.layers[len(chain) :]]
        return run_chain(chain, inputs.astype(self.dtype), start, stop)

    def trunk_stages(self, *, train: bool, counted: jax.Array | None) -> list[tuple[str, Callable[[Any], Any]]]:
        """The trunk's stages with their names, in order; arguments as in `__call__`."""
        layers = self.make_layers(train=train, statistics=train and not self.fixed_statistics, counted=counted)
        return [(name, self.stage(name, layers)) for name in self.trunk]

    def make_layers(self, **state: Any) -> Layers:
        """The trunk's kind of layers; `state` is a pass's train, statistics and counted."""
        raise NotImplementedError

    def stage(self, name: str, layers: Layers) -> Callable[[Any], Any]:
        """The function of one of the trunk's stages; its variables lie under its name."""
        raise NotImplementedError

    def check(self, image_size: int) -> None:
        """Raises InputError where slices of `image_size` pixels are below what the trunk takes."""
        if image_size < self.smallest:
            raise InputError(
                f"--image_size={image_size}: expected at least {self.smallest}, the smallest that "
                f"{type(self).__name__} takes"
            )

    def penalty(self, params: dict) -> jax.Array:
        """The model's own term of the loss: none, float32 scalar."""
        del params
        return jnp.float32(0)


class NormalisedConvolution(nn.Module):
    """A convolution `conv`, batch normalisation `bn` and the activation.

    Attributes:
      features: filters.
      size: side of the kernel.
      activation: the function after.
      stride: pixels from one window to the next.
      padding: as in `flax.linen.Conv`.
    """

    features: int
    size: int
    activation: Callable[[jax.Array], jax.Array]
    stride: int = 1
    padding: Padding = "SAME"

    @nn.compact
    def __call__(self, hidden: jax.Array, layers: Layers) -> jax.Array:
        """[B, H / stride, W / stride, features] of [B, H, W, C]."""
        hidden = layers.convolution(hidden, "conv", self.features, self.size, stride=self.stride, padding=self.padding)
        return self.activation(layers.normalisation(hidden, "bn"))


def symmetric(size: int) -> Padding:
    """PyTorch's usual padding of a kernel: half its side on every edge, whatever the stride."""
    return ((size // 2, size // 2), (size // 2, size // 2))
