"""The state of a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from btjax.base.errors import InputError
from btjax.base.keys import random_key
from btjax.training.freezing import merge, split_frozen
from btjax.training.optimizers import PLATEAU

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import optax.contrib


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

    @property
    def judged(self) -> dict[str, Any]:
        """The variables that are validated and kept."""
        return self.variables

    def with_mean(self, kept: float) -> Self:
        """The state after a step, with its running mean brought up to date; it keeps none."""
        del kept
        return self


class AveragedState(TrainState):
    """A state that keeps a running mean of its variables, which is what is validated and kept.

    Attributes:
      mean: of `params` and of `batch_stats`, by these names: statistics belong to the weights that they were taken of.
    """

    mean: Any

    @property
    def judged(self) -> dict[str, Any]:
        """As `TrainState.judged`: of the mean."""
        return self.replace(**self.mean).variables

    def with_mean(self, kept: float) -> Self:
        """As `TrainState.with_mean`; early steps keep less than `kept`, so that the mean does not lag behind."""
        share = jnp.minimum(jnp.float32(kept), self.step / (9 + self.step))
        new = {"params": self.params, "batch_stats": self.batch_stats}
        # In this form what does not move keeps its bits.
        return self.replace(mean=jax.tree.map(lambda mean, new: mean + (1 - share) * (new - mean), self.mean, new))


def create_state(
    initialise: Callable[[jax.Array], dict[str, Any]],
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    layer_rates: Sequence[str] = ("*=1",),
    pretrained: dict[str, Any] | None = None,
    *,
    averaged: bool = False,
) -> TrainState:
    """Fresh parameters and optimizer state.

    Args:
      initialise: from a random key to {"params", "batch_stats"}.
      optimizer: an optax transformation.
      key: the run's root key.
      layer_rates: which parameters train, see `btjax.training.freezing`.
      pretrained: variables {"params", "batch_stats"} of some stages, which take the place of the fresh ones.
      averaged: whether a running mean of the params and batch_stats is kept.

    Returns:
      The state at step 0; every leaf is an array on the default device.

    Raises:
      InputError: pretrained variables that are not the model's.
    """
    variables = jax.jit(initialise)(random_key(key, "init"))
    params, batch_stats = (
        _replace_stages(name, variables[name], (pretrained or {}).get(name, {})) for name in ("params", "batch_stats")
    )
    trained, frozen = split_frozen(params, layer_rates)
    plateau: Any = PLATEAU.init(trained)
    fields = dict(
        step=jnp.int32(0),
        params=trained,
        frozen=frozen,
        batch_stats=batch_stats,
        opt_state=jax.jit(optimizer.init)(trained),
        plateau=plateau,
        key=key,
    )
    if not averaged:
        return TrainState(**fields)
    return AveragedState(**fields, mean=jax.tree.map(jnp.array, {"params": trained, "batch_stats": batch_stats}))


def _replace_stages(collection: str, fresh: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The fresh stages of a collection, with those that are given in their place."""

    def shapes(tree):
        leaves: dict[str, Any] = traverse_util.flatten_dict(tree, sep="/")
        return {path: list(np.shape(leaf)) for path, leaf in leaves.items()}

    expected, found = shapes({stage: fresh[stage] for stage in given if stage in fresh}), shapes(given)
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            raise InputError(
                f"pretrained {collection}/{path} is {found.get(path, 'missing')}, "
                f"expected {expected.get(path, 'none')}: weights of another architecture"
            )
    return fresh | jax.tree.map(jnp.array, given)  # copies: a training step takes its state's memory for the next one
