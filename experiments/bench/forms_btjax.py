"""The models as btjax runs them."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from btjax.data.preprocess import Augmentation, Preprocessing
from btjax.models.cnn import CNN
from btjax.models.unet import UNet
from btjax.models.vgg16 import VGG16
from btjax.saliency.classifier import Classifier
from btjax.saliency.methods import METHODS, attribution_maps
from btjax.training import step as compiled
from btjax.training.config import TrainingConfig
from btjax.training.optimizers import make_optimizer
from btjax.training.state import create_state
from btjax.training.tasks import Classification, Reconstruction
from experiments.bench.cases import SALIENCY, SAMPLES, Case, batches, dtype_of, random_inputs, random_slices

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 256
"""The most steps in one timing."""


def make_model(case: Case, dtype: str = "float32"):
    """The Flax module of a case."""
    if case.kind == "cnn" or case.kind in SALIENCY:
        return CNN(widths=case.widths, dense=case.dense, pools=len(case.widths), dtype=dtype)
    if case.kind == "unet":
        return UNet(width=case.widths[0], dtype=dtype)
    return VGG16(dense=case.dense, dtype=dtype)


def prepare(case: Case, form: str) -> Callable[[int], None]:
    """`run(steps)`, which takes at most STEPS steps and waits for them."""
    model = make_model(case, dtype_of(case, form))
    if case.kind in SALIENCY:
        return _maps(case, model)
    return _forward(case, model) if case.kind == "vgg16" else _training(case, model)


def make_task(case: Case, model) -> tuple:
    """What training a case means.

    Returns:
      The task, the optimizer, and `initialise(key)`, which makes the state; the U-Net's `location` is frozen in it.
    """
    kind = Reconstruction if case.kind == "unet" else Classification
    task = kind(model, Preprocessing("grey" if case.channels == 1 else "grey3"), Augmentation())
    optimizer = make_optimizer(TrainingConfig(), STEPS)
    rates = (*(f"{name}/*=0" for name in getattr(model, "frozen", ())), "*=1")
    variables = partial(task.initialise, image_size=case.image_size)
    return task, optimizer, partial(create_state, variables, optimizer, layer_rates=rates)


def _training(case: Case, model) -> Callable[[int], None]:
    """Chunks as `Trainer` takes them: the slices as uint8 on the device, scaled inside the step."""
    images, labels = random_slices(case)
    task, optimizer, initialise = make_task(case, model)
    state = initialise(jax.random.key(0))
    dataset = {"images": jnp.asarray(images), "labels": jnp.asarray(labels)}
    table = jnp.asarray(np.stack(batches(case, STEPS)), jnp.int32)
    counted = jnp.ones(table.shape, bool)
    sums = compiled.zero_sums(task, dataset, state)
    chunk = compiled.make_train_chunk(task, optimizer)

    def run(steps: int) -> None:
        nonlocal state, sums
        state, sums = chunk(state, sums, dataset, table, counted, jnp.int32(0), jnp.int32(steps))
        jax.block_until_ready((state, sums))

    return run


def _forward(case: Case, model) -> Callable[[int], None]:
    inputs = jnp.asarray(random_inputs(case))
    variables = jax.jit(model.init)(jax.random.key(0), inputs[:1])
    apply = jax.jit(model.apply)

    def run(steps: int) -> None:
        for _ in range(steps):
            outputs = apply(variables, inputs)
        jax.block_until_ready(outputs)

    return run


def fresh_variables(case: Case, model) -> dict:
    """The model's variables as it initialises them; every form of a saliency case has these."""
    inputs = jnp.zeros((1, case.image_size, case.image_size, case.channels))
    return jax.jit(model.init)(jax.random.key(0), inputs)


def explain(case: Case, model) -> Callable[[], np.ndarray]:
    """Makes the maps of a saliency case, float32 [B, S, S], as the saliency experiment does, of class 0's logit."""
    inputs, targets = random_inputs(case), np.zeros(case.batch_size, np.int32)
    classifier = Classifier(model, fresh_variables(case, model))
    count = "steps" if case.kind == "integrated_gradients" else "samples"
    method = METHODS[case.kind].bind(**{count: SAMPLES})
    return partial(attribution_maps, classifier, inputs, targets, jax.random.key(0), method)


def _maps(case: Case, model) -> Callable[[int], None]:
    attribute = explain(case, model)

    def run(steps: int) -> None:
        for _ in range(steps):
            attribute()

    return run


def matmul_peak(dtype: str) -> float:
    """The best rate of square matrix products in a compiled loop, GFLOP/s, in the platform's default precision."""
    size, products = (8192, 8) if jax.default_backend() == "gpu" else (2048, 1)
    left = jnp.full((size, size), 1 / size, dtype)

    # The operands are arguments and each product is read by the next: none can be computed beforehand or left out.
    @jax.jit
    def multiply(left, right):
        return jax.lax.fori_loop(0, products, lambda _, total: left @ total, right)

    return products * 2 * size**3 / best_seconds(lambda: multiply(left, left), 12) / 1e9


def best_seconds(compute: Callable[[], jax.Array], times: int) -> float:
    """The shortest wall time of `times` calls after a first one."""
    jax.block_until_ready(compute())
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        jax.block_until_ready(compute())
        seconds.append(time.perf_counter() - began)
    return min(seconds)
