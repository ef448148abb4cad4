"""The rows that fill up the last batch change nothing: not the loss, not the gradients, not batch statistics."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from btjax.data.augment import Augmentation
from btjax.data.preprocess import Preprocessing
from btjax.models.unet import EncoderClassifier, UNet
from btjax.training import step as compiled
from btjax.training.state import create_state
from btjax.training.tasks import Classification, Reconstruction
from tests.nn.networks import Residual
from tests.training.blobs import make_blobs

REAL, PADDED = 5, 8
TASKS = {
    "autoencoder": Reconstruction(UNet(width=2, dropout=0.0), Preprocessing("grey3"), Augmentation()),
    "encoder classifier": Classification(EncoderClassifier(levels=5, width=2), Preprocessing("grey3"), Augmentation()),
    "residual": Classification(Residual(), Preprocessing("grey"), Augmentation()),
}


@pytest.fixture(scope="module", params=TASKS)
def setting(request):
    """A task, its state, and its step with the gradients."""
    task = TASKS[request.param]
    optimizer = optax.GradientTransformation(lambda params: params, lambda gradients, *_: (gradients, gradients))
    with jax.numpy_dtype_promotion("standard"):
        state = create_state(partial(task.initialise, image_size=32), optimizer, jax.random.key(0))
    train_step = compiled.make_train_step(task, optimizer)

    @jax.jit
    def step(state, batch):
        new, sums = train_step(state, batch)
        return {"gradients": new.opt_state, "batch_stats": new.batch_stats} | sums

    return state, step


def batch_of(rows, padding=None):
    slices = make_blobs(count=9, size=32)
    images, labels = slices.images[:rows], slices.labels[:rows]
    if padding is not None:
        images = np.concatenate([images, padding])
        labels = np.pad(labels, (0, len(padding)))
    counted = np.arange(len(images)) < rows
    return {"images": jnp.asarray(images), "labels": jnp.asarray(labels), "counted": jnp.asarray(counted)}


def assert_same(found, expected):
    """Equal, but for rounding: each part is measured by its largest number.

    Sums that nearly cancel are as exact as what they are sums of, and of two numbers that rounding makes equal either
    may be the larger one, to which a maximum passes its gradient. Padding that counts changes a part by far more.
    """
    for name, part in expected.items():
        scale = max(1e-6, *(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(part)))

        def same(path, a, b, where=name, atol=1e-4 * scale):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=atol, err_msg=where + jax.tree_util.keystr(path))

        jax.tree_util.tree_map_with_path(same, found[name], part)


def test_a_short_batch_with_padding_gives_the_step_of_its_real_rows(setting):
    state, step = setting
    padding = np.random.default_rng(0).integers(0, 255, (PADDED - REAL, 32, 32)).astype(np.uint8)
    expected = step(state, batch_of(REAL))
    assert_same(step(state, batch_of(REAL, padding)), expected)
    moved = jax.tree.map(lambda new, old: float(jnp.abs(new - old).max()), expected["batch_stats"], state.batch_stats)
    assert min(jax.tree.leaves(moved)) > 0
    uncounted = batch_of(REAL, padding) | {"counted": jnp.ones(PADDED, bool)}  # padding does matter where it counts
    with pytest.raises(AssertionError):
        assert_same(step(state, uncounted), expected)


def test_padding_on_the_second_of_two_devices_changes_nothing(setting):
    state, step = setting
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    sharding = NamedSharding(mesh, PartitionSpec("batch"))
    padding = np.full((PADDED - REAL, 32, 32), 255, np.uint8)
    batch = jax.device_put(batch_of(REAL, padding), sharding)
    assert len(batch["images"].sharding.device_set) == 2
    assert_same(step(state, batch), step(state, batch_of(REAL)))
