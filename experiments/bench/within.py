"""Measures btjax alone: its convolutions, its training loop, and many runs in one program."""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base.progress import Observer
from btjax.nn.convolution import conv_general_dilated
from btjax.training import step as compiled
from btjax.training.config import TrainingConfig
from btjax.training.examples import Examples
from btjax.training.loop import Trainer
from btjax.training.many import compare_times
from experiments.bench.cases import CASES, PIECES, Case, layer_flops, wide_layers
from experiments.bench.forms_btjax import make_task, matmul_peak

if TYPE_CHECKING:
    from collections.abc import Callable

    from btjax.base.progress import Standing

_LOOP_SECONDS = 0.3
"""About how long a timing of one piece takes."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _convolution(image, kernel):
    return conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _forward(image, kernel, cotangent):
    del cotangent  # the three pieces take the same arguments
    return _convolution(image, kernel)


def _image_gradient(image, kernel, cotangent):
    return jax.vjp(lambda image: _convolution(image, kernel), image)[1](cotangent)[0]


def _kernel_gradient(image, kernel, cotangent):
    return jax.vjp(lambda kernel: _convolution(image, kernel), kernel)[1](cotangent)[0]


FUNCTIONS = dict(zip(PIECES, (_forward, _image_gradient, _kernel_gradient), strict=True))
"""Computes each piece of a convolution; the compiler leaves out the parts of a `vjp` that are not used."""


def layer_loop(piece: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A compiled `loop(arguments, steps)` that computes a piece `steps` times and returns the last result.

    Each step writes one number of the previous result into the piece's arguments, so that the compiler can neither
    leave a step out nor move it out of the loop.

    Args:
      piece: one of FUNCTIONS.
    """

    @jax.jit
    def loop(arguments, steps):
        def body(_, carry):
            (image, kernel, cotangent), last = carry
            mark = last[(0,) * last.ndim]
            image, cotangent = (array.at[0, 0, 0, 0].set(mark) for array in (image, cotangent))
            return (image, kernel, cotangent), piece(image, kernel, cotangent)

        shape = jax.eval_shape(piece, *arguments)
        return jax.lax.fori_loop(0, steps, body, (arguments, jnp.zeros(shape.shape, shape.dtype)))[1]

    return loop


