"""Balanced class weights: what they are, what they weigh, and that everything else of training is as without them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.utils.class_weight import compute_class_weight

from btjax.base.checkpoints import Checkpoints
from btjax.base.errors import InputError
from btjax.data.augment import Augmentation
from btjax.data.preprocess import Preprocessing
from btjax.models.unet import UNet
from btjax.training import loop
from btjax.training import step as compiled
from btjax.training.balance import balanced_weights
from btjax.training.config import TrainingConfig
from btjax.training.examples import Examples
from btjax.training.loop import Trainer
from btjax.training.many import ManyTrainer
from btjax.training.progress import Interrupted
from btjax.training.tasks import Reconstruction
from tests.training.blobs import make_blobs, tiny_task
from tests.training.trainers import StopAt, same_bits

SLICES = make_blobs()
PLAIN = TrainingConfig(epochs=2, batch_size=16)
BALANCED = dataclasses.replace(PLAIN, class_weights="balanced")
STILL = {"epochs": 1, "learning_rate": 0.0}


@pytest.fixture(autouse=True)
def _standard(standard_promotion):
    """Optax promotes types."""


def examples_of(*counts: int) -> Examples:
    """So many training rows of each class, and validation on the same number of rows of each."""
    rows = [np.flatnonzero(SLICES.labels == label) for label in range(3)]
    train = np.concatenate([own[:count] for own, count in zip(rows, counts, strict=True)])
    validation = np.concatenate([own[-4:] for own in rows])
    return Examples(SLICES.images, SLICES.labels, train[None].astype(np.int32), validation.astype(np.int32), 16)


UNEQUAL = examples_of(5, 20, 12)  # 37 rows: 3 batches of 16, 11 rows of padding


def trainer_of(examples=UNEQUAL, config=BALANCED, folder=None, **options) -> Trainer:
    task = tiny_task(dropout=0.0)
    return Trainer(task, dataclasses.replace(config, **options), examples, 0, folder and Checkpoints(folder))


def cross_entropies(trainer: Trainer, rows: np.ndarray) -> np.ndarray:
    """float64 [n] by NumPy, of the trainer's present logits."""
    logits = np.asarray(trainer.task.outputs(trainer.state.variables, jnp.asarray(SLICES.images[rows])), np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(rows)), SLICES.labels[rows]]


