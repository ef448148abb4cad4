"""What the saliency methods ask of a classifier."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from btjax.base.errors import InputError

Logits = Callable[[jax.Array], jax.Array]
"""A function from a network's inputs, float [B, S, S, C], to its logits, float [B, classes]."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=["variables"], meta_fields=["model"])
@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A chain model with its variables: called, it is a function from inputs to logits.

    Most methods need no more than that function. The class activation maps also need the network cut at a layer, guided
    backpropagation another rectifier, and layer-wise relevance propagation each layer by itself. It is a pytree whose
    leaves are the variables, so that a jitted function of it is compiled once for all weights of a model.

    Attributes:
      model: a Flax module that is a chain of layers: it has `layers`, and `apply` takes `start` and `stop` (see
        `btjax.nn.chain`); its rectifier is the field `activation`.
      variables: the model's variables; a layer's parameters lie in `variables["params"]` under the layer's name.
    """

    model: nn.Module
    variables: Any

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """The logits, float32 [B, classes], of the network's inputs [B, S, S, C]."""
        return self.model.apply(self.variables, inputs)

    def below(self, layer: str, inputs: jax.Array) -> jax.Array:
        """The output of a layer; InputError where the model has no layer of that name."""
        return self.model.apply(self.variables, inputs, stop=self._known(layer))

    def above(self, layer: str, activations: jax.Array) -> jax.Array:
        """The logits that a layer's output leads to; InputError where the model has no layer of that name."""
        return self.model.apply(self.variables, activations, start=self._known(layer))

    def with_activation(self, activation: Callable[[jax.Array], jax.Array]) -> Classifier:
        """The same network with another function in the place of its rectifier."""
        return dataclasses.replace(self, model=self.model.clone(activation=activation))

    def map_layer(self, inputs: jax.Array, smallest: int = 4) -> str:
        """The layer that a class activation map looks at unless told otherwise.

        It is the last layer with parameters of its own, that is, the last convolution and not the pooling after it,
        whose output [B, h, w, C] has at least `smallest` rows and columns: a map of one or two pixels points nowhere.

        Args:
          inputs: the network's inputs [B, S, S, C]; only their shape counts.
          smallest: the least height and width of the layer's output.

        Raises:
          InputError: the model has no such layer.
        """
        sizes = {}
        for layer in self.model.layers:
            shape = self.shape_of(layer, inputs)
            if len(shape) == 4 and layer in self.variables["params"]:
                sizes[layer] = min(shape[1:3])
        chosen = [layer for layer, size in sizes.items() if size >= smallest]
        if not chosen:
            found = ", ".join(f"{layer} {size}" for layer, size in sizes.items()) or "none"
            raise InputError(
                f"inputs of {inputs.shape[1]} pixels: the sides of the layers' maps are {found}; "
                f"expected one of at least {smallest} pixels"
            )
        return chosen[-1]

    def shape_of(self, layer: str, inputs: jax.Array) -> tuple[int, ...]:
        """The shape of a layer's output, without computing it; InputError where there is no such layer."""
        return jax.eval_shape(lambda classifier, inputs: classifier.below(layer, inputs), self, inputs).shape

    def _known(self, layer: str) -> str:
        if layer not in self.model.layers:
            raise InputError(f"layer {layer!r}: expected one of {', '.join(self.model.layers)}")
        return layer


def require_classifier(logits: Logits, method: str) -> Classifier:
    """`logits` itself where it is a `Classifier`; TypeError, naming the method, where it is a plain function."""
    if not isinstance(logits, Classifier):
        raise TypeError(f"{method} needs a Classifier (a model with its variables), got {type(logits).__name__}")
    return logits


def target_scores(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """From each row of [B, classes] the value of its target, int32 [B]: [B]."""
    return jnp.take_along_axis(logits, targets[:, None], axis=1)[:, 0]


def as_baseline(baseline: jax.Array | float, images: jax.Array) -> jax.Array:
    """The inputs that stand for "nothing there", in the images' shape and dtype.

    Args:
      baseline: a number, or an array that broadcasts to the images: [C], [S, S, C] or [B, S, S, C]. Where a network's
        inputs are not zero in the black around a head, give the inputs of a black slice.
      images: [B, S, S, C].
    """
    return jnp.broadcast_to(jnp.asarray(baseline, images.dtype), images.shape)
