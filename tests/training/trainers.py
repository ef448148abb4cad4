"""Small trainers on blobs, what stops them, and whether two of them ended with the same bits."""

import os
import signal

import jax
import numpy as np

from btjax.base.checkpoints import Checkpoints
from btjax.base.progress import Observer
from btjax.training.config import TrainingConfig
from btjax.training.examples import Examples
from btjax.training.loop import Trainer
from tests.training.blobs import blob_split, make_blobs, tiny_task


def make_trainer(folder=None, task=None, seed=0, resume=False, **options) -> Trainer:
    slices = make_blobs()
    config = TrainingConfig(**({"epochs": 3, "batch_size": 16} | options))
    checkpoints = None if folder is None else Checkpoints(folder)
    task = task or tiny_task(flip=True, rotation=5.0, intensity=0.1)
    trainer = Trainer(task, config, Examples.of(slices, blob_split(slices)), seed, checkpoints)
    if resume:
        trainer.restore()
    return trainer


def same_bits(first, second) -> bool:
    def raw(leaf):
        key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if key else leaf).tobytes()

    return jax.tree.all(jax.tree.map(lambda a, b: raw(a) == raw(b), first, second))


class StopAt(Observer):
    """Sends this process a signal once a step has been taken."""

    def __init__(self, epoch, steps, number=signal.SIGTERM):
        self.place, self.number = (epoch, steps), number

    def on_steps(self, progress, means):
        if (progress.epoch, progress.steps) >= self.place:
            self.place = (float("inf"), 0)
            os.kill(os.getpid(), self.number)