@pytest.mark.parametrize("counts", [(1, 1), (5, 20, 12), (708, 1426, 930), (3, 1, 4, 1, 5)])
def test_the_weights_are_scikit_learns_and_their_mean_over_rows_is_one(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    weights = balanced_weights(labels)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights.dtype == np.float32 and weights[labels].mean() == pytest.approx(1, rel=1e-6)


def test_a_class_without_rows_takes_no_part():
    weights = balanced_weights(np.array([0, 0, 0, 2]))
    np.testing.assert_allclose(weights, [4 / 6, 0, 2], rtol=1e-6)


def test_copies_of_the_rows_and_permuted_labels_have_the_weights_of_the_rows():
    labels, rows = SLICES.labels, UNEQUAL.train
    np.testing.assert_array_equal(
        balanced_weights(labels[np.concatenate([rows, rows])]), balanced_weights(labels[rows])
    )
    permuted = trainer_of(permuted_labels=True)
    np.testing.assert_array_equal(permuted.class_weights, balanced_weights(labels[rows]))
    batches = permuted.batches()
    shuffled = np.asarray(permuted.dataset["labels"])[np.asarray(batches.table)]
    np.testing.assert_array_equal(batches.weights, np.asarray(permuted.class_weights)[shuffled])


def test_weights_come_from_the_training_rows_alone():
    other = dataclasses.replace(UNEQUAL, validation=np.flatnonzero(SLICES.labels == 0)[-9:].astype(np.int32))
    np.testing.assert_array_equal(trainer_of(other).class_weights, trainer_of().class_weights)
    np.testing.assert_allclose(trainer_of().class_weights, [37 / 15, 37 / 60, 37 / 36], rtol=1e-6)


@pytest.mark.parametrize("devices", [1, 2])
def test_the_training_loss_is_the_mean_of_the_classes_means_and_validation_is_as_ever(devices):
    weighed, plain = trainer_of(devices=devices, **STILL), trainer_of(config=PLAIN, **STILL)
    weighed.fit()
    plain.fit()
    (row,), (before,) = weighed.progress.history, plain.progress.history
    rows = UNEQUAL.train[0]
    losses, labels = cross_entropies(plain, rows), SLICES.labels[rows]
    of_classes = [losses[labels == label].mean() for label in range(3)]
    penalty = float(plain.task.model.penalty(plain.state.params))
    assert row["train_loss"] == pytest.approx(np.mean(of_classes) + penalty, rel=1e-5)
    assert before["train_loss"] == pytest.approx(losses.mean() + penalty, rel=1e-5)
    assert row["train_loss"] != pytest.approx(before["train_loss"], rel=1e-4)
    for name in ("train_accuracy", "validation_loss", "validation_accuracy"):
        assert row[name] == pytest.approx(before[name], rel=1e-6), name


def test_the_loss_of_a_batch_is_divided_by_its_rows_and_padding_has_no_weight():
    trainer = trainer_of()
    batches = jax.tree.map(lambda part: part[2], trainer.batches())  # the short last one
    rows, counted, weights = (np.asarray(part) for part in batches)
    assert counted.sum() == 5
    batch = {"images": SLICES.images[rows], "labels": SLICES.labels[rows], "counted": counted, "weights": weights}
    batch = {name: jnp.asarray(array) for name, array in batch.items()}
    loss, _ = trainer.task.loss(trainer.state.params, trainer.state, batch)
    expected = (weights * cross_entropies(trainer, rows))[counted].sum() / 5
    penalty = float(trainer.task.model.penalty(trainer.state.params))
    assert float(loss) == pytest.approx(expected + penalty, rel=1e-5)


def test_the_gradient_of_all_rows_at_once_is_that_of_the_mean_of_the_classes_means():
    trainer = trainer_of(batch_size=37)
    state, task = trainer.state, trainer.task
    table, counted, weights = (part[0] for part in trainer.batches())
    labels, images = jnp.asarray(SLICES.labels)[table], jnp.asarray(SLICES.images)[table]
    batch = {"images": images, "labels": labels, "counted": counted, "weights": weights}
    found = jax.grad(task.loss, has_aux=True)(state.params, state, batch)[0]

    def means(params):
        logits = task.outputs({"params": params, "batch_stats": {}}, images)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        each = [jnp.sum(jnp.where(labels == label, losses, 0)) / jnp.sum(labels == label) for label in range(3)]
        return sum(each) / 3 + task.model.penalty(params)

    expected = jax.grad(means)(state.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected)


def test_with_equal_classes_every_bit_is_that_of_training_without_weights():
    weighed, plain = (trainer_of(examples_of(12, 12, 12), config) for config in (BALANCED, PLAIN))
    weighed.fit()
    plain.fit()
    assert same_bits(weighed.state, plain.state)
    assert not same_bits(trainer_fitted(BALANCED).state.params, trainer_fitted(PLAIN).state.params)


def trainer_fitted(config: TrainingConfig) -> Trainer:
    trainer = trainer_of(config=config)
    trainer.fit()
    return trainer


def test_without_weights_the_program_does_not_know_of_them():
    trainer = trainer_of(config=PLAIN)
    assert trainer.class_weights is None and type(trainer.batches()) is compiled.Batches


def test_a_stopped_run_resumes_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_CHUNK_SECONDS", 0.0)
    whole = trainer_fitted(BALANCED)
    with pytest.raises(Interrupted):
        trainer_of(folder=tmp_path).fit(StopAt(1, 1))
    resumed = trainer_of(folder=tmp_path)
    resumed.restore()
    resumed.fit()
    assert same_bits(resumed.state, whole.state)


@pytest.mark.parametrize("form", ["map", "vmap"])
def test_each_of_many_runs_has_the_weights_of_its_own_rows(form):
    folds = [UNEQUAL, examples_of(20, 6, 6)]  # 3 and 2 steps
    many = ManyTrainer(tiny_task(dropout=0.0), BALANCED, folds, [0, 0], form=form)
    many.fit()
    for run, examples in zip(many.runs, folds, strict=True):
        alone = trainer_of(examples)
        alone.fit()
        np.testing.assert_array_equal(run.class_weights, alone.class_weights)
        if form == "map":
            assert same_bits(run.state, alone.state)
        for row, expected in zip(run.progress.history, alone.progress.history, strict=True):
            assert row | {"seconds": 0} == pytest.approx(expected | {"seconds": 0}, rel=1e-4)
    assert not np.allclose(many.runs[0].class_weights, many.runs[1].class_weights)


def test_an_autoencoder_has_no_classes_to_weigh():
    task = Reconstruction(UNet(width=2), Preprocessing("grey3"), Augmentation())
    with pytest.raises(InputError, match="--class_weights=balanced: a reconstruction has no classes, expected none"):
        Trainer(task, BALANCED, UNEQUAL, 0)


@pytest.mark.parity
def test_over_all_rows_pytorch_agrees_and_within_a_batch_it_weighs_by_the_company(torch):
    trainer = trainer_of()
    weights = np.asarray(trainer.class_weights)

    def both(rows):
        logits = np.array(trainer.task.outputs(trainer.state.variables, jnp.asarray(SLICES.images[rows])))
        loss = torch.nn.CrossEntropyLoss(weight=torch.from_numpy(weights.copy()))
        own = weights[SLICES.labels[rows]]
        ours = float(np.mean(own * cross_entropies(trainer, rows)))
        theirs = float(loss(torch.from_numpy(logits), torch.from_numpy(SLICES.labels[rows].astype(np.int64))))
        return ours, theirs, float(own.mean())

    ours, theirs, _ = both(UNEQUAL.train[0])
    assert ours == pytest.approx(theirs, rel=1e-5)
    ours, theirs, mean = both(UNEQUAL.train[0][:8])
    assert ours == pytest.approx(theirs * mean, rel=1e-5) and abs(mean - 1) > 0.1
