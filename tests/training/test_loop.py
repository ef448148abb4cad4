import dataclasses
import pathlib
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base.checkpoints import Checkpoints
from btjax.base.errors import InputError
from btjax.base.progress import Observer
from btjax.training import loop
from btjax.training.config import TrainingConfig
from btjax.training.examples import Examples
from btjax.training.loop import Trainer
from btjax.training.progress import Interrupted, NotFinite
from tests.training.blobs import blob_split, make_blobs, tiny_task
from tests.training.trainers import StopAt, make_trainer, same_bits

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def uninterrupted():
    trainer = make_trainer()
    with jax.numpy_dtype_promotion("standard"):
        trainer.fit()
    return trainer


def test_training_learns_blobs():
    trainer = make_trainer(task=tiny_task(dropout=0.0), epochs=20, learning_rate=0.005)
    history = trainer.fit().history
    assert history[-1]["validation_accuracy"] > 0.9
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 2
    assert [row["epoch"] for row in history] == list(range(1, 21))
    assert history[-1]["step"] == 20 * trainer.steps_per_epoch


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(uninterrupted):
    again, other = make_trainer(), make_trainer(seed=1)
    again.fit()
    other.fit()
    assert same_bits(again.state, uninterrupted.state)
    assert not same_bits(other.state.params, uninterrupted.state.params)


@pytest.mark.parametrize(("epoch", "steps", "number"), [(1, 1, signal.SIGTERM), (0, 3, signal.SIGINT)])
def test_a_stopped_run_resumes_to_the_same_bits(tmp_path, monkeypatch, uninterrupted, epoch, steps, number):
    monkeypatch.setattr(loop, "_CHUNK_SECONDS", 0.0)  # the host looks in after every step
    with pytest.raises(Interrupted, match="--resume") as stopped:
        make_trainer(tmp_path).fit(StopAt(epoch, steps, number))
    assert stopped.value.signal == number
    assert f"epoch {epoch + 1} after {steps} " in str(stopped.value)
    resumed = make_trainer(tmp_path, resume=True)
    progress = resumed.fit()
    assert same_bits(resumed.state, uninterrupted.state)
    for row, expected in zip(progress.history, uninterrupted.progress.history, strict=True):
        assert {**row, "seconds": 0} == {**expected, "seconds": 0}
    best, _ = Checkpoints(tmp_path).load("best", resumed.state.variables)
    assert progress.best["epoch"] == uninterrupted.progress.best["epoch"]
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(jnp.isfinite(leaf).all()), best))


KILLED = """
import signal, sys
import jax
import tests.conftest  # the same devices as here
from btjax.training import loop
from tests.training.trainers import StopAt, make_trainer

loop._CHUNK_SECONDS = 0.0
with jax.numpy_dtype_promotion("standard"):
    make_trainer(sys.argv[1]).fit(StopAt(1, 2, signal.SIGKILL))
"""


def test_a_run_killed_in_mid_epoch_resumes_to_the_same_bits(tmp_path, uninterrupted):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, capture_output=True, timeout=200)
    assert done.returncode == -signal.SIGKILL, done.stderr
    progress = Checkpoints(tmp_path).progress("last")
    assert (progress["epoch"], progress["steps"]) == (1, 0)
    resumed = make_trainer(tmp_path, resume=True)
    resumed.fit()
    assert same_bits(resumed.state, uninterrupted.state)


class Told(Observer):
    def __init__(self):
        self.messages = []

    def on_message(self, text):
        self.messages.append(text)


def flip(folder: pathlib.Path) -> None:
    """Flips a bit in the largest file of the newest checkpoint of a name."""
    newest = max((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    largest = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 8
    largest.write_bytes(content)


@pytest.mark.parametrize("epochs", [2, 3])
def test_a_run_whose_last_checkpoint_is_damaged_resumes_from_the_one_before_to_the_same_bits(
    tmp_path, uninterrupted, epochs
):
    make_trainer(tmp_path, epochs=epochs).fit()
    flip(tmp_path / "last")
    told, resumed = Told(), make_trainer(tmp_path)
    resumed.restore(told)
    assert (resumed.progress.epoch, len(told.messages)) == (epochs - 1, 1)
    assert "last: the checkpoint is damaged" in told.messages[0]
    resumed.fit()
    assert same_bits(resumed.state, uninterrupted.state)
    again = make_trainer(tmp_path)
    again.restore(told)
    assert same_bits(again.state, uninterrupted.state) and len(told.messages) == 1
    rows = zip(resumed.progress.history, uninterrupted.progress.history, strict=True)
    assert all({**row, "seconds": 0} == {**expected, "seconds": 0} for row, expected in rows)


def test_a_damaged_best_checkpoint_of_the_last_epoch_is_saved_again_with_the_same_bits(tmp_path):
    trainer = make_trainer(tmp_path, select="last_epoch")
    trainer.fit()
    best, about = trainer.checkpoints.load("best", trainer.state.variables)
    flip(tmp_path / "best")
    told, resumed = Told(), make_trainer(tmp_path, select="last_epoch")
    resumed.restore(told)
    assert len(told.messages) == 1
    assert "best: the checkpoint is damaged" in told.messages[0]
    assert told.messages[0].endswith("; saved again from the checkpoint of the same epoch")
    found, same = Checkpoints(tmp_path).load("best", trainer.state.variables)
    assert same_bits(found, best) and same == about


def test_a_damaged_best_checkpoint_is_refused_at_the_end_and_replaced_by_a_better_epoch_before(tmp_path):
    options = {"learning_rate": 0.0, "select": "validation_accuracy"}  # no epoch is better than the first
    make_trainer(tmp_path, **options).fit()
    flip(tmp_path / "best")
    with pytest.raises(InputError, match="best: the checkpoint is damaged"):
        make_trainer(tmp_path, resume=True, **options)
    told, longer = Told(), make_trainer(tmp_path, epochs=6, **options | {"learning_rate": 0.003})
    longer.restore(told)
    assert len(told.messages) == 1 and "a better epoch takes its place" in told.messages[0]
    assert longer.fit().best["epoch"] > 3
    best, _ = Checkpoints(tmp_path).load("best", longer.state.variables)
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(jnp.isfinite(leaf).all()), best))


