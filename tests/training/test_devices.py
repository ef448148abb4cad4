import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.nn import patches
from btjax.training.config import TrainingConfig
from btjax.training.examples import Examples
from btjax.training.loop import Trainer
from tests.training.blobs import blob_split, make_blobs, tiny_task
from tests.training.trainers import make_trainer, same_bits

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_two_devices_give_the_losses_of_one(tmp_path):
    one, two = make_trainer(epochs=2), make_trainer(tmp_path, epochs=2, devices=2)
    for row, other in zip(one.fit().history, two.fit().history, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert row["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-4)
    restored = make_trainer(tmp_path, epochs=2, devices=2, resume=True)
    assert same_bits(restored.state, two.state)
    assert len(restored.state.params["dense"]["kernel"].sharding.device_set) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [({"devices": 3}, "--devices=3: expected 1 to 2"), ({"devices": 2, "batch_size": 15}, "--batch_size=15")],
)
def test_devices_that_do_not_fit_are_named(options, message):
    with pytest.raises(InputError, match=message):
        make_trainer(**options)


@pytest.mark.parametrize("devices", [1, 2])
def test_slices_large_enough_for_banded_convolutions_train(monkeypatch, devices):
    monkeypatch.setattr(patches, "_LARGE_BAND_BYTES", 1 << 20)
    slices = make_blobs(48, 96)
    config = TrainingConfig(epochs=1, batch_size=16, devices=devices)
    trainer = Trainer(tiny_task(), config, Examples.of(slices, blob_split(slices)), 0)
    batch = {"images": slices.images[:16], "labels": slices.labels[:16].astype(np.int32), "counted": np.ones(16, bool)}
    program = str(jax.make_jaxpr(jax.grad(trainer.task.loss, has_aux=True))(trainer.state.params, trainer.state, batch))
    assert "scan[" in program  # a loop over bands
    assert np.isfinite(trainer.fit().history[0]["train_loss"])


EIGHT = """
import os, sys
import jax
jax.config.update("jax_num_cpu_devices", 8)
from tests.training.trainers import make_trainer

with jax.numpy_dtype_promotion("standard"):
    for devices in (1, 2, 8):
        history = make_trainer(epochs=2, batch_size=16, devices=devices).fit().history
        print(*(row[f"{side}_loss"] for row in history for side in ("train", "validation")))
"""


def test_eight_devices_give_the_losses_of_one():
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", EIGHT], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    losses = np.array([line.split() for line in done.stdout.splitlines()], float)
    assert losses.shape == (3, 4)
    np.testing.assert_allclose(losses[1:], np.broadcast_to(losses[0], (2, 4)), rtol=1e-4)
