import resource
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.errors import InputError
from btjax.training.checkpoints import Checkpoints
from btjax.training.config import TrainingConfig
from btjax.training.optimizers import make_optimizer
from btjax.training.state import create_state
from tests.training.blobs import tiny_task


@pytest.fixture(scope="module")
def state():
    with jax.numpy_dtype_promotion("standard"):
        inputs = jax.ShapeDtypeStruct((1, 16, 16, 1), jnp.float32)
        return create_state(tiny_task().model, make_optimizer(TrainingConfig(), 4), inputs, jax.random.key(3))


SUMS = {"loss": jnp.float32(1.5), "not_finite_loss": jnp.int32(7)}


def test_a_state_comes_back_with_every_bit_and_its_progress(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_last(state, SUMS, {"epoch": 2, "history": [{"loss": 0.1}]})
    zeros = jax.tree.map(lambda leaf: leaf if leaf.dtype == state.key.dtype else jnp.zeros_like(leaf), state)
    loaded, sums, progress = checkpoints.load_last(zeros, SUMS)
    assert progress == {"epoch": 2, "history": [{"loss": 0.1}]}
    assert sums == SUMS
    assert jax.tree.structure(loaded) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, state.params)
    jax.tree.map(np.testing.assert_array_equal, loaded.opt_state, state.opt_state)
    np.testing.assert_array_equal(jax.random.key_data(loaded.key), jax.random.key_data(state.key))
    assert loaded.step.dtype == jnp.int32


def test_a_lower_step_saved_later_is_the_one_that_counts(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best(state.replace(step=jnp.int32(20)), {"epoch": 2})
    checkpoints.save_best(state.replace(step=jnp.int32(10)), {"epoch": 1})
    assert checkpoints.progress("best") == {"epoch": 1}


def test_reading_disturbs_no_save_that_is_under_way(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best(state, {"epoch": 1})
    unfinished = tmp_path / "best" / "2.orbax-checkpoint-tmp"
    unfinished.mkdir()
    checkpoints.load_best(state.variables)
    assert unfinished.exists()


def test_a_damaged_checkpoint_is_called_so(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best(state, {"epoch": 1})
    for path in (tmp_path / "best" / "1").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(InputError, match="best: the checkpoint is damaged") as caught:
        checkpoints.load_best(state.variables)
    assert "\n" not in str(caught.value)


def test_the_same_step_can_be_saved_again(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    for epoch in (1, 2):
        checkpoints.save_best(state, {"epoch": epoch})
    _, progress = checkpoints.load_best(state.variables)
    assert progress == {"epoch": 2}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # Orbax's own threads
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="this system cannot limit file sizes")
def test_a_disk_that_takes_no_more_keeps_the_previous_checkpoint(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_last(state, SUMS, {"epoch": 1})
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256, limits[1]))
    try:
        with pytest.raises(InputError, match="the checkpoint of step 9 could not be written") as caught:
            checkpoints.save_last(state.replace(step=jnp.int32(9)), SUMS, {"epoch": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(caught.value)
    loaded, _, progress = checkpoints.load_last(state, SUMS)
    assert progress == {"epoch": 1} and loaded.step == 0
    checkpoints.save_last(state.replace(step=jnp.int32(9)), SUMS, {"epoch": 2})
    assert checkpoints.load_last(state, SUMS)[2] == {"epoch": 2}


def test_a_missing_checkpoint_is_named(tmp_path, state):
    assert not Checkpoints(tmp_path).exists("best")
    with pytest.raises(InputError, match=r"best: no checkpoint found"):
        Checkpoints(tmp_path).load_best(state.variables)