def test_a_finished_run_resumes_to_itself(tmp_path):
    first = make_trainer(tmp_path)
    first.fit()
    second = make_trainer(tmp_path, resume=True)
    assert second.fit().epoch == 3
    assert same_bits(first.state, second.state)


def test_early_stopping_waits_for_the_patience_and_keeps_the_best(tmp_path):
    trainer = make_trainer(tmp_path, epochs=30, learning_rate=0.0, patience=2)
    progress = trainer.fit()
    assert (progress.epoch, progress.best["epoch"]) == (3, 1)


def test_the_best_checkpoint_has_the_best_validation_score(tmp_path):
    trainer = make_trainer(tmp_path, epochs=8, learning_rate=0.003, select="validation_accuracy")
    progress = trainer.fit()
    ranks = [(row["validation_accuracy"], -row["validation_loss"]) for row in progress.history]
    assert progress.best["epoch"] == 1 + ranks.index(max(ranks))
    variables, saved = trainer.checkpoints.load("best", trainer.state.variables)
    assert saved["best"]["epoch"] == progress.best["epoch"]
    sums = trainer.evaluate(variables, trainer.dataset, *trainer.validation)
    assert float(sums["accuracy"] / sums["count"]) == pytest.approx(progress.best["validation_accuracy"])


def test_the_last_epoch_is_kept_where_it_is_asked_for(tmp_path):
    trainer = make_trainer(tmp_path, select="last_epoch", learning_rate=0.0)
    assert trainer.fit().best["epoch"] == 3
    with pytest.raises(InputError, match="--patience=2: --select=last_epoch"):
        make_trainer(tmp_path, select="last_epoch", patience=2)


def test_permuted_labels_change_the_rows_to_train_on_alone_and_are_harder_to_learn():
    slices = make_blobs()
    split = blob_split(slices)
    examples = Examples.of(slices, split)
    permuted = examples.with_permuted_labels(0)
    assert np.array_equal(np.bincount(permuted.labels[split.train]), np.bincount(examples.labels[split.train]))
    assert (permuted.labels[split.train] != examples.labels[split.train]).mean() > 0.3
    for rows in (split.validation, split.test):
        assert np.array_equal(permuted.labels[rows], examples.labels[rows])
    copies = Examples(
        examples.images,
        np.tile(examples.labels, 2),
        np.stack([split.train, split.train + len(slices)]),
        split.validation,
        1,
    )
    twice = copies.with_permuted_labels(0)
    assert np.array_equal(twice.labels[twice.train[0]], twice.labels[twice.train[1]])
    true, random = (make_trainer(epochs=6, permuted_labels=flag) for flag in (False, True))
    assert true.fit().history[-1]["train_accuracy"] > random.fit().history[-1]["train_accuracy"] + 0.2


def test_plateau_halves_the_learning_rate_when_validation_stalls():
    trainer = make_trainer(epochs=6, learning_rate=1e-12, schedule="plateau")
    rates = [row["learning_rate"] for row in trainer.fit().history]
    assert rates[0] == pytest.approx(1e-12) and rates[-1] == pytest.approx(5e-13)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    make_trainer(tmp_path, epochs=1).fit()
    before = make_trainer(tmp_path, resume=True)

    class Poison(Observer):
        def on_start(self, progress, steps_per_epoch, epochs):
            poisoned = jax.tree.map(lambda leaf: leaf * jnp.nan, trainer.state.params)
            trainer.state = trainer.state.replace(params=poisoned)

    trainer = make_trainer(tmp_path, resume=True)
    with pytest.raises(NotFinite, match=r"the loss of step 6 \(epoch 2\) is not finite"):
        trainer.fit(Poison())
    after = make_trainer(tmp_path, resume=True)
    assert same_bits(before.state, after.state)


