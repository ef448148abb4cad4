"""One training step of the paper's four networks, pinned: loss, norm of the gradients, and a parameter after the step.

A number that moves means that training has changed. Update it only where that was the intention, and say so in
CHANGELOG.md: the failure of `test_one_step_gives_the_pinned_numbers` prints the new line.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btjax.data.augment import Augmentation
from btjax.data.phantom import make_phantom
from btjax.data.preprocess import Preprocessing
from btjax.models.cnn import CNN
from btjax.models.unet import EncoderClassifier, UNet
from btjax.models.vgg16 import VGG16
from btjax.training import step as compiled
from btjax.training.config import TrainingConfig
from btjax.training.optimizers import make_optimizer
from btjax.training.state import create_state
from btjax.training.tasks import Classification, Reconstruction

COUNTED = 6  # of 8 rows: the last two are padding
VIRIDIS = Preprocessing("viridis")
TASKS = {
    "cnn": Classification(CNN(widths=(4, 8, 8), pools=3, dense=16), VIRIDIS, Augmentation()),
    "vgg16": Classification(VGG16(dense=16), Preprocessing("grey3", "caffe"), Augmentation()),
    "unet": Reconstruction(UNet(width=4), VIRIDIS, Augmentation()),
    "encoder_classifier": Classification(EncoderClassifier(levels=5, width=4), VIRIDIS, Augmentation()),
}
RATES = {"vgg16": ("block*=0", "*=1"), "unet": ("location/*=0", "*=1")}

GOLDEN = {
    "cnn": (1.107816457748413, 1.9390901327133179, -0.5062400698661804),
    "vgg16": (1.0105899572372437, 0.8065598011016846, -0.5042402744293213),
    "unet": (0.3085954785346985, 0.5230219960212708, 0.02720668353140354),
    "encoder_classifier": (1.6128530502319336, 64.78437042236328, -0.37125521898269653),
}
"""name -> (loss, norm of the gradients, first number of the last layer's kernel after the step)"""


def one_step(name: str) -> tuple[float, float, float]:
    task, slices = TASKS[name], make_phantom(1, 3, image_size=32, seed=0)
    batch = {"images": jnp.asarray(slices.images[:8]), "labels": jnp.asarray(slices.labels[:8])}
    batch["counted"] = jnp.arange(8) < COUNTED
    optimizer = make_optimizer(TrainingConfig(), 4)
    state = create_state(
        partial(task.initialise, image_size=32), optimizer, jax.random.key(0), RATES.get(name, ("*=1",))
    )
    task = task.with_trained(state.params)

    @jax.jit
    def step(state):
        gradients, _ = jax.grad(task.loss, has_aux=True)(state.params, state, batch)
        after, sums = compiled.make_train_step(task, optimizer)(state, batch)
        return after.variables["params"], sums, optax.tree.norm(gradients)

    params, sums, norm = step(state)
    last = "colorer" if name == "unet" else "logits"
    return float(sums["loss"] / sums["count"]), float(norm), float(params[last]["kernel"].ravel()[0])


@pytest.mark.parametrize("name", TASKS)
def test_one_step_gives_the_pinned_numbers(name):
    found = one_step(name)
    np.testing.assert_allclose(found, GOLDEN[name], rtol=1e-5, err_msg=f'"{name}": {found},')
