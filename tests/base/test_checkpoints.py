import json
import pathlib
import shutil
import subprocess
import sys
from functools import partial
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base.checkpoints import Checkpoints, Damaged
from btjax.base.errors import InputError
from btjax.base.progress import Observer
from btjax.training.config import TrainingConfig
from btjax.training.optimizers import make_optimizer
from btjax.training.state import create_state
from tests.training.blobs import tiny_task


@pytest.fixture(scope="module")
def state():
    with jax.numpy_dtype_promotion("standard"):
        initialise = partial(tiny_task().initialise, image_size=16)
        return create_state(initialise, make_optimizer(TrainingConfig(), 4), jax.random.key(3))


ROOT = pathlib.Path(__file__).resolve().parents[2]
SUMS = {"loss": jnp.float32(1.5), "not_finite_loss": jnp.int32(7)}


def test_a_state_comes_back_with_every_bit_and_its_progress(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", {"state": state, "sums": SUMS}, 0, {"epoch": 2, "history": [{"loss": 0.1}]})
    zeros = jax.tree.map(lambda leaf: leaf if leaf.dtype == state.key.dtype else jnp.zeros_like(leaf), state)
    tree, progress = checkpoints.load("last", {"state": zeros, "sums": SUMS})
    loaded, sums = tree["state"], tree["sums"]
    assert progress == {"epoch": 2, "history": [{"loss": 0.1}]}
    assert sums == SUMS
    assert jax.tree.structure(loaded) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, state.params)
    jax.tree.map(np.testing.assert_array_equal, loaded.opt_state, state.opt_state)
    np.testing.assert_array_equal(jax.random.key_data(loaded.key), jax.random.key_data(state.key))
    assert loaded.step.dtype == jnp.int32


