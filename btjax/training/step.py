"""The compiled part of training: one program for any number of steps, one for evaluation, one for predictions.

The data set lies on the device as uint8. A program takes the epoch's table of rows and the first and last step to
take, so that it is compiled once: a chunk of another length does not change its shapes, and the short last batch is
filled up with rows that do not count.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from btjax.base.batches import in_batches
from btjax.base.keys import random_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax.sharding import Sharding

    from btjax.training.state import TrainState
    from btjax.training.tasks import Task

Sums = dict[str, jax.Array]
"""Sums of metrics over the counted rows, by name, and the first steps at which something was not finite."""

Dataset = dict[str, jax.Array]
"""images uint8 [N, S, S] (or features float32 [N, ...]), labels int32 [N] and, where a task takes them, masks uint8
[N, bytes] (packed bits), on the device."""

_NEVER = np.int32(2**31 - 1)


class Batches(NamedTuple):
    """The batches of a pass over some rows.

    Attributes:
      table: int32 [steps, batch_size], row numbers of the data set.
      counted: bool [steps, batch_size], False for what fills up the last batch.
    """

    table: jax.Array
    counted: jax.Array


class WeightedBatches(NamedTuple):
    """Batches with `weights`, float32 [steps, batch_size]: what each row weighs in the training loss."""

    table: jax.Array
    counted: jax.Array
    weights: jax.Array


def steps_per_pass(rows: int, batch_size: int) -> int:
    """Batches in a pass over `rows` rows, the short last one included."""
    return -(-rows // batch_size)


def batch_table(rows: jax.Array | np.ndarray, batch_size: int) -> Batches:
    """Cuts rows into batches; the last one is filled up with the first rows, which do not count.

    Args:
      rows: int32 [n].
      batch_size: rows in a batch.

    Example:
      >>> table, counted = batch_table(jnp.array([7, 8, 9]), 2)
      >>> table.tolist(), counted.tolist()
      ([[7, 8], [9, 7]], [[True, True], [True, False]])
    """
    steps = steps_per_pass(len(rows), batch_size)
    places = jnp.arange(steps * batch_size)
    table = jnp.take(rows, places % len(rows)).reshape(steps, batch_size)
    return Batches(table, (places < len(rows)).reshape(steps, batch_size))


@partial(jax.jit, static_argnames="batch_size")
def shuffled_batches(key: jax.Array, epoch: jax.Array, rows: jax.Array, batch_size: int) -> Batches:
    """The epoch's batches: `batch_table` of a permutation that depends on the run's key and the epoch alone."""
    return batch_table(jax.random.permutation(random_key(key, "shuffle", epoch), rows), batch_size)


@jax.jit
def weighted_batches(batches: Batches, labels: jax.Array, class_weights: jax.Array) -> WeightedBatches:
    """The same batches with the weight of each row's class: labels int32 [N], class_weights float32 [classes]."""
    return WeightedBatches(*batches, jnp.take(class_weights, jnp.take(labels, batches.table)))


def zero_sums(task: Task, dataset: Dataset, state: TrainState) -> Sums:
    """The sums at the start of an epoch: zeros, and no step at which a loss or gradient was not finite."""
    one = Batches(jnp.zeros(1, jnp.int32), jnp.ones(1, bool))
    batch = jax.eval_shape(lambda data: _gather(data, one), dataset)
    shapes = jax.eval_shape(task.evaluate, state.variables, batch)
    return zeros_of(shapes) | {"not_finite_loss": jnp.int32(_NEVER), "not_finite_gradient": jnp.int32(_NEVER)}


def zeros_of(shapes: Sums) -> Sums:
    """Sums of nothing, of the shapes and types of others."""
    return {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}


def not_finite(sums: dict[str, Any]) -> tuple[str, int] | None:
    """Which quantity was not finite first, "loss" or "gradient", and at which step; None where both always were."""
    faults = [(int(sums[f"not_finite_{quantity}"]), quantity) for quantity in ("loss", "gradient")]
    step, quantity = min(faults, key=lambda fault: fault[0])  # of one step's faults the loss came first
    return None if step == _NEVER else (quantity, step)


@jax.jit
def is_finite(params: Any) -> jax.Array:
    """Whether the norm of all parameters is finite, bool []; one program instead of some operations for each leaf."""
    return jnp.isfinite(optax.tree.norm(params))


