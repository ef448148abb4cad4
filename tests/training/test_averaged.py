"""The running mean of the weights: what it is, and that it is what is validated and kept."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base.checkpoints import Checkpoints
from btjax.data.augment import Augmentation
from btjax.data.preprocess import Preprocessing
from btjax.models.segmenter import Segmenter
from btjax.training.config import TrainingConfig
from btjax.training.examples import Examples
from btjax.training.loop import Trainer
from btjax.training.many import ManyTrainer
from btjax.training.progress import Interrupted
from btjax.training.segmentation import Segmentation
from tests.training.blobs import blob_split, make_blobs, tiny_task
from tests.training.trainers import StopAt, same_bits

SLICES = make_blobs()
EXAMPLES = Examples.of(SLICES, blob_split(SLICES))
CONFIG = TrainingConfig(epochs=3, batch_size=16, learning_rate=0.01, averaged=0.9, select="last_epoch")


@pytest.fixture(autouse=True)
def _standard(standard_promotion):
    """Optax promotes types."""


def trainer_of(folder=None, **options):
    config = dataclasses.replace(CONFIG, **options)
    return Trainer(tiny_task(), config, EXAMPLES, 0, folder and Checkpoints(folder))


def test_the_mean_is_that_of_the_weights_after_each_step():
    trainer = trainer_of()
    batches, mean = trainer.batches(), jax.device_get(trainer.state.params)
    assert not trainer.state.batch_stats
    for step in range(trainer.steps_per_epoch):
        trainer.state, trainer.sums = trainer.train_chunk(
            (trainer.state, trainer.sums), trainer.dataset, batches, jnp.int32(step), jnp.int32(step + 1)
        )
        share = min(0.9, (1 + step) / (10 + step))
        mean = jax.tree.map(
            lambda old, new, share=share: share * np.float64(old) + (1 - share) * np.float64(new),
            mean,
            trainer.state.params,
        )
    for found, expected in zip(jax.tree.leaves(trainer.state.mean), jax.tree.leaves(mean), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_what_is_kept_and_validated_is_the_mean(tmp_path):
    trainer = trainer_of(tmp_path)
    progress = trainer.fit()
    kept, _ = trainer.checkpoints.load("best", trainer.state.variables)
    assert same_bits(kept, trainer.state.judged) and not same_bits(kept, trainer.state.variables)
    sums = trainer.evaluate(trainer.state.judged, trainer.dataset, *trainer.validation)
    assert progress.history[-1]["validation_loss"] == pytest.approx(float(sums["loss"]) / float(sums["count"]))


def test_the_statistics_of_a_normalisation_are_averaged_with_the_weights_that_they_are_of():
    model = Segmenter(width=4, halvings=2, convolutions=1)
    task = Segmentation(model, Preprocessing("grey"), Augmentation())
    slices = dataclasses.replace(SLICES, masks=SLICES.images >= 150)
    examples = Examples.of(slices, blob_split(SLICES), masks=True)
    trainer = Trainer(task, dataclasses.replace(CONFIG, epochs=1), examples, 0)
    batches, mean = trainer.batches(), jax.device_get(trainer.state.batch_stats)
    for step in range(2):
        trainer.state, trainer.sums = trainer.train_chunk(
            (trainer.state, trainer.sums), trainer.dataset, batches, jnp.int32(step), jnp.int32(step + 1)
        )
        share = (1 + step) / (10 + step)
        new = trainer.state.batch_stats
        mean = jax.tree.map(lambda old, new, share=share: share * old + (1 - share) * np.asarray(new), mean, new)
    judged = trainer.state.judged["batch_stats"]
    for found, expected in zip(jax.tree.leaves(judged), jax.tree.leaves(mean), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert not same_bits(judged, trainer.state.batch_stats)


def test_what_does_not_move_keeps_its_bits_in_the_mean():
    trainer = trainer_of()
    state = trainer.state
    for step in range(1, 20):
        state = state.replace(step=jnp.int32(step)).with_mean(0.999)
    assert same_bits(state.mean["params"], trainer.state.params)


def test_weights_train_as_without_a_mean():
    averaged, plain = trainer_of(), trainer_of(averaged=0.0)
    averaged.fit(), plain.fit()
    assert same_bits(averaged.state.params, plain.state.params)
    assert same_bits(plain.state.judged, plain.state.variables)


def test_a_run_that_was_stopped_ends_with_the_same_mean(tmp_path):
    whole = trainer_of(tmp_path / "whole")
    whole.fit()
    stopped = trainer_of(tmp_path / "stopped")
    with pytest.raises(Interrupted):
        stopped.fit(StopAt(1, 2))
    again = trainer_of(tmp_path / "stopped")
    again.restore()
    again.fit()
    assert same_bits(again.state.mean, whole.state.mean)


def test_many_runs_in_one_program_keep_each_its_own_mean():
    alone = [Trainer(tiny_task(), CONFIG, EXAMPLES, seed) for seed in (0, 1)]
    for trainer in alone:
        trainer.fit()
    many = ManyTrainer(tiny_task(), CONFIG, [EXAMPLES, EXAMPLES], [0, 1], form="map")
    many.fit()
    for own, other in zip(alone, many.runs, strict=True):
        assert same_bits(own.state.mean, other.state.mean)
