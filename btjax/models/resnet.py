"""ResNet50 (He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition"), as Keras has it.

Stages and layers have Keras's names. torchvision's ResNet50 is another network, often called v1.5: a block's stride
lies in its 3x3 convolution, not in the first 1x1, and convolutions have no biases (`--form=torch`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from btjax.models.backbone import Backbone, Layers, NormalisedConvolution, symmetric

_PADDED: Any = ((1, 1), (1, 1))  # which Flax takes, though it says that padding is a text


class ResNet(Backbone):
    """A stem with max pooling and four groups of bottleneck blocks; then the head.

    Stages: `conv1`, `pool1`, `conv2_block1`, ..., `conv5_block3`, `average`, `logits`. `counts` and `width` are
    ResNet50's, or smaller in a test.
    """

    counts: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64

    @property
    def single(self) -> tuple[str, ...]:
        """The stages of the trunk that are one affine layer and the activation, or none."""
        return ("conv1", "pool1")

    @property
    def trunk(self) -> tuple[str, ...]:
        """The names of the trunk's stages, in order."""
        groups = enumerate(self.counts, 2)
        return ("conv1", "pool1", *(f"conv{g}_block{b}" for g, count in groups for b in range(1, count + 1)))

    def make_layers(self, **state: Any) -> Layers:
        """Keras's convolutions have biases, though normalisation follows; its epsilon is 1.001e-5."""
        keras = self.form == "keras"
        return Layers(
            self.dtype,
            1.001e-5 if keras else 1e-5,
            momentum=0.99 if keras else 0.9,
            kernel_init=nn.initializers.glorot_uniform() if keras else nn.initializers.he_normal(),
            bias=keras,
            **state,
        )

    def stage(self, name: str, layers: Layers) -> Callable[[Any], Any]:
        """The function of one of the trunk's stages."""
        if name == "pool1":
            return lambda hidden: nn.max_pool(hidden, (3, 3), (2, 2), _PADDED)
        if name == "conv1":
            stage: Any = NormalisedConvolution(self.width, 7, self.activation, 2, symmetric(7), name=name)
        else:
            group, place = (int(part.strip("convblk")) for part in name.split("_"))
            stride = 2 if place == 1 and group > 2 else 1
            features = self.width * 2 ** (group - 2)
            stage = Bottleneck(features, stride, place == 1, self.form == "keras", self.activation, name=name)
        return lambda hidden: stage(hidden, layers)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each normalised, with a skip around them.

    Attributes:
      features: filters of the first two; the third has four times as many.
      stride: of the block.
      projected: whether the skip has a convolution of its own.
      stride_first: whether the stride lies in the first convolution, or in the second.
      activation: the function after each normalisation; after the last of them it follows the sum.
    """

    features: int
    stride: int
    projected: bool
    stride_first: bool
    activation: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, inputs: jax.Array, layers: Layers) -> jax.Array:
        """[B, H / stride, W / stride, 4 * features] of [B, H, W, C]."""

        def normalised(hidden, number, features, size, stride=1):
            hidden = layers.convolution(
                hidden, f"{number}_conv", features, size, stride=stride, padding=symmetric(size)
            )
            return layers.normalisation(hidden, f"{number}_bn")

        skip = normalised(inputs, 0, 4 * self.features, 1, self.stride) if self.projected else inputs
        first, second = (self.stride, 1) if self.stride_first else (1, self.stride)
        hidden = self.activation(normalised(inputs, 1, self.features, 1, first))
        hidden = self.activation(normalised(hidden, 2, self.features, 3, second))
        return self.activation(skip + normalised(hidden, 3, 4 * self.features, 1))
