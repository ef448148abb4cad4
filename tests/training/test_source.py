"""Training on slices that are read from files while it goes on: the same bits as from memory."""

import dataclasses
import os
import shutil
import threading

import jax
import numpy as np
import pytest

from btjax.base.checkpoints import Checkpoints
from btjax.base.errors import InputError
from btjax.base.rows import LazyRows
from btjax.data.builder import load
from btjax.data.records import RecordsLost
from btjax.training import source
from btjax.training import step as compiled
from btjax.training.config import TrainingConfig
from btjax.training.examples import Examples
from btjax.training.loop import Trainer
from btjax.training.many import ManyTrainer
from btjax.training.progress import Interrupted
from btjax.training.source import Resident, Streamed, make_source
from tests.readers import forms
from tests.training.blobs import blob_split, tiny_task
from tests.training.trainers import StopAt, same_bits

SIDE, BATCH = 16, 8


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Two steps a block."""
    monkeypatch.setattr(source, "_BLOCK_BYTES", 2 * BATCH * (SIDE * SIDE + 8))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data folder and its cache, of several files, before anything is damaged."""
    place = tmp_path_factory.mktemp("prepared")
    forms.write_manifest(place / "data", forms.make_slices(60, SIDE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("btjax.data.prepared._SHARD_BYTES", 20 * SIDE * SIDE)
        load(place / "data", SIDE, place / "cache")
    return place


@pytest.fixture
def copy(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "copy", copy_function=shutil.copy2)
    return tmp_path / "copy"


def make_trainer(place, stream, folder=None, resume=False, **options) -> Trainer:
    slices = load(place / "data", SIDE, place / "cache", stream=stream)
    examples = Examples.of(slices, blob_split(slices))
    config = TrainingConfig(**({"epochs": 2, "batch_size": BATCH} | options))
    task = tiny_task(flip=True, rotation=5.0, intensity=0.1)
    trainer = Trainer(task, config, examples, 0, None if folder is None else Checkpoints(folder))
    if resume:
        trainer.restore()
    return trainer


def without_seconds(history):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


@pytest.fixture(scope="module")
def resident(prepared):
    with jax.numpy_dtype_promotion("standard"):
        trainer = make_trainer(prepared, False)
        trainer.fit()
    return trainer


def shards(place):
    return sorted((place / "cache" / "brain_tumours").glob("*/*/*.array_record-*"))


def test_streamed_training_and_validation_have_the_bits_of_resident_ones(prepared, resident):
    streamed = make_trainer(prepared, True)
    assert isinstance(streamed.source, Streamed) and isinstance(resident.source, Resident)
    assert streamed.steps_per_epoch > 4  # more than two blocks
    streamed.fit()
    assert same_bits(streamed.state, resident.state)
    assert without_seconds(streamed.progress.history) == without_seconds(resident.progress.history)


def test_class_weights_reach_the_same_rows_in_a_stream(prepared):
    trainers = [make_trainer(prepared, stream, class_weights="balanced", epochs=1) for stream in (False, True)]
    for trainer in trainers:
        trainer.fit()
    assert same_bits(trainers[0].state, trainers[1].state)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_stream_that_is_interrupted_within_an_epoch_goes_on_to_the_same_bits(prepared, resident, tmp_path, steps):
    trainer = make_trainer(prepared, True, tmp_path / "run")
    with pytest.raises(Interrupted):
        trainer.fit(StopAt(1, steps))
    stopped = Checkpoints(tmp_path / "run").progress("last")
    assert stopped["epoch"] == 1 and 0 < stopped["steps"] < trainer.steps_per_epoch
    again = make_trainer(prepared, True, tmp_path / "run", resume=True)
    again.fit()
    assert same_bits(again.state, resident.state)


def test_a_run_may_begin_in_memory_and_go_on_from_files(prepared, resident, tmp_path):
    trainer = make_trainer(prepared, False, tmp_path / "run")
    with pytest.raises(Interrupted):
        trainer.fit(StopAt(0, 3))
    again = make_trainer(prepared, True, tmp_path / "run", resume=True)
    again.fit()
    assert same_bits(again.state, resident.state)


class Damage(StopAt):
    """Damages a file once a step has been taken."""

    def __init__(self, epoch, steps, damage):
        super().__init__(epoch, steps)
        self.damage = damage

    def on_steps(self, progress, means):
        if (progress.epoch, progress.steps) >= self.place:
            self.place = (float("inf"), 0)
            self.damage()


@pytest.mark.parametrize("place", [(0, 1), (0, 7), (1, 2)])
@pytest.mark.parametrize("cut_off", [False, True])
def test_a_file_that_changes_while_a_run_goes_on_is_named_and_the_run_goes_on_to_the_same_bits(
    copy, prepared, resident, tmp_path, place, cut_off
):
    path = shards(copy)[1]

    def damage():
        os.truncate(path, path.stat().st_size // 2) if cut_off else os.utime(path, (1, 1))

    trainer = make_trainer(copy, True, tmp_path / "run")
    with pytest.raises(RecordsLost, match="--resume continues from here") as caught:
        trainer.fit(Damage(*place, damage))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    kept = Checkpoints(tmp_path / "run").progress("last")
    assert (kept["epoch"], kept["steps"]) >= place
    shutil.copy2(shards(prepared)[1], path)
    again = make_trainer(copy, True, tmp_path / "run", resume=True)
    again.fit()
    assert same_bits(again.state, resident.state)


def test_every_block_holds_the_rows_of_its_batches():
    images = np.arange(30 * SIDE * SIDE, dtype=np.int64).astype(np.uint8).reshape(30, SIDE, SIDE)
    masks = np.arange(30 * 32, dtype=np.int64).astype(np.uint8).reshape(30, 32)
    arrays = {"images": images, "labels": np.arange(30, dtype=np.int32), "masks": masks}
    lazy = {name: LazyRows(lambda rows, a=a: a[rows], a.shape, a.dtype) for name, a in arrays.items()}
    rows = np.random.default_rng(0).permutation(30)[:27].astype(np.int32)
    batches = compiled.batch_table(rows, BATCH)
    for step in range(5):
        taken = step
        for block in Streamed(lazy | {"labels": arrays["labels"]}, jax.device_put).blocks(batches, step):
            assert block.first <= taken < block.stop
            for at in range(block.first, block.stop):
                table, counted = block.batches.table[at - block.first], block.batches.counted[at - block.first]
                np.testing.assert_array_equal(counted, batches.counted[at])
                for name, array in arrays.items():
                    np.testing.assert_array_equal(block.dataset[name][table], array[np.asarray(batches.table[at])])
            taken = block.stop
        assert taken == 4


def test_the_next_blocks_are_read_while_the_steps_of_one_are_taken():
    read, enough = [], threading.Event()

    def images(rows):
        read.append(len(rows))
        if len(read) == 2:
            enough.set()
        return np.zeros((len(rows), SIDE, SIDE), np.uint8)

    arrays = {"images": LazyRows(images, (64, SIDE, SIDE), np.uint8), "labels": np.zeros(64, np.int32)}
    blocks = Streamed(arrays, jax.device_put).blocks(compiled.batch_table(np.arange(64, dtype=np.int32), BATCH), 0)
    next(blocks)
    assert enough.wait(60)  # nobody has asked for the second block
    blocks.close()
    assert len(read) <= 4


def test_an_error_of_a_file_comes_out_of_the_threads_as_it_is():
    def images(rows):
        raise RecordsLost("a: changed")

    arrays = {"images": LazyRows(images, (64, SIDE, SIDE), np.uint8), "labels": np.zeros(64, np.int32)}
    batches = compiled.batch_table(np.arange(64, dtype=np.int32), BATCH)
    with pytest.raises(RecordsLost, match="a: changed"):
        next(Streamed(arrays, jax.device_put).blocks(batches, 0))


def test_several_runs_in_one_program_are_not_streamed(prepared):
    slices = load(prepared / "data", SIDE, prepared / "cache", stream=True)
    examples = Examples.of(slices, blob_split(slices))
    with pytest.raises(InputError, match="--stream: one run at a time"):
        ManyTrainer(tiny_task(), TrainingConfig(batch_size=BATCH), [examples, examples], [0, 1])


def test_packed_masks_of_a_stream_are_those_of_memory(prepared):
    found = [
        Examples.of(slices, blob_split(slices), masks=True)
        for slices in (load(prepared / "data", SIDE, prepared / "cache", stream=stream) for stream in (False, True))
    ]
    np.testing.assert_array_equal(found[1].masks[:], found[0].masks)
    assert dataclasses.replace(found[1], masks=None).arrays.keys() == {"images", "labels"}
    assert isinstance(make_source(found[1], jax.device_put), Streamed)
