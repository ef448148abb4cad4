"""What training means: a task turns a batch into a loss and into sums from which metrics are made."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from btjax.base.keys import random_key
from btjax.data.preprocess import Augmentation, Preprocessing
from btjax.training.state import TrainState

Batch = dict[str, jax.Array]
"""images uint8 [B, S, S] (or features float32 [B, ...]), labels int32 [B], counted bool [B], false for padding."""


@dataclasses.dataclass(frozen=True)
class Classification:
    """Softmax cross-entropy plus the model's own penalty.

    Attributes:
      model: a Flax module from inputs to logits [B, classes], with a method `penalty(params)`.
      preprocessing: from uint8 slices to the model's inputs.
      augmentation: random changes of training slices.
      start: None, or the layer whose output, computed beforehand, takes the place of the slices.
    """

    model: nn.Module
    preprocessing: Preprocessing
    augmentation: Augmentation
    start: str | None = None

    def initialise(self, key: jax.Array, image_size: int) -> dict[str, Any]:
        """Fresh variables {"params", "batch_stats"} of the whole model, for slices of `image_size` pixels."""
        inputs = jnp.zeros((1, image_size, image_size, self.preprocessing.channels), jnp.float32)
        variables = self.model.init(key, inputs)
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    def loss(self, params: Any, state: TrainState, batch: Batch) -> tuple[jax.Array, tuple[dict, Any]]:
        """The training loss of a batch.

        Args:
          params: what the loss is differentiated by; takes the place of `state.params`.
          state: the state before the step; its step and key give the augmentation and the dropout.
          batch: see `Batch`.

        Returns:
          The mean loss over the counted rows, float32 scalar, and (sums of metrics, new batch_stats).
        """
        variables = state.replace(params=params).variables
        images = batch["images"]
        if self.start is None:
            images = self.augmentation(images, random_key(state.key, "augmentation", state.step))
        rngs = {"dropout": random_key(state.key, "dropout", state.step)}
        logits, updated = self._apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)
        sums = self._sums(logits, batch, variables["params"])
        return sums["loss"] / sums["count"], (sums, updated.get("batch_stats", {}))

    def outputs(self, variables: dict[str, Any], images: jax.Array) -> jax.Array:
        """Logits float32 [B, classes] of uint8 slices [B, S, S] (or of features), without augmentation or dropout."""
        return self._apply(variables, images)

    def evaluate(self, variables: dict[str, Any], batch: Batch) -> dict[str, jax.Array]:
        """Sums of metrics over a batch's counted rows."""
        return self._sums(self.outputs(variables, batch["images"]), batch, variables["params"])

    def _apply(self, variables: dict[str, Any], images: jax.Array, **settings):
        if self.start is not None:
            return self.model.apply(variables, images, start=self.start, **settings)
        return self.model.apply(variables, self.preprocessing(images), **settings)

    def _sums(self, logits: jax.Array, batch: Batch, params: Any) -> dict[str, jax.Array]:
        counted = batch["counted"].astype(jnp.float32)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"])
        correct = (jnp.argmax(logits, axis=-1) == batch["labels"]).astype(jnp.float32)
        count = jnp.sum(counted)
        return {
            "count": count,
            "loss": jnp.sum(losses * counted) + count * self.model.penalty(params),
            "accuracy": jnp.sum(correct * counted),
        }


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """Mean absolute error between a model's output and its own input (the paper's Figure 7).

    Attributes:
      model: a Flax module from inputs [B, S, S, C] to images of the same shape.
      preprocessing: from uint8 slices to the model's inputs.
      augmentation: random changes of training slices; the changed slice is what is to be made anew.
    """

    model: nn.Module
    preprocessing: Preprocessing
    augmentation: Augmentation

    def initialise(self, key: jax.Array, image_size: int) -> dict[str, Any]:
        """As `Classification.initialise`."""
        return Classification(self.model, self.preprocessing, self.augmentation).initialise(key, image_size)

    def loss(self, params: Any, state: TrainState, batch: Batch) -> tuple[jax.Array, tuple[dict, Any]]:
        """As `Classification.loss`."""
        images = self.augmentation(batch["images"], random_key(state.key, "augmentation", state.step))
        inputs = self.preprocessing(images)
        outputs, updated = self.model.apply(
            state.replace(params=params).variables,
            inputs,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": random_key(state.key, "dropout", state.step)},
        )
        sums = self._sums(outputs, inputs, batch)
        return sums["loss"] / sums["count"], (sums, updated["batch_stats"])

    def outputs(self, variables: dict[str, Any], images: jax.Array) -> jax.Array:
        """Images float32 [B, S, S, C] made of uint8 slices [B, S, S], without augmentation or dropout."""
        return self.model.apply(variables, self.preprocessing(images))

    def evaluate(self, variables: dict[str, Any], batch: Batch) -> dict[str, jax.Array]:
        """Sums of metrics over a batch's counted rows."""
        return self._sums(self.outputs(variables, batch["images"]), self.preprocessing(batch["images"]), batch)

    def _sums(self, outputs: jax.Array, inputs: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        counted, error = batch["counted"].astype(jnp.float32), outputs - inputs
        return {
            "count": jnp.sum(counted),
            "loss": jnp.sum(jnp.mean(jnp.abs(error), axis=(1, 2, 3)) * counted),
            "squared_error": jnp.sum(jnp.mean(jnp.square(error), axis=(1, 2, 3)) * counted),
        }
