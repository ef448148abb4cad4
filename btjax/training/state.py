"""The state of a training run, and where its randomness comes from."""

from __future__ import annotations

import zlib
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
import optax.contrib

from btjax.training.optimizers import PLATEAU


class TrainState(flax.struct.PyTreeNode):
    """Everything that a training step reads and writes; a pytree, and what a checkpoint holds.

    Attributes:
      step: int32 scalar, steps taken.
      params: trainable parameters.
      batch_stats: running statistics of normalisation layers; empty for models without them.
      opt_state: the optimizer's state.
      plateau: state of `PLATEAU`; its `scale` multiplies every update and stays 1 under other schedules.
      key: the run's root random key; it never changes.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    plateau: optax.contrib.ReduceLROnPlateauState
    key: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes: params and batch_stats."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def random_key(root: jax.Array, name: str, step: jax.Array | int = 0) -> jax.Array:
    """The random key for a purpose at a step: the same root, name and step always give the same key.

    Args:
      root: the run's root key.
      name: what the key is for, such as "dropout".
      step: int32, the step or epoch.

    Returns:
      A random key.
    """
    return jax.random.fold_in(jax.random.fold_in(root, zlib.crc32(name.encode()) & 0x7FFFFFFF), step)


def create_state(model, optimizer, inputs: jax.ShapeDtypeStruct, key: jax.Array) -> TrainState:
    """Fresh parameters and optimizer state.

    Args:
      model: a Flax module, called on `inputs`.
      optimizer: an optax transformation.
      inputs: shape and dtype of a batch of inputs, as [1, S, S, C].
      key: the run's root key.

    Returns:
      The state at step 0; every leaf is an array on the default device.
    """

    @jax.jit
    def create(key):
        variables = model.init(random_key(key, "init"), jnp.zeros(inputs.shape, inputs.dtype))
        return TrainState(
            step=jnp.int32(0),
            params=variables["params"],
            batch_stats=variables.get("batch_stats", {}),
            opt_state=optimizer.init(variables["params"]),
            plateau=PLATEAU.init(variables["params"]),
            key=key,
        )

    return create(key)
