"""The state of a training run, and where its randomness comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
import optax.contrib

from btjax.base.keys import random_key
from btjax.training.freezing import merge, split_frozen
from btjax.training.optimizers import PLATEAU


class TrainState(flax.struct.PyTreeNode):
    """Everything that a training step reads and writes; a pytree, and what a checkpoint holds.

    Attributes:
      step: int32 scalar, steps taken.
      params: the parameters that train.
      frozen: the parameters that do not; empty for most models.
      batch_stats: running statistics of normalisation layers; empty for models without them.
      opt_state: the optimizer's state.
      plateau: state of `PLATEAU`; its `scale` multiplies every update and stays 1 under other schedules.
      key: the run's root random key; it never changes.
    """

    step: jax.Array
    params: Any
    frozen: Any
    batch_stats: Any
    opt_state: Any
    plateau: optax.contrib.ReduceLROnPlateauState
    key: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes: all params and batch_stats."""
        return {"params": merge(self.params, self.frozen), "batch_stats": self.batch_stats}


def create_state(
    initialise: Callable[[jax.Array], dict[str, Any]],
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    layer_rates: Sequence[str] = ("*=1",),
    pretrained: dict[str, Any] | None = None,
) -> TrainState:
    """Fresh parameters and optimizer state.

    Args:
      initialise: from a random key to {"params", "batch_stats"}.
      optimizer: an optax transformation.
      key: the run's root key.
      layer_rates: which parameters train, see `btjax.training.freezing`.
      pretrained: layers, nested dicts, that take the place of fresh ones.

    Returns:
      The state at step 0; every leaf is an array on the default device.
    """
    variables = jax.jit(initialise)(random_key(key, "init"))
    params = variables["params"] | jax.tree.map(jnp.asarray, pretrained or {})
    trained, frozen = split_frozen(params, layer_rates)
    return TrainState(
        step=jnp.int32(0),
        params=trained,
        frozen=frozen,
        batch_stats=variables["batch_stats"],
        opt_state=jax.jit(optimizer.init)(trained),
        plateau=PLATEAU.init(trained),
        key=key,
    )
