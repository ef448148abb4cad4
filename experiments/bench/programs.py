"""The compiled programs of a preset, as shapes: what it trains, evaluates, predicts and explains with.

Nothing is computed: a program can be lowered for a device that is not there, or compiled to see what memory it takes.
Systems that are fitted in one go have no programs of their own.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from btjax.base.errors import InputError
from btjax.saliency.classifier import Classifier
from btjax.saliency.maps import maps_of_batch
from btjax.saliency.methods import METHODS, Method
from btjax.studies.subject import SaliencyConfig, filled
from btjax.systems.transfer import TransferConfig, frozen_stage
from btjax.training import step as compiled
from btjax.training.many import make_many
from btjax.training.optimizers import make_optimizer
from btjax.training.state import create_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from btjax.systems.config import Config
    from btjax.training.tasks import Task

ROWS = 3064
"""Slices of the data set whose programs these are."""

REFERENCES = 16
"""Slices from which expected gradients draw."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled function with the shapes of its arguments.

    Attributes:
      name: such as "train" or "explain by grad_cam".
      function: what `jax.jit` gave.
      arguments: pytrees of `jax.ShapeDtypeStruct`.
    """

    name: str
    function: Any
    arguments: tuple[Any, ...]

    def memory(self) -> dict[str, float]:
        """MiB that the program takes on the present device (`experiments.bench.memory`), and seconds to compile it."""
        began = time.perf_counter()
        found = self.function.lower(*self.arguments).compile().memory_analysis()
        seconds = round(time.perf_counter() - began, 1)
        sizes = {name: getattr(found, f"{name}_size_in_bytes") for name in ("argument", "output", "alias", "temp")}
        return {f"{name}_mib": round(size / 2**20, 1) for name, size in sizes.items()} | {"compile_seconds": seconds}


def programs(config: Config, methods: Iterable[str] = tuple(METHODS), rows: int = ROWS) -> Iterator[Program]:
    """The programs of a config that trains a network, from its shapes alone.

    Args:
      config: of a system with a network.
      methods: the saliency methods of a classifier; those that do not fit the network are passed over.
      rows: slices in memory.

    Yields:
      "train", "train several" (three runs side by side), "evaluate", "predict"; of a network whose lowest stages are
      frozen "features", and what trains takes these; of networks that outline tumours "outline"; of classifiers
      "explain by METHOD".
    """
    task: Any = config.task()
    size, batch = config.data.image_size, config.training.batch_size
    images = shape((batch, size, size), jnp.uint8)
    whole = jax.eval_shape(lambda key: task.initialise(key, size), _key())
    yield Program("predict", jax.jit(task.outputs), (whole, images))
    if task.outlines:
        yield Program("outline", jax.jit(task.pixel_logits), (whole, images))
    trained, data = task, shape((rows, size, size), jnp.uint8)
    if isinstance(config.extra, TransferConfig) and (stage := frozen_stage(config, size)[0]) is not None:
        features = functools.partial(_features, task, stage)
        yield Program("features", jax.jit(features), (whole, images))
        outputs = jax.eval_shape(features, whole, images)
        trained, data = dataclasses.replace(task, start=stage), shape((rows, *outputs.shape[1:]), outputs.dtype)
    yield from _training(config, trained, data)
    if task.name == "classification":
        yield from _explaining(config, Classifier(config.model, filled(whole)), methods)


def shape(sizes: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """An array's shape and type."""
    return jax.ShapeDtypeStruct(sizes, dtype)


def _key() -> jax.ShapeDtypeStruct:
    return jax.eval_shape(lambda: jax.random.key(0))


def _features(task: Task, stage: str, variables: Any, images: jax.Array) -> jax.Array:
    """The output of the frozen stages, which is computed once for every slice."""
    return task.model.apply(variables, task.preprocessing(images), stop=stage)


def _training(config: Config, task: Task, images: jax.ShapeDtypeStruct) -> Iterator[Program]:
    """The programs of `btjax.training.loop` and `btjax.training.many`."""
    training, rows, size = config.training, images.shape[0], config.data.image_size
    steps = compiled.steps_per_pass(rows, training.batch_size)
    optimizer = make_optimizer(training, steps)
    rates = (*(f"{name}/*=0" for name in getattr(task.model, "frozen", ())), *training.layer_rates)

    def begin(key):
        variables = functools.partial(task.initialise, image_size=size)
        return create_state(variables, optimizer, key, rates, averaged=training.averaged > 0)

    state = jax.eval_shape(begin, jax.eval_shape(lambda: jax.random.key(0, impl=training.prng)))
    task = task.with_trained(state.params)
    dataset = {"images": images, "labels": shape((rows,), jnp.int32)}
    if task.needs_masks:
        dataset["masks"] = shape((rows, -(-size * size // 8)), jnp.uint8)
    table, counted = (shape((steps, training.batch_size), kind) for kind in (jnp.int32, bool))
    batches: Any = compiled.Batches(table, counted)  # pyright: ignore[reportArgumentType]
    sums = jax.eval_shape(lambda dataset, state: compiled.zero_sums(task, dataset, state), dataset, state)
    bound = shape((), jnp.int32)
    train = compiled.make_train_chunk(task, optimizer, None, training.averaged)
    yield Program("train", train, ((state, sums), dataset, batches, bound, bound))
    yield Program("evaluate", compiled.make_evaluate(task), (state.judged, dataset, *batches))
    if training.prng != "rbg":
        many, _ = make_many(task, training, [steps], "vmap")
        each = ((state, sums), bound, batches, bound, bound)
        of_runs = jax.tree.map(lambda leaf: shape((3, *leaf.shape), leaf.dtype), each)
        yield Program("train several", many, (dataset, *of_runs))


def _explaining(config: Config, classifier: Classifier, methods: Iterable[str]) -> Iterator[Program]:
    """The program of each saliency method that fits the network."""
    size, count = config.data.image_size, SaliencyConfig().batch_size
    inputs = shape((count, size, size, config.preprocessing.channels), jnp.float32)
    targets, numbers = shape((count,), jnp.int32), shape((count,), jnp.int32)
    for name in methods:
        method = METHODS[name]
        if method.needs_options:
            method = method.bind(baselines=jnp.zeros((REFERENCES, *inputs.shape[1:])))
        batch = {"images": inputs, "targets": targets, "rows": numbers}
        batch |= {"baseline": inputs} if method.takes_baseline else {}
        if _fits(method, classifier, batch):
            function = jax.jit(functools.partial(maps_of_batch, attribute=method.attribute))
            yield Program(f"explain by {name}", function, (classifier, batch, _key()))


def _fits(method: Method, classifier: Classifier, batch: dict[str, Any]) -> bool:
    """Whether a method can be computed for a network."""
    try:
        jax.eval_shape(functools.partial(maps_of_batch, attribute=method.attribute), classifier, batch, _key())
    except InputError:
        return False
    return True
