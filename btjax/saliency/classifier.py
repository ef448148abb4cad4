"""What the saliency methods need of a classifier."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from btjax.base.errors import InputError
from btjax.nn.network import Network

Logits = Callable[[jax.Array], jax.Array]
"""A function from a network's inputs, float [B, S, S, C], to its logits, float [B, classes]."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=["variables"], meta_fields=["model"])
@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A network with its variables: called, it is a function from inputs to logits.

    Most methods need only that function. The class activation maps also need the network cut at a stage, guided
    backpropagation needs another rectifier, and layer-wise relevance propagation needs each stage by itself. A
    `Classifier` is a pytree whose leaves are the variables, so a jitted function of it is compiled once for all weights
    of a model.

    Attributes:
      model: a Flax module that is a composition of named stages, see `btjax.nn.network`.
      variables: the model's variables; in every collection, such as "params", a stage's lie under its name.
    """

    model: Network
    variables: Any

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """The logits, float32 [B, classes], of the network's inputs [B, S, S, C]."""
        return self.model.apply(self.variables, inputs)

    def below(self, layer: str, inputs: jax.Array) -> Any:
        """The output of a stage, see `stage_map`; InputError where the model has no stage of that name."""
        return self.model.apply(self.variables, inputs, stop=self._known(layer))

    def above(self, layer: str, output: Any) -> jax.Array:
        """The logits that a stage's output leads to; InputError where the model has no stage of that name."""
        return self.model.apply(self.variables, output, start=self._known(layer))

    def with_activation(self, activation: Callable[[jax.Array], jax.Array]) -> Classifier:
        """The same network with another function in place of its rectifier; InputError where it names none."""
        if not hasattr(self.model, "activation"):
            raise InputError(f"{type(self.model).__name__}: found no field `activation`, expected its rectifier there")
        return dataclasses.replace(self, model=self.model.clone(activation=activation))

    def map_layer(self, inputs: jax.Array | jax.ShapeDtypeStruct, smallest: int = 4) -> str:
        """The stage whose map the class activation methods use by default.

        It is the last stage with parameters (the last convolution or block, not the pooling after it) whose map
        [B, h, w, K] has at least `smallest` rows and columns: a map of one or two pixels says nothing about places.

        Args:
          inputs: the network's inputs [B, S, S, C]; only their shape and dtype count.
          smallest: the least height and width of the stage's map.

        Raises:
          InputError: the model has no such stage.
        """
        sizes = {}
        for layer in reversed(self.model.layers):  # from the end, since each shape takes a trace of the network
            shape = self.shape_of(layer, inputs) if layer in self.variables["params"] else ()
            if len(shape) == 4:
                sizes[layer] = min(shape[1:3])
                if sizes[layer] >= smallest:
                    return layer
        found = ", ".join(f"{layer} {sizes[layer]}" for layer in reversed(sizes)) or "none"
        raise InputError(
            f"inputs of {inputs.shape[1]} pixels: the sides of the layers' maps are {found}; "
            f"expected one of at least {smallest} pixels"
        )

    def shape_of(self, layer: str, inputs: jax.Array | jax.ShapeDtypeStruct) -> tuple[int, ...]:
        """The shape of a stage's map, without computing it; InputError where there is no such stage."""
        return jax.eval_shape(lambda classifier, inputs: stage_map(classifier.below(layer, inputs)), self, inputs).shape

    def _known(self, layer: str) -> str:
        if layer not in self.model.layers:
            raise InputError(f"layer {layer!r}: expected one of {', '.join(self.model.layers)}")
        return layer


def stage_map(output: Any) -> jax.Array:
    """The map in a stage's output: the output itself, or its first element where it is a tuple."""
    return output[0] if isinstance(output, tuple) else output


def replace_map(output: Any, values: jax.Array) -> Any:
    """A stage's output with another map; what travels beside the map stays."""
    return (values, *output[1:]) if isinstance(output, tuple) else values


def require_classifier(logits: Logits, method: str) -> Classifier:
    """`logits` itself where it is a `Classifier`; TypeError, naming the method, where it is a plain function."""
    if not isinstance(logits, Classifier):
        raise TypeError(f"{method} needs a Classifier (a model with its variables), got {type(logits).__name__}")
    return logits


def as_pytree(logits: Logits) -> Logits:
    """`logits` as an argument that a jitted function accepts: a plain function is wrapped.

    Make the function once: the program is compiled again for another function, even one that does the same.
    """
    return jax.tree_util.Partial(logits) if jax.tree_util.all_leaves([logits]) else logits


def target_scores(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """The value of each row's target: float [B, classes] and int32 [B] -> float [B]."""
    return jnp.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
