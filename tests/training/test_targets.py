"""Smoothed and mixed training targets: what they cost, and that validation knows nothing of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.systems.config import Config
from btjax.training.config import TrainingConfig
from btjax.training.examples import Examples
from btjax.training.loop import Trainer
from btjax.training.optimizers import make_optimizer
from btjax.training.state import create_state
from btjax.training.step import make_train_step
from tests.training.blobs import blob_split, make_blobs, tiny_task

SLICES = make_blobs()
ROWS = 12


@pytest.fixture(autouse=True)
def _standard(standard_promotion):
    """Optax promotes types."""


def begun(**options):
    """A task with such targets, the state before its first step, and a batch of all classes."""
    task = dataclasses.replace(tiny_task(dropout=0.0), **options)
    optimizer = make_optimizer(TrainingConfig(), 10)
    state = create_state(lambda key: task.initialise(key, 16), optimizer, jax.random.key(0))
    batch = {
        "images": jnp.asarray(SLICES.images[:ROWS]),
        "labels": jnp.asarray(SLICES.labels[:ROWS]),
        "counted": jnp.ones(ROWS, bool),
    }
    return task, state, batch


def log_probabilities(task, state, images):
    logits = np.asarray(task.outputs(state.variables, images), np.float64)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def penalty(task, state):
    return float(task.model.penalty(state.variables["params"]))


def test_a_smoothed_loss_is_that_share_of_the_mean_over_classes():
    task, state, batch = begun(label_smoothing=0.3)
    loss, _ = task.loss(state.params, state, batch)
    logs = log_probabilities(task, state, batch["images"])
    own = logs[np.arange(ROWS), batch["labels"]]
    assert float(loss) == pytest.approx(-(0.7 * own + 0.3 * logs.mean(axis=1)).mean() + penalty(task, state), rel=1e-5)


def test_a_mixed_loss_is_that_of_the_mixed_slices_against_both_their_classes():
    task, _, batch = begun(mixup=0.4)
    shown, targets = task._targets(batch["images"], batch["labels"], jax.random.key(5))
    shown, targets, plain = np.asarray(shown), np.asarray(targets), np.asarray(batch["images"], np.float32)
    # One share for the batch: each slice is that share of itself and the rest of another.
    shares = {round(float(row.max()), 5) for row in targets if row.max() < 1}
    (share,) = {max(one, 1 - one) for one in shares}
    for image, target in zip(shown, targets, strict=True):
        fits = [
            (first, second, weight)
            for weight in (share, 1 - share)
            for first in range(ROWS)
            for second in range(ROWS)
            if np.abs(weight * plain[first] + (1 - weight) * plain[second] - image).max() < 1e-2
        ]
        first, second, weight = fits[0]
        expected = weight * np.eye(3)[batch["labels"][first]] + (1 - weight) * np.eye(3)[batch["labels"][second]]
        np.testing.assert_allclose(target, expected, atol=1e-4)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)


def test_mixing_moves_with_the_step_and_the_loss_is_that_of_the_targets():
    task, state, batch = begun(mixup=1.0)
    losses = [float(task.loss(state.params, state.replace(step=jnp.int32(step)), batch)[0]) for step in range(4)]
    assert len(set(losses)) == 4
    (again, _) = task.loss(state.params, state, batch)
    assert float(again) == losses[0]


def test_targets_that_are_off_leave_the_step_as_it_was():
    task, state, batch = begun()
    step = jax.jit(make_train_step(task, make_optimizer(TrainingConfig(), 10)))
    shown, targets = task._targets(batch["images"], batch["labels"], jax.random.key(0))
    assert targets is None and shown is batch["images"]
    assert np.isfinite(float(step(state, batch)[1]["loss"]))


@pytest.mark.parametrize("options", [{"label_smoothing": 0.2}, {"mixup": 0.3}])
def test_validation_is_measured_against_the_classes_themselves(options):
    plain, state, batch = begun()
    task, _, _ = begun(**options)
    for name, value in plain.evaluate(state.variables, batch).items():
        assert float(task.evaluate(state.variables, batch)[name]) == float(value)


def test_a_network_learns_the_blobs_from_mixed_and_smoothed_targets():
    split = blob_split(SLICES)
    task = dataclasses.replace(tiny_task(dropout=0.0), label_smoothing=0.1, mixup=0.2)
    config = TrainingConfig(epochs=15, batch_size=16, learning_rate=0.01, select="validation_accuracy")
    progress = Trainer(task, config, Examples.of(SLICES, split), 0).fit()
    assert progress.best is not None and progress.best["validation_accuracy"] > 0.9


def test_a_config_hands_its_targets_to_the_task():
    config = Config.default("cnn").replace("training.label_smoothing", 0.1).replace("training.mixup", 0.5)
    task = config.task()
    assert (task.label_smoothing, task.mixup) == (0.1, 0.5)


@pytest.mark.parametrize("name", ["label_smoothing", "mixup"])
def test_what_classifies_nothing_has_no_such_targets(name):
    with pytest.raises(InputError, match=f"--{name}: U-Net autoencoder is no classifier, expected 0"):
        Config.default("unet").replace(f"training.{name}", 0.1).task()


def test_mixed_slices_have_neither_class_weights_nor_masks():
    with pytest.raises(InputError, match=r"--mixup=0\.2: a mean of two slices has no class"):
        TrainingConfig(mixup=0.2, class_weights="balanced")
    config = Config.default("joint").replace("training.mixup", 0.2)
    examples = Examples(SLICES.images, SLICES.labels, np.arange(9)[None], np.arange(9, 12), 16)
    with pytest.raises(InputError, match=r"--mixup=0\.2: two slices' masks have no mean"):
        Trainer(config.task(), config.training, examples, 0)
