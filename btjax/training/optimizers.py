"""The optimizer and its schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from btjax.training.freezing import Rate, parse_rates, rate_names

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from btjax.training.config import TrainingConfig

PLATEAU = optax.contrib.reduce_on_plateau(factor=0.5, patience=3)
"""Halves the updates when the validation loss, given once per epoch, has not fallen for 3 epochs."""


def make_optimizer(
    config: TrainingConfig, steps_per_epoch: int | Sequence[int], which: jax.Array | None = None
) -> optax.GradientTransformation:
    """Adam, AdamW, or gradient descent with momentum, under the config's schedule.

    Epsilon is 1e-7 as in Keras, which adds it before the bias correction where optax adds it after. Decay leaves
    biases and normalisation alone. Parameters under different `layer_rates` have transformations of their own.

    Args:
      config: the options.
      steps_per_epoch: optimizer steps in an epoch; several where one program trains runs that differ in it.
      which: the place of the run's own among several, int32 scalar; it may be traced.
    """
    rates = parse_rates(config.layer_rates)

    def transformation(rate: Rate) -> optax.GradientTransformation:
        several = [steps_per_epoch] if isinstance(steps_per_epoch, int) else steps_per_epoch
        schedules = [_rated_schedule(config, steps, rate) for steps in several]

        def chosen(step: Any) -> Any:
            return jnp.stack([jnp.asarray(schedule(step), jnp.float32) for schedule in schedules])[which]

        learning_rate = schedules[0] if isinstance(steps_per_epoch, int) else chosen
        if config.optimizer == "sgd":
            return optax.sgd(learning_rate, momentum=config.momentum or None)
        if config.optimizer == "adam":
            return optax.adam(learning_rate, eps=1e-7)
        return optax.adamw(learning_rate, eps=1e-7, weight_decay=config.weight_decay, mask=_kernels)

    if len({(rate.factor, rate.epoch) for rate in rates if rate.factor}) <= 1:
        return transformation(next((rate for rate in rates if rate.factor), rates[0]))
    transformations: dict[Hashable, Any] = {f"rate_{index}": transformation(rate) for index, rate in enumerate(rates)}
    return optax.partition(transformations, lambda params: rate_names(params, rates))


def make_schedule(config: TrainingConfig, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate by step; a plateau's factor is not in it (see `TrainState.plateau`)."""
    steps, warmup = config.epochs * steps_per_epoch, round(config.warmup_epochs * steps_per_epoch)
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(config.learning_rate, max(1, steps - warmup))
    else:
        after = optax.constant_schedule(config.learning_rate)
    if warmup == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, config.learning_rate, warmup), after], [warmup])


def _rated_schedule(config: TrainingConfig, steps_per_epoch: int, rate: Rate) -> optax.Schedule:
    """The learning rate of the parameters under a rule of `layer_rates`."""
    schedule, first = make_schedule(config, steps_per_epoch), round(rate.epoch * steps_per_epoch)

    def rated(step):
        return schedule(step) * rate.factor * (step >= first)

    return schedule if rate.factor == 1 and first == 0 else rated


def _kernels(params):
    """Which leaves decay: those with two axes or more."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
