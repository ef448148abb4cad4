"""Pretrained backbones that outline the tumour and classify the slice by what they outline.

The trunk is the encoder of `btjax.models.joint.JointNetwork` in the place of plain convolutions: a light decoder goes
from its smallest map back to half the slice's size, and joins the trunk's last map of each size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from flax import linen as nn

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.models.efficientnet import EfficientNet
from btjax.models.joint import class_stages
from btjax.models.resnet import ResNet
from btjax.models.segmenter import Block, pixel_logits
from btjax.models.vgg16 import VGG16
from btjax.nn.chain import run_chain

if TYPE_CHECKING:
    from collections.abc import Callable

    import jax

HALVINGS = 5
"""How often the trunks halve a slice."""


class JointBackbone(nn.Module):
    """Makes a network with a trunk one that outlines, by a decoder and `JointNetwork`'s pixels, attention and classes.

    Stages: the trunk's, `decode_4` to `decode_1` from a sixteenth to a half of the slice's size, `pixels`, `attend`,
    `pool`, `logits`. Between the stages travel the map and, beside it, the maps that the decoder still needs.
    """

    decoder: int = option(16, "filters of the decoder at half the slice's size; doubled at each halving", minimum=1)
    features: int = option(128, "features of the trunk's last map that the classes are told by", minimum=1)

    smallest = 2**HALVINGS

    first_halving: ClassVar[str] = ""
    """The first stage of the trunk that halves a map: what comes before it is as large as a slice, and not kept."""

    if TYPE_CHECKING:  # of the network that a subclass names beside this class
        dropout: float = 0.0
        dtype: str = "float32"
        classes: int = 3
        activation: Callable[[jax.Array], jax.Array] = nn.relu

        @property
        def trunk(self) -> tuple[str, ...]:
            """The names of the trunk's stages."""
            ...

        def trunk_stages(self, *, train: bool, counted: jax.Array | None) -> list[tuple[str, Callable[[Any], Any]]]:
            """The trunk's stages."""
            ...

    @property
    def decoders(self) -> tuple[str, ...]:
        """The names of the decoder's stages, in order."""
        return tuple(f"decode_{place}" for place in range(HALVINGS - 1, 0, -1))

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the stages, in order."""
        return (*self.trunk, *self.decoders, "pixels", "attend", "pool", "logits")

    @property
    def composite(self) -> tuple[str, ...]:
        """The stages that are more than one affine layer and the activation."""
        own: Any = super()
        return (*own.composite, *self.decoders, "attend")

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
          inputs: as in the network with the trunk; with `start`, that stage's output.
          train: as there; the decoder's normalisation always uses the batch's own statistics in training.
          counted: bool [B], False for rows that are padding, which the batch's own statistics leave out; None for none.
          start: the stage, of `layers`, after which to begin.
          stop: the stage whose output to return instead of the logits.

        Returns:
          float32 [B, classes]; with `stop`, that stage's output: of `pixels` a tuple whose first element is the class
          logits of pixels, float32 [B, S / 2, S / 2, 1 + classes], the background first; of a stage before it a tuple
          whose first element is its map.

        Raises:
          InputError: slices whose side is no multiple of 32.
        """
        if start is None:
            self.check(inputs.shape[1])
            inputs = inputs.astype(self.dtype)
        stages = self.trunk_stages(train=train, counted=counted)
        trunk = [(name, self._carrying(name, stage)) for name, stage in stages]
        decoders = [(name, self._decode(name, train, counted)) for name in self.decoders]
        pixels = pixel_logits(self.classes, self.dtype, "pixels")
        rest = class_stages(self.features, self.dropout, self.classes, self.activation, self.dtype, train=train)
        chain: list[Any] = [*trunk, *decoders, ("pixels", lambda hidden: (pixels(hidden[0]), hidden)), *rest]
        return run_chain(chain, inputs, start, stop)

    def _carrying(self, name: str, stage: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A stage of the trunk that hands on the last map of each size; the last one keeps its own for the classes."""
        first, last = name == self.trunk[0], name == self.trunk[-1]
        kept = self.trunk.index(name) > self.trunk.index(self.first_halving)

        def carry(hidden):
            images, skips = (hidden, ()) if first else hidden
            found = stage(images)
            skips = (*skips, images) if found.shape[1] < images.shape[1] and kept else skips
            return (found, (found, *skips)) if last else (found, skips)

        return carry

    def _decode(self, name: str, train: bool, counted: jax.Array | None) -> Callable[[Any], Any]:
        """A stage of the decoder: up to the next map that the trunk kept, and that map is joined."""
        features = self.decoder * 2 ** (int(name.split("_")[1]) - 1)

        def decode(hidden):
            images, skips = hidden
            block = Block(features, 1, nn.relu, self.dtype, name=name)
            return block(images, skips[-1], train, counted), skips[:-1]

        return decode

    def check(self, image_size: int) -> None:
        """Raises InputError where the decoder cannot meet the trunk's maps of slices of `image_size` pixels."""
        if image_size % 2**HALVINGS or not image_size:
            raise InputError(
                f"--image_size={image_size}: expected a multiple of {2**HALVINGS}, so that the decoder meets the "
                f"maps of {type(self).__name__}"
            )


class JointEfficientNet(JointBackbone, EfficientNet):
    """`EfficientNet` that outlines."""

    first_halving = "stem"


class JointResNet(JointBackbone, ResNet):
    """`ResNet` that outlines."""

    first_halving = "conv1"


class JointVGG16(JointBackbone, VGG16):
    """`VGG16` that outlines."""

    first_halving = "block1_pool"
    # Not asked for: the classes are told by the decoder.
    pooling: str = "average"
    dense: int = 0
    dropout: float = option(0.2, "share of the logits' inputs dropped in training", minimum=0, maximum=0.99)