def test_resuming_without_a_checkpoint_says_so(tmp_path):
    with pytest.raises(InputError, match="no checkpoint found"):
        make_trainer(tmp_path, resume=True)


def test_restoring_without_a_place_for_checkpoints_says_what_is_missing():
    with pytest.raises(ValueError, match="checkpoints=None"):
        make_trainer().restore()


def test_slices_without_labels_cannot_be_classified():
    slices = dataclasses.replace(make_blobs(), labels=None)
    examples = Examples.of(slices, blob_split(make_blobs()))
    with pytest.raises(InputError, match=r"\d+ of \d+ slices to train and validate on have no label"):
        Trainer(tiny_task(), TrainingConfig(), examples, 0)


def test_an_observer_is_told_of_the_start_of_chunks_and_of_epochs():
    told = []

    class Told(Observer):
        def on_start(self, progress, steps_per_epoch, epochs):
            told.append(("start", steps_per_epoch, epochs))

        def on_steps(self, progress, means):
            assert np.isfinite(means["loss"])
            told.append(("steps", progress.epoch, progress.steps))

        def on_epoch(self, progress):
            told.append(("epoch", progress.epoch))

    trainer = make_trainer(epochs=2)
    trainer.fit(Told())
    steps = trainer.steps_per_epoch
    assert told[0] == ("start", steps, 2) and told[-1] == ("epoch", 2)
    assert ("steps", 0, steps) in told and ("steps", 1, steps) in told


def test_a_checkpoint_of_another_architecture_is_named_by_its_leaf(tmp_path):
    make_trainer(tmp_path, epochs=1).fit()
    from btjax.models.cnn import CNN
    from btjax.training.tasks import Classification

    task = tiny_task()
    other = Classification(CNN(widths=(4, 8), pools=2, dense=17), task.preprocessing, task.augmentation)
    with pytest.raises(InputError, match=r"another architecture: .*dense/.* is .*16.*expected .*17"):
        make_trainer(tmp_path, task=other, resume=True)


def test_the_best_checkpoint_and_the_last_two_are_kept(tmp_path):
    make_trainer(tmp_path, epochs=4).fit()
    assert {which: len(list((tmp_path / which).iterdir())) for which in ("last", "best")} == {"last": 2, "best": 1}


def test_rbg_keys_train_and_differ_from_threefry():
    threefry, rbg = make_trainer(epochs=1), make_trainer(epochs=1, prng="rbg")
    assert threefry.fit().history[0]["train_loss"] != rbg.fit().history[0]["train_loss"]


def without_validation(examples: Examples) -> Examples:
    return dataclasses.replace(examples, validation=np.empty(0, np.int32))


def test_a_run_without_validation_rows_takes_the_same_steps_and_ends_with_its_last_epoch(tmp_path):
    slices = make_blobs()
    examples, config = Examples.of(slices, blob_split(slices)), TrainingConfig(epochs=2, select="last_epoch")
    runs = [
        Trainer(tiny_task(), config, one, 0, Checkpoints(tmp_path / name))
        for name, one in (("with", examples), ("without", without_validation(examples)))
    ]
    histories = [run.fit().history for run in runs]
    assert same_bits(runs[0].state.params, runs[1].state.params)
    assert [row["epoch"] for row in histories[1]] == [1, 2]
    assert not [name for row in histories[1] for name in row if name.startswith("validation")]
    assert runs[1].checkpoints.progress("best")["epoch"] == 2


@pytest.mark.parametrize(
    ("options", "found"),
    [({}, "--select=validation_loss"), ({"select": "last_epoch", "schedule": "plateau"}, "plateau")],
)
def test_what_needs_validation_rows_is_refused_without_them(options, found):
    slices = make_blobs()
    examples = without_validation(Examples.of(slices, blob_split(slices)))
    with pytest.raises(InputError, match=rf"{found}: there are no validation slices"):
        Trainer(tiny_task(), TrainingConfig(epochs=1, **options), examples, 0)


@pytest.mark.parametrize("size", [0, -1, "8", None])
def test_a_batch_size_that_is_none_is_a_value_error(size):
    with pytest.raises(ValueError, match=r"batch_size is .*, expected a whole number of at least 1"):
        make_trainer(batch_size=size)


def test_labels_that_are_no_classes_and_slices_that_are_not_square_are_value_errors():
    slices = make_blobs()
    split, config = blob_split(slices), TrainingConfig(epochs=1, batch_size=16)
    examples = Examples.of(slices, split)
    other = dataclasses.replace(examples, labels=examples.labels + 7)
    with pytest.raises(ValueError, match="labels from 7 to 9, expected 0 to 2"):
        Trainer(tiny_task(), config, other, 0)
    with pytest.raises(ValueError, match="expected square ones"):
        Examples.of(dataclasses.replace(slices, images=slices.images[:, :, 1:], masks=None), split)
