"""The optimizer, its schedule and the other options of training."""

from __future__ import annotations

import dataclasses

import jax
import optax

from btjax.config import option


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained. The defaults are the paper's, or Keras's where the paper is silent (facts.md)."""

    epochs: int = option(20, "passes over the training rows", minimum=1)
    batch_size: int = option(32, "slices per step", minimum=1)
    optimizer: str = option("adam", "adam, or adamw with decoupled weight decay", choices=("adam", "adamw"))
    learning_rate: float = option(0.001, "highest learning rate of the schedule", minimum=0)
    schedule: str = option(
        "constant",
        "learning rate over time: constant, cosine (to zero at the last step) or plateau (halved when the validation "
        "loss has not fallen for 3 epochs)",
        choices=("constant", "cosine", "plateau"),
    )
    warmup_epochs: float = option(0.0, "epochs over which the learning rate rises from zero, linearly", minimum=0)
    weight_decay: float = option(0.0, "decoupled weight decay of adamw, on kernels only", minimum=0)
    patience: int = option(0, "stop after this many epochs without a better checkpoint; 0 never", minimum=0)
    select: str = option(
        "validation_loss",
        "what the best checkpoint is chosen by, on validation rows",
        choices=("validation_loss", "validation_accuracy"),
    )
    checkpoint_every: int = option(1, "epochs between checkpoints to resume from", minimum=1)
    devices: int = option(1, "devices over which each batch is divided; they must divide it", minimum=1)
    prng: str = option(
        "threefry2x32",
        "random bits: threefry2x32 (the same on every device), or rbg (faster on TPU and GPU)",
        choices=("threefry2x32", "rbg"),
    )


def make_optimizer(config: TrainingConfig, steps_per_epoch: int) -> optax.GradientTransformation:
    """Adam or AdamW under the config's schedule.

    Epsilon is 1e-7 as in Keras, which adds it before the bias correction where optax adds it after: over some hundred
    steps the two agree. Decay leaves biases and normalisation alone.

    Args:
      config: the options.
      steps_per_epoch: optimizer steps in an epoch.
    """
    schedule = make_schedule(config, steps_per_epoch)
    if config.optimizer == "adam":
        return optax.adam(schedule, eps=1e-7)
    return optax.adamw(schedule, eps=1e-7, weight_decay=config.weight_decay, mask=_kernels)


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


def _kernels(params):
    """Which leaves decay: those with two axes or more."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
