"""EfficientNet-B0 to B7 (Tan and Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks").

One baseline, scaled in width and depth together. Stages and layers have Keras's names; the inputs' rescaling and
normalisation, which Keras has inside the model, is `Preprocessing.scale`: torch for the published weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from btjax.base.options import option
from btjax.models.backbone import Backbone, Layers, NormalisedConvolution, Padding, symmetric


class Scaling(NamedTuple):
    """How a version differs from the baseline.

    Attributes:
      width: factor of the filters.
      depth: factor of the blocks.
      image_size: that the published weights were trained at, in pixels.
      dropout: before its ImageNet logits.
    """

    width: float
    depth: float
    image_size: int
    dropout: float


VERSIONS = {
    "b0": Scaling(1.0, 1.0, 224, 0.2),
    "b1": Scaling(1.0, 1.1, 240, 0.2),
    "b2": Scaling(1.1, 1.2, 260, 0.3),
    "b3": Scaling(1.2, 1.4, 300, 0.3),
    "b4": Scaling(1.4, 1.8, 380, 0.4),
    "b5": Scaling(1.6, 2.2, 456, 0.4),
    "b6": Scaling(1.8, 2.6, 528, 0.5),
    "b7": Scaling(2.0, 3.1, 600, 0.5),
}
"""The published versions by name."""


class Group(NamedTuple):
    """Blocks of the baseline that follow each other; the first has the stride and changes the filters.

    Attributes:
      size: side of the depthwise kernels.
      blocks: how many, before scaling.
      features: filters of the output, before scaling.
      expansion: how many times more filters a block has inside.
      stride: of the first block.
    """

    size: int
    blocks: int
    features: int
    expansion: int
    stride: int


BASELINE = (
    Group(3, 1, 16, 1, 1),
    Group(3, 2, 24, 6, 2),
    Group(5, 2, 40, 6, 2),
    Group(3, 3, 80, 6, 2),
    Group(5, 3, 112, 6, 1),
    Group(5, 4, 192, 6, 2),
    Group(3, 1, 320, 6, 1),
)
"""EfficientNet-B0's groups of blocks."""

_STEM, _TOP = 32, 1280  # filters of the first and of the last convolution, before scaling
_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")


def scaled_filters(filters: int, width: float) -> int:
    """Filters times `width`, rounded to a multiple of 8, and not below 90% of it.

    Example:
      >>> scaled_filters(24, 1.2), scaled_filters(1280, 1.2)
      (32, 1536)
    """
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class EfficientNet(Backbone):
    """A stem, inverted residual blocks with squeeze-and-excitation, a 1x1 convolution; then the head.

    Stages: `stem`, `block1a`, `block2a`, `block2b`, ..., `top`, `average`, `logits`. `groups` are `BASELINE`, or fewer
    in a test.
    """

    version: str = option("b0", "which of the scaled networks, b0 to b7", choices=tuple(VERSIONS))
    drop_path: float = option(
        0.2,
        "stochastic depth: how often the last residual block is skipped in training; the first never is, and those "
        "between in proportion to their place",
        minimum=0,
        maximum=0.99,
    )
    groups: tuple[Group, ...] = BASELINE
    activation: Callable[[jax.Array], jax.Array] = nn.swish

    @property
    def single(self) -> tuple[str, ...]:
        """The stages of the trunk that are one affine layer and the activation."""
        return ("stem", "top")

    @property
    def scaling(self) -> Scaling:
        """Of the version."""
        return VERSIONS[self.version]

    @property
    def blocks(self) -> dict[str, dict[str, Any]]:
        """The fields of each stage's `Block`."""
        width, depth = self.scaling.width, self.scaling.depth
        counts = [math.ceil(group.blocks * depth) for group in self.groups]
        made, channels = {}, scaled_filters(_STEM, width)
        for number, (group, count) in enumerate(zip(self.groups, counts, strict=True), 1):
            for place in range(count):
                name = f"block{number}{chr(ord('a') + place)}"
                made[name] = dict(
                    features=scaled_filters(group.features, width),
                    inside=channels * group.expansion,
                    squeezed=max(1, channels // 4),
                    size=group.size,
                    stride=1 if place else group.stride,
                    drop_path=self.drop_path * len(made) / sum(counts),
                    padding=self._padding(group.size),
                )
                channels = scaled_filters(group.features, width)
        return made

    @property
    def trunk(self) -> tuple[str, ...]:
        """The names of the trunk's stages, in order."""
        return ("stem", *self.blocks, "top")

    def make_layers(self, **state: Any) -> Layers:
        """Convolutions without biases; Keras's epsilon is torchvision's of B5 to B7 alone."""
        keras = self.form == "keras"
        large = self.version in ("b5", "b6", "b7")
        return Layers(
            self.dtype,
            1e-3 if keras or large else 1e-5,
            momentum=0.99 if keras or large else 0.9,
            kernel_init=_FAN_OUT,
            **state,
        )

    def stage(self, name: str, layers: Layers) -> Callable[[Any], Any]:
        """The function of one of the trunk's stages."""
        if name == "stem":
            features = scaled_filters(_STEM, self.scaling.width)
            stage = NormalisedConvolution(features, 3, self.activation, 2, self._padding(3), name=name)
        elif name == "top":
            stage = NormalisedConvolution(scaled_filters(_TOP, self.scaling.width), 1, self.activation, name=name)
        else:
            stage = Block(**self.blocks[name], activation=self.activation, name=name)
        return lambda hidden: stage(hidden, layers)

    def _padding(self, size: int) -> Padding:
        """Keras pads an even image by one less on its first edges, which "SAME" does too."""
        return "SAME" if self.form == "keras" else symmetric(size)


class Block(nn.Module):
    """An inverted residual block (MBConv): expand, depthwise convolution, squeeze-and-excitation, project.

    Attributes:
      features: filters of the output.
      inside: filters between; as many as the input has where the block does not expand.
      squeezed: units of the squeeze.
      size: side of the depthwise kernel.
      stride: of the depthwise convolution.
      drop_path: how often the block is skipped in training, by slice.
      padding: of the depthwise convolution.
      activation: the function after each normalisation but the last.
    """

    features: int
    inside: int
    squeezed: int
    size: int
    stride: int
    drop_path: float
    padding: Padding
    activation: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, inputs: jax.Array, layers: Layers) -> jax.Array:
        """[B, H / stride, W / stride, features] of [B, H, W, C]."""
        hidden = inputs
        if self.inside != inputs.shape[-1]:
            hidden = layers.convolution(hidden, "expand_conv", self.inside, 1)
            hidden = self.activation(layers.normalisation(hidden, "expand_bn"))
        hidden = layers.convolution(
            hidden, "dwconv", self.inside, self.size, stride=self.stride, padding=self.padding, depthwise=True
        )
        hidden = self.activation(layers.normalisation(hidden, "bn"))
        squeezed = hidden.mean(axis=(1, 2), keepdims=True)
        squeezed = self.activation(layers.convolution(squeezed, "se_reduce", self.squeezed, 1, bias=True))
        hidden *= nn.sigmoid(layers.convolution(squeezed, "se_expand", self.inside, 1, bias=True))
        hidden = layers.normalisation(layers.convolution(hidden, "project_conv", self.features, 1), "project_bn")
        if self.stride == 1 and self.features == inputs.shape[-1]:
            dropped = nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3), deterministic=not layers.train)
            return dropped(hidden) + inputs
        return hidden