def layer_arguments(layer: dict, dtype: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Image, kernel and cotangent of the output, all normal; the kernel's scale keeps the output's variance at 1."""
    keys = jax.random.split(jax.random.key(0), 3)
    *place, features = (*layer["image"][:3], layer["kernel"][3])
    spread = float(np.prod(layer["kernel"][:3])) ** -0.5
    image = jax.random.normal(keys[0], layer["image"], dtype)
    kernel = jax.random.normal(keys[1], layer["kernel"], dtype) * jnp.asarray(spread, dtype)
    return image, kernel, jax.random.normal(keys[2], (*place, features), dtype)


def measure_layers(rounds: int, layers: dict[str, dict] | None = None) -> dict:
    """Rates of the wide layers' forward pass and two gradients, and their shares of the peak rate of matrix products.

    Args:
      rounds: timings of each piece, of which the median is kept; the peak is measured in each round.
      layers: shapes by name; None for `wide_layers`.

    Returns:
      JSON values: for each layer its shapes, and for each piece `gflops` and `share_of_matmul_peak`; on a GPU also in
      bfloat16.
    """
    dtypes = ["float32", "bfloat16"] if jax.default_backend() == "gpu" else ["float32"]
    result = {}
    for name, layer in (layers or wide_layers()).items():
        for dtype in dtypes:
            label = name if dtype == "float32" else f"{name} {dtype}"
            result[label] = layer | measure_layer(layer, dtype, rounds)
            shares = (f"{piece} {result[label][piece]['share_of_matmul_peak']:.0%}" for piece in PIECES)
            _say(f"layers: {label}, of matmul peak: {', '.join(shares)}")
    return {"layers": result, "rounds": rounds}


def measure_layer(layer: dict, dtype: str, rounds: int) -> dict[str, dict[str, float]]:
    """For each piece of one layer `gflops` and `share_of_matmul_peak`."""
    arguments, loops = layer_arguments(layer, dtype), {}
    for piece, function in FUNCTIONS.items():
        loop = layer_loop(function)
        jax.block_until_ready(loop(arguments, 1))
        seconds = _seconds(loop, arguments, 1)
        loops[piece] = loop, max(1, round(_LOOP_SECONDS / seconds)), []
    peaks = []
    for _ in range(rounds):
        peaks.append(matmul_peak(dtype))
        for loop, steps, rates in loops.values():
            rates.append(layer_flops(layer) * steps / _seconds(loop, arguments, steps) / 1e9)
    return {
        piece: {
            "gflops": round(statistics.median(rates), 1),
            "share_of_matmul_peak": round(
                statistics.median(rate / peak for rate, peak in zip(rates, peaks, strict=True)), 3
            ),
        }
        for piece, (_, _, rates) in loops.items()
    }


def _seconds(loop: Callable[..., jax.Array], arguments: tuple[jax.Array, ...], steps: int) -> float:
    began = time.perf_counter()
    jax.block_until_ready(loop(arguments, steps))
    return time.perf_counter() - began


class _EpochClock(Observer):
    """Times the training loop in each epoch, and after it the same steps in one call of the compiled chunk."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.loop_seconds: list[float] = []
        self.step_seconds: list[float] = []

    def on_start(self, progress: Standing, steps_per_epoch: int, epochs: int) -> None:
        """Starts the clock."""
        del progress
        self._steps, self._epochs, self._began = steps_per_epoch, epochs, time.perf_counter()

    def on_steps(self, progress: Standing, means: dict[str, float]) -> None:
        """Takes the time of the epoch's last step."""
        del means
        if progress.steps == self._steps:
            self.loop_seconds.append(time.perf_counter() - self._began)

    def on_epoch(self, progress: Standing) -> None:
        """Times the steps alone."""
        self.step_seconds.append(self._compiled_seconds())
        if progress.epoch > 1:
            rounds = f"round {progress.epoch - 1} of {self._epochs - 1}"
            _say(f"epoch: {rounds}: {self.loop_seconds[-1]:.2f} s, its steps alone {self.step_seconds[-1]:.2f} s")
        self._began = time.perf_counter()

    def _compiled_seconds(self) -> float:
        """Seconds of an epoch's steps in one call of the compiled chunk."""
        trainer = self.trainer
        rows = compiled.batch_table(trainer.train_rows[0], trainer.config.batch_size)
        # The chunk's arguments are donated, so it gets copies.
        sums = compiled.zero_sums(trainer.task, trainer.dataset, trainer.state)
        carry = jax.tree.map(jnp.copy, (trainer.state, sums))
        jax.block_until_ready((carry, rows))
        began = time.perf_counter()
        jax.block_until_ready(trainer.train_chunk(carry, trainer.dataset, rows, jnp.int32(0), jnp.int32(self._steps)))
        return time.perf_counter() - began


def random_examples(case: Case, rows: int, validation: int) -> Examples:
    """Random slices of a case's size: `rows` to train on, followed by `validation` to validate on."""
    random, count = np.random.default_rng(0), rows + validation
    images = random.integers(0, 256, (count, case.image_size, case.image_size), dtype=np.uint8)
    labels, numbers = random.integers(0, 3, count).astype(np.int32), np.arange(count, dtype=np.int32)
    return Examples(images, labels, numbers[None, :rows], numbers[rows:], case.image_size)


def measure_epoch(rounds: int, case: dict | None = None, rows: int = 640) -> dict:
    """The time that the training loop adds to its compiled steps: shuffling, chunks, metrics on the host, progress.

    Validation and checkpoints are not part of it.

    Args:
      rounds: epochs that are timed, after a first one that compiles.
      case: a `Case` as a dict; the case `small` by default.
      rows: training rows of an epoch.

    Returns:
      JSON values: `epoch_seconds` and `steps_seconds`, medians; `overhead`, the median of the rounds' ratios minus 1
      (0.01 is one per cent); `steps`, `rows`, `rounds`.
    """
    size = Case.from_json(case) if case else CASES["small"]
    config = TrainingConfig(epochs=rounds + 1, batch_size=size.batch_size)
    trainer = Trainer(make_task(size), config, random_examples(size, rows, size.batch_size), seed=0)
    clock = _EpochClock(trainer)
    trainer.fit(clock)
    loop, steps = clock.loop_seconds[1:], clock.step_seconds[1:]
    return {
        "rows": rows,
        "steps": trainer.steps_per_epoch,
        "rounds": rounds,
        "epoch_seconds": round(statistics.median(loop), 4),
        "steps_seconds": round(statistics.median(steps), 4),
        "overhead": round(statistics.median(a / b - 1 for a, b in zip(loop, steps, strict=True)), 4),
    }


def measure_folds(rounds: int, case: dict | None = None, rows: int = 320, folds: int = 5) -> dict:
    """Times the folds of a cross-validation trained in one program, and the same runs one after the other.

    Args:
      rounds: epochs that are timed, after a first one that compiles.
      case: a `Case` as a dict; the case `small` by default.
      rows: rows of the data set; each fold in turn validates, the others train.
      folds: number of folds.

    Returns:
      JSON values: what `btjax.training.many.compare_times` returns, `folds`, `rows` and `rounds`.
    """
    size = Case.from_json(case) if case else CASES["small"]
    whole, fold = random_examples(size, rows, 0), np.arange(rows) % folds
    examples = [
        dataclasses.replace(whole, train=whole.train[:, fold != index], validation=whole.train[0, fold == index])
        for index in range(folds)
    ]
    config = TrainingConfig(epochs=rounds + 1, batch_size=size.batch_size)
    _say(f"folds: {folds} folds of {rows} rows for {config.epochs} epochs, in one program and one after the other")
    times = compare_times(make_task(size), config, examples, seeds=list(range(folds)))
    return {"folds": folds, "rows": rows, "rounds": rounds} | {name: round(value, 4) for name, value in times.items()}