def means(sums: dict[str, Any]) -> dict[str, float]:
    """Means over the counted rows, by name."""
    names = [name for name in sums if name != "count" and not name.startswith("not_finite")]
    return {name: float(sums[name]) / max(float(sums["count"]), 1.0) for name in names}


def make_train_step(task: Task, optimizer: optax.GradientTransformation, averaged: float = 0.0) -> Callable:
    """`train_step(state, batch) -> (state, sums)`: one optimizer step on one batch, a pure function.

    `averaged` is the share of the state's running mean, if it keeps one, that a step leaves.
    """

    def train_step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, Sums]:
        (loss, (sums, batch_stats)), gradients = jax.value_and_grad(task.loss, has_aux=True)(state.params, state, batch)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        updates = jax.tree.map(lambda update: update * state.plateau.scale, updates)
        faults = {"not_finite_loss": loss, "not_finite_gradient": optax.tree.norm(gradients)}
        sums |= {name: jnp.where(jnp.isfinite(value), _NEVER, state.step) for name, value in faults.items()}
        new_state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return new_state.with_mean(averaged), sums

    return train_step


def make_train_chunk(
    task: Task, optimizer: optax.GradientTransformation, sharding: Sharding | None = None, averaged: float = 0.0
) -> Callable:
    """The compiled `train_chunk((state, sums), dataset, batches, start, stop) -> (state, sums)`.

    It takes the steps from `start` to `stop` of an epoch's batches (`shuffled_batches`) and adds to `sums`
    (`zero_sums`). State and sums are donated: their memory is used again. With a `sharding` of the batch axis each
    device takes its part of every batch, and XLA adds up the gradients.
    """
    return jax.jit(make_take_steps(make_train_step(task, optimizer, averaged), sharding), donate_argnums=0)


def make_take_steps(train_step: Callable, sharding: Sharding | None = None) -> Callable:
    """The pure function of `make_train_chunk`, of a step function that `make_train_step` made."""

    def take_steps(carry, dataset, batches, start, stop):
        def body(index, carry):
            state, sums = carry
            now = jax.tree.map(lambda part: part[index], batches)
            state, added = train_step(state, _gather(dataset, now, sharding=sharding))
            return state, _add(sums, added)

        return lax.fori_loop(start, stop, body, carry)

    return take_steps


def make_evaluate(task: Task, sharding: Sharding | None = None) -> Callable:
    """The compiled `evaluate(variables, dataset, table, counted, sums=None) -> sums` over a `batch_table`'s batches.

    They are added to `sums` where these are given.
    """

    @jax.jit
    def evaluate(variables, dataset, table, counted, sums=None):
        def body(sums, batch):
            return _add(sums, task.evaluate(variables, _gather(dataset, batch, sharding=sharding))), None

        shapes = jax.eval_shape(lambda: task.evaluate(variables, _gather(dataset, Batches(table[0], counted[0]))))
        return lax.scan(body, zeros_of(shapes) if sums is None else sums, (table, counted))[0]

    return evaluate


def make_predict(task: Any, *, pixels: bool = False) -> Callable[[dict[str, Any], np.ndarray, int], np.ndarray]:
    """`predict(variables, images, batch_size) -> outputs` for N slices or features on the host.

    The outputs are the task's or, with `pixels`, its pixel logits, [N, ...] on the host; ValueError where N is 0.
    """
    outputs = jax.jit(task.pixel_logits if pixels else task.outputs)

    def predict(variables: dict[str, Any], images: np.ndarray, batch_size: int) -> np.ndarray:
        return in_batches(partial(outputs, variables), batch_size, images)

    return predict


def _gather(
    dataset: Dataset, batch: Batches | WeightedBatches, *, sharding: Sharding | None = None
) -> dict[str, jax.Array]:
    """One of the batches: the rows of every array of the data set, which of them count, and their weights if any."""
    if sharding is not None:
        batch = lax.with_sharding_constraint(batch, sharding)
    names = ("counted", "weights")[: len(batch) - 1]
    arrays = {name: jnp.take(array, batch[0], axis=0) for name, array in dataset.items()}
    return arrays | dict(zip(names, batch[1:], strict=True))


def _add(sums: Sums, added: Sums) -> Sums:
    """Adds sums by name; of the steps at which something was not finite the first is kept."""
    return {
        name: jnp.minimum(sums[name], value) if name.startswith("not_finite") else sums[name] + value
        for name, value in added.items()
    }
