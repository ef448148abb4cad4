"""The cases in btjax."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from btjax.data.augment import Augmentation
from btjax.data.preprocess import Preprocessing
from btjax.models.cnn import CNN
from btjax.models.unet import UNet
from btjax.models.vgg16 import VGG16
from btjax.saliency.classifier import Classifier
from btjax.saliency.maps import attribution_maps
from btjax.saliency.methods import METHODS
from btjax.training import step as compiled
from btjax.training.config import TrainingConfig
from btjax.training.optimizers import make_optimizer
from btjax.training.state import create_state
from btjax.training.tasks import Classification, Reconstruction
from experiments.bench.cases import SALIENCY, SAMPLES, Case, batches, dtype_of, random_inputs, random_slices

if TYPE_CHECKING:
    from collections.abc import Callable

    import optax
    from flax import linen as nn

    from btjax.training.state import TrainState
    from btjax.training.tasks import Task

STEPS = 256
"""The most steps in one timing."""


def make_model(case: Case, dtype: str = "float32") -> CNN | UNet | VGG16:
    """The Flax module of a case."""
    if case.kind == "cnn" or case.kind in SALIENCY:
        return make_cnn(case, dtype)
    if case.kind == "unet":
        return UNet(width=case.widths[0], dtype=dtype)
    return VGG16(dense=case.dense, dtype=dtype)


def make_cnn(case: Case, dtype: str = "float32") -> CNN:
    """The CNN of a case of kind `cnn` or of one of SALIENCY."""
    return CNN(widths=case.widths, dense=case.dense, pools=len(case.widths), dtype=dtype)


def prepare(case: Case, form: str) -> Callable[[int], None]:
    """A function `run(steps)` that takes at most STEPS steps and waits for the results."""
    dtype = dtype_of(case, form)
    if case.kind in SALIENCY:
        return _maps(case, make_cnn(case, dtype))
    return _forward(case, make_model(case, dtype)) if case.kind == "vgg16" else _training(case, dtype)


def make_task(case: Case, dtype: str = "float32") -> Task:
    """The task of a case of kind `cnn` or `unet`."""
    preprocessing = Preprocessing("grey" if case.channels == 1 else "grey3")
    if case.kind == "unet":
        return Reconstruction(make_model(case, dtype), preprocessing, Augmentation())
    return Classification(make_cnn(case, dtype), preprocessing, Augmentation())


def begin(case: Case, task: Task) -> tuple[optax.GradientTransformation, TrainState]:
    """The optimizer of a case that trains, and a fresh state, in which the U-Net's `location` is frozen."""
    optimizer = make_optimizer(TrainingConfig(), STEPS)
    rates = (*(f"{name}/*=0" for name in getattr(task.model, "frozen", ())), "*=1")
    variables = partial(task.initialise, image_size=case.image_size)
    return optimizer, create_state(variables, optimizer, jax.random.key(0), layer_rates=rates)


def _training(case: Case, dtype: str) -> Callable[[int], None]:
    """Trains in chunks as `Trainer` does: the slices are uint8 on the device and scaled inside the step."""
    images, labels = random_slices(case)
    task = make_task(case, dtype)
    optimizer, state = begin(case, task)
    dataset = {"images": jnp.asarray(images), "labels": jnp.asarray(labels)}
    table = jnp.asarray(np.stack(batches(case, STEPS)), jnp.int32)
    rows = compiled.Batches(table, jnp.ones(table.shape, bool))
    carry = state, compiled.zero_sums(task, dataset, state)
    chunk = compiled.make_train_chunk(task, optimizer)

    def run(steps: int) -> None:
        nonlocal carry
        carry = chunk(carry, dataset, rows, jnp.int32(0), jnp.int32(steps))
        jax.block_until_ready(carry)

    return run


def _forward(case: Case, model: nn.Module) -> Callable[[int], None]:
    inputs = jnp.asarray(random_inputs(case))
    variables = jax.jit(model.init)(jax.random.key(0), inputs[:1])
    apply = jax.jit(model.apply)

    def run(steps: int) -> None:
        outputs = None
        for _ in range(steps):
            outputs = apply(variables, inputs)
        jax.block_until_ready(outputs)

    return run


def fresh_variables(case: Case, model: nn.Module) -> dict:
    """The model's variables, initialised with a fixed key: all forms of a saliency case use the same."""
    inputs = jnp.zeros((1, case.image_size, case.image_size, case.channels))
    return jax.jit(model.init)(jax.random.key(0), inputs)


def explain(case: Case, model: CNN) -> Callable[[], np.ndarray]:
    """A function that computes the maps of a saliency case for class 0, float32 [B, S, S], as `btjax.saliency` does."""
    inputs, targets = random_inputs(case), np.zeros(case.batch_size, np.int32)
    classifier = Classifier(model, fresh_variables(case, model))
    count = "steps" if case.kind == "integrated_gradients" else "samples"
    method = METHODS[case.kind].bind(**{count: SAMPLES})
    return partial(attribution_maps, classifier, inputs, targets, jax.random.key(0), method)


def _maps(case: Case, model: CNN) -> Callable[[int], None]:
    attribute = explain(case, model)

    def run(steps: int) -> None:
        for _ in range(steps):
            attribute()

    return run


def matmul_peak(dtype: str) -> float:
    """The highest rate of square matrix products in a compiled loop, GFLOP/s, at the platform's default precision."""
    size, products = (8192, 8) if jax.default_backend() == "gpu" else (2048, 1)
    left = jnp.full((size, size), 1 / size, dtype)

    # The operands are arguments and each product is an operand of the next: the compiler can neither compute one
    # beforehand nor leave one out.
    @jax.jit
    def multiply(left, right):
        return jax.lax.fori_loop(0, products, lambda _, total: left @ total, right)

    return products * 2 * size**3 / best_seconds(lambda: multiply(left, left), 12) / 1e9


def best_seconds(compute: Callable[[], jax.Array], times: int) -> float:
    """The shortest wall time among `times` calls, in seconds, after one call that is not timed."""
    jax.block_until_ready(compute())
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        jax.block_until_ready(compute())
        seconds.append(time.perf_counter() - began)
    return min(seconds)