def test_a_lower_step_saved_later_is_the_one_that_counts(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", state.variables, 20, {"epoch": 2})
    checkpoints.save("best", state.variables, 10, {"epoch": 1})
    assert checkpoints.progress("best") == {"epoch": 1}


def test_reading_disturbs_no_save_that_is_under_way(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", state.variables, 5, {"epoch": 1})
    unfinished = tmp_path / "best" / "2.orbax-checkpoint-tmp"
    unfinished.mkdir()
    checkpoints.load("best", state.variables)
    assert unfinished.exists()


def test_a_damaged_checkpoint_is_called_so(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", state.variables, 5, {"epoch": 1})
    for path in (tmp_path / "best" / "1").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(InputError, match="best: the checkpoint is damaged") as caught:
        checkpoints.load("best", state.variables)
    assert "\n" not in str(caught.value)


def test_the_same_step_can_be_saved_again(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    for epoch in (1, 2):
        checkpoints.save("best", state.variables, 5, {"epoch": epoch})
    _, progress = checkpoints.load("best", state.variables)
    assert progress == {"epoch": 2}


FULL_DISK = """
import resource, signal, sys
import jax.numpy as jnp
from btjax.base.errors import InputError
from btjax.base.checkpoints import Checkpoints
from btjax.training.state import TrainState

checkpoints = Checkpoints(sys.argv[1])
kernels = {str(number): jnp.arange(4096.0) for number in range(20)}
state = TrainState(jnp.int32(0), kernels, {}, {}, {}, {}, {})
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
checkpoints.save("last", state, 0, {"epoch": 0})
for epoch in range(1, 6):  # threads that still write what failed meet the save that comes next
    resource.setrlimit(resource.RLIMIT_FSIZE, (256, limits[1]))
    try:
        checkpoints.save("last", state.replace(step=jnp.int32(epoch)), epoch, {"epoch": epoch})
    except InputError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    loaded, progress = checkpoints.load("last", state)
    assert progress == {"epoch": epoch - 1} and loaded.step == epoch - 1
    assert all((loaded.params[name] == kernels[name]).all() for name in kernels)
    checkpoints.save("last", state.replace(step=jnp.int32(epoch)), epoch, {"epoch": epoch})
    assert checkpoints.load("last", state)[1] == {"epoch": epoch}
    whole = [path.name for path in (checkpoints.folder / "last").iterdir() if path.name.isdigit()]
    assert len(whole) == 2, whole
"""


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_no_numbers_are_named_and_not_used(tmp_path, value):
    weights = {"params": {"dense": {"bias": jnp.ones(3).at[1].set(value)}}, "best_loss": jnp.float32(np.inf)}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", weights, 0, {})
    with pytest.raises(InputError, match=r"best: params/dense/bias of the checkpoint holds NaN or infinity"):
        checkpoints.load("best", weights)


def test_a_disk_that_takes_no_more_keeps_the_previous_checkpoint(tmp_path):
    # In a process of its own, since a limit on the size of files holds for all of a process's threads.
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5 and done.stderr == ""
    assert "the checkpoint of step 5 could not be written, the previous one is kept: " in done.stdout


def test_a_missing_checkpoint_is_named(tmp_path, state):
    assert not Checkpoints(tmp_path).exists("best")
    with pytest.raises(InputError, match=r"best: no checkpoint found"):
        Checkpoints(tmp_path).load("best", state.variables)


def _flip(path: pathlib.Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(bytes(content))


def test_a_bit_that_is_flipped_in_the_arrays_is_found(tmp_path):
    kernel = np.random.default_rng(0).normal(size=4096).astype(np.float32)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", {"kernel": kernel}, 5, {"epoch": 1})
    files = [path for path in (tmp_path / "best" / "1").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    whole = largest.read_bytes()
    for byte in np.random.default_rng(1).integers(len(whole) // 10, len(whole), 20).tolist():
        _flip(largest, byte)
        with pytest.raises(InputError, match="best: the checkpoint is damaged") as caught:
            checkpoints.load("best", {"kernel": kernel})
        assert "\n" not in str(caught.value)
        largest.write_bytes(whole)
    loaded, _ = checkpoints.load("best", {"kernel": kernel})
    np.testing.assert_array_equal(loaded["kernel"], kernel)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b'{"custom_metadata": {"epo'])
def test_a_checkpoint_whose_metadata_are_lost_is_damaged_and_not_a_run_at_its_beginning(tmp_path, content):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", {"a": jnp.arange(4.0)}, 5, {"epoch": 3})
    path = tmp_path / "last" / "1" / "_CHECKPOINT_METADATA"
    path.unlink() if content is None else path.write_bytes(content)
    for read in (lambda: checkpoints.load("last", {"a": jnp.arange(4.0)}), lambda: checkpoints.progress("last")):
        with pytest.raises(InputError, match="last: the checkpoint is damaged"):
            read()


@pytest.mark.parametrize(("old", "new"), [(b'"epoch": 3', b'"epoch": 7'), (b'"a": "', b'"b": "')])
def test_metadata_that_say_something_else_than_was_saved_are_found(tmp_path, old, new):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", {"a": jnp.arange(4.0)}, 5, {"epoch": 3})
    path = tmp_path / "last" / "1" / "_CHECKPOINT_METADATA"
    assert path.read_bytes().count(old) == 1
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(InputError, match="last: the checkpoint is damaged"):
        checkpoints.load("last", {"a": jnp.arange(4.0)})


def test_a_checkpoint_of_before_there_were_checksums_is_loaded_as_it_is(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", {"a": jnp.arange(4.0)}, 5, {"epoch": 3})
    path = tmp_path / "last" / "1" / "_CHECKPOINT_METADATA"
    values = json.loads(path.read_text())
    del values["custom_metadata"]["checksums"]
    path.write_text(json.dumps(values))
    tree, progress = checkpoints.load("last", {"a": jnp.zeros(4)})
    assert tree["a"].tolist() == [0, 1, 2, 3] and progress == {"epoch": 3}


def test_a_checkpoint_takes_the_place_of_the_one_before_and_of_what_a_killed_process_left(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", {"a": jnp.arange(4.0)}, 1, {"epoch": 1})
    for left_over in ("0", ".gone-0"):  # stopped before and while the older one was removed
        (tmp_path / "last" / left_over / "state").mkdir(parents=True)
    checkpoints.save("last", {"a": jnp.arange(4.0) + 1}, 2, {"epoch": 2})
    assert sorted(path.name for path in (tmp_path / "last").iterdir()) == ["1", "2"]
    tree, progress = checkpoints.load("last", {"a": jnp.zeros(4)})
    assert tree["a"].tolist() == [1, 2, 3, 4] and progress == {"epoch": 2}


def test_a_save_never_writes_where_one_that_failed_may_still_be_written(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", {"a": jnp.arange(4.0)}, 1, {"epoch": 1})
    failed = tmp_path / "last" / "2.orbax-checkpoint-tmp"
    (failed / "state").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", Mock(side_effect=OSError(39, "Directory not empty")))
        checkpoints.save("last", {"a": jnp.arange(4.0) + 1}, 2, {"epoch": 2})
    assert {path.name for path in (tmp_path / "last").iterdir()} == {"1", "3", ".gone-2.orbax-checkpoint-tmp"}
    checkpoints.save("last", {"a": jnp.arange(4.0) + 2}, 3, {"epoch": 3})
    assert {path.name for path in (tmp_path / "last").iterdir()} == {"3", "4"}
    assert checkpoints.load("last", {"a": jnp.zeros(4)})[1] == {"epoch": 3}


def test_the_one_before_is_removed_after_the_new_one_is_on_the_disk(tmp_path, monkeypatch):
    def power_cut(folder):
        raise OSError("no power")

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", {"a": jnp.arange(4.0)}, 1, {"epoch": 1})
    monkeypatch.setattr("btjax.base.checkpoints.sync_tree", power_cut)
    with pytest.raises(InputError, match="could not be written, the previous one is kept: no power"):
        checkpoints.save("last", {"a": jnp.arange(4.0) + 1}, 2, {"epoch": 2})
    shutil.rmtree(tmp_path / "last" / "2")  # what the disk did not take
    assert checkpoints.progress("last") == {"epoch": 1}


class Told(Observer):
    def __init__(self):
        self.messages = []

    def on_message(self, text):
        self.messages.append(text)


TREE = {"params": {"kernel": jnp.arange(4096.0), "bias": jnp.arange(3.0)}}


def _later(tree):
    return jax.tree.map(lambda leaf: leaf + 1, tree)


@pytest.fixture
def twice(tmp_path) -> Checkpoints:
    """Two checkpoints "last", of epochs 1 and 2."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", TREE, 5, {"epoch": 1})
    checkpoints.save("last", _later(TREE), 10, {"epoch": 2})
    return checkpoints


def _flip_largest(folder: pathlib.Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    _flip(max(files, key=lambda path: path.stat().st_size), 200)


def _lose_arrays(folder: pathlib.Path) -> None:
    shutil.rmtree(folder / "state")


def _zero(folder: pathlib.Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(bytes(path.stat().st_size))


def _empty(folder: pathlib.Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _lose_metadata(folder: pathlib.Path) -> None:
    (folder / "_CHECKPOINT_METADATA").unlink()


def _other_list(folder: pathlib.Path) -> None:
    path = folder / "state" / "_METADATA"
    assert b"bias" in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"bias", b"bia3"))


DAMAGES = [_flip_largest, _lose_arrays, _zero, _empty, _lose_metadata, _other_list]


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_checkpoint_before_a_damaged_one_is_loaded_and_one_line_says_so(twice, damage, caplog):
    damage(twice.folder / "last" / "2")
    told = Told()
    tree, progress = Checkpoints(twice.folder).load("last", TREE, told)
    jax.tree.map(np.testing.assert_array_equal, tree, TREE)
    assert progress == {"epoch": 1}
    (line,) = told.messages
    assert line.startswith(f"note: {twice.folder}/last: the checkpoint is damaged")
    assert line.endswith(f"; {twice.folder}/last/1, saved before it, is used") and "\n" not in line
    assert caplog.records == []


def test_a_sound_checkpoint_is_loaded_without_a_word(twice):
    told = Told()
    assert twice.load("last", TREE, told)[1] == {"epoch": 2}
    assert told.messages == []


def test_a_save_after_a_damaged_checkpoint_keeps_the_sound_one_that_was_loaded(twice):
    _flip_largest(twice.folder / "last" / "2")
    resumed = Checkpoints(twice.folder)
    resumed.load("last", TREE)
    resumed.save("last", _later(_later(TREE)), 10, {"epoch": 2})
    assert {path.name for path in (twice.folder / "last").iterdir()} == {"1", "3"}
    _flip_largest(twice.folder / "last" / "3")
    assert Checkpoints(twice.folder).load("last", TREE)[1] == {"epoch": 1}


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_both_are_damaged_one_line_says_so_and_nothing_is_loaded(twice, damage):
    for number in "12":
        damage(twice.folder / "last" / number)
    with pytest.raises(Damaged, match=r"last: the checkpoint is damaged.*; what was saved before it is damaged too"):
        twice.load("last", TREE)


def test_a_checkpoint_of_another_architecture_or_of_no_numbers_is_refused_whatever_was_before_it(twice):
    twice.save("last", {"params": {"kernel": jnp.ones(7), "bias": jnp.ones(3)}}, 15, {"epoch": 3})
    with pytest.raises(InputError, match=r"another architecture: params/kernel is \(7,\), expected \(4096,\)"):
        twice.load("last", TREE)
    twice.save("last", _later(TREE), 15, {"epoch": 3})
    twice.save("last", jax.tree.map(lambda leaf: leaf * np.nan, TREE), 15, {"epoch": 3})
    with pytest.raises(InputError, match="holds NaN"):
        twice.load("last", TREE)


def test_progress_is_that_of_the_newest_unless_the_former_is_asked_for(twice):
    assert twice.progress("last", former=True) == {"epoch": 2}
    _lose_metadata(twice.folder / "last" / "2")
    assert twice.progress("last", former=True) == {"epoch": 1}
    with pytest.raises(Damaged, match="last: the checkpoint is damaged"):
        twice.progress("last")


def test_no_older_checkpoint_answers_for_a_damaged_best(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", TREE, 5, {"epoch": 1})
    shutil.copytree(tmp_path / "best" / "1", tmp_path / "best" / "0")  # of a process that was killed as it saved
    _flip_largest(tmp_path / "best" / "1")
    with pytest.raises(Damaged, match="best: the checkpoint is damaged: params/"):
        checkpoints.load("best", TREE)
