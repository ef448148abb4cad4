"""What btjax is measured against itself by: its layers, its training loop, and many runs in one program."""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from btjax.data.preprocess import Augmentation, Preprocessing
from btjax.nn.convolution import conv_general_dilated
from btjax.training import step as compiled
from btjax.training.config import TrainingConfig
from btjax.training.loop import Examples, Observer, Trainer
from btjax.training.many import compare_times
from btjax.training.tasks import Classification
from experiments.bench.cases import CASES, PIECES, Case, layer_flops, wide_layers
from experiments.bench.forms_btjax import make_model, matmul_peak

_LOOP_SECONDS = 0.3


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _convolution(image, kernel):
    return conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _forward(image, kernel, cotangent):
    return _convolution(image, kernel)


def _image_gradient(image, kernel, cotangent):
    return jax.vjp(lambda image: _convolution(image, kernel), image)[1](cotangent)[0]


def _kernel_gradient(image, kernel, cotangent):
    return jax.vjp(lambda kernel: _convolution(image, kernel), kernel)[1](cotangent)[0]


FUNCTIONS = dict(zip(PIECES, (_forward, _image_gradient, _kernel_gradient), strict=True))
"""By the name of a piece of a convolution what computes it; unused parts of a `vjp` are left out by the compiler."""


def layer_loop(piece):
    """The compiled `loop(arguments, steps)` that computes a piece `steps` times and returns the last result.

    Each turn puts one number of the last result into what the piece reads, so that no turn can be left out or moved
    out of the loop.
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
    """Image, kernel and output's cotangent of a wide layer, normally distributed, the kernel so as to keep scales."""
    keys = jax.random.split(jax.random.key(0), 3)
    *place, features = (*layer["image"][:3], layer["kernel"][3])
    spread = float(np.prod(layer["kernel"][:3])) ** -0.5
    image = jax.random.normal(keys[0], layer["image"], dtype)
    kernel = jax.random.normal(keys[1], layer["kernel"], dtype) * jnp.asarray(spread, dtype)
    return image, kernel, jax.random.normal(keys[2], (*place, features), dtype)


def measure_layers(rounds: int, layers: dict[str, dict] | None = None) -> dict:
    """Rates of the wide layers' forward pass and two gradients, in compiled loops, and their shares of matmul peak.

    Args:
      rounds: timings of each piece, medians are kept; the peak is measured in each round.
      layers: as `wide_layers`, which is the default.

    Returns:
      JSON values: by layer its shapes, and by piece `gflops` and `share_of_matmul_peak`. On a GPU in bfloat16 also.
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
    """The figures of one layer's pieces."""
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


def _seconds(loop, arguments, steps: int) -> float:
    began = time.perf_counter()
    jax.block_until_ready(loop(arguments, steps))
    return time.perf_counter() - began


class _EpochClock(Observer):
    """Times each epoch's training by the loop, and the same steps in one call of the compiled chunk after it."""

    def __init__(self, trainer: Trainer, epochs: int) -> None:
        self.trainer, self.epochs = trainer, epochs
        self.loop_seconds, self.step_seconds = [], []

    def on_start(self, progress, steps_per_epoch):
        self._steps, self._began = steps_per_epoch, time.perf_counter()

    def on_steps(self, progress, means):
        if progress.steps == self._steps:
            self.loop_seconds.append(time.perf_counter() - self._began)

    def on_epoch(self, progress):
        self.step_seconds.append(self._compiled_seconds())
        if progress.epoch > 1:
            loop, steps = self.loop_seconds[-1], self.step_seconds[-1]
            _say(f"epoch: round {progress.epoch - 1} of {self.epochs - 1}: {loop:.2f} s, its steps alone {steps:.2f} s")
        self._began = time.perf_counter()

    def _compiled_seconds(self) -> float:
        trainer = self.trainer
        rows = compiled.batch_table(trainer.train_rows[0], trainer.config.batch_size)
        # The chunk takes its arguments' memory for its results: it is given copies.
        state, sums = jax.tree.map(
            jnp.copy, (trainer.state, compiled.zero_sums(trainer.task, trainer.dataset, trainer.state))
        )
        jax.block_until_ready((state, sums, rows))
        began = time.perf_counter()
        jax.block_until_ready(
            trainer.train_chunk(state, sums, trainer.dataset, *rows, jnp.int32(0), jnp.int32(self._steps))
        )
        return time.perf_counter() - began


def random_examples(case: Case, rows: int, validation: int) -> Examples:
    """Random slices of a case's size, `rows` to train on and `validation` more."""
    random, count = np.random.default_rng(0), rows + validation
    images = random.integers(0, 256, (count, case.image_size, case.image_size)).astype(np.uint8)
    labels, numbers = random.integers(0, 3, count).astype(np.int32), np.arange(count, dtype=np.int32)
    return Examples(images, labels, numbers[None, :rows], numbers[rows:], case.image_size)


def _task(case: Case) -> Classification:
    return Classification(make_model(case), Preprocessing("grey" if case.channels == 1 else "grey3"), Augmentation())


def measure_epoch(rounds: int, case: dict | None = None, rows: int = 640) -> dict:
    """What the training loop takes over its compiled steps: shuffling, chunks, metrics on the host, progress.

    Validation and checkpoints are work of their own and not counted.

    Args:
      rounds: epochs timed, after a first one that compiles.
      case: a `Case` as a dict; the case `small` by default.
      rows: training rows of an epoch.

    Returns:
      JSON values: `epoch_seconds` and `steps_seconds` (medians), `overhead` (the median of the rounds' own, 0.01 for
      one per cent), `steps`, `rows`.
    """
    case = Case.from_json(case) if case else CASES["small"]
    config = TrainingConfig(epochs=rounds + 1, batch_size=case.batch_size)
    trainer = Trainer(_task(case), config, random_examples(case, rows, case.batch_size), seed=0)
    clock = _EpochClock(trainer, config.epochs)
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
    """The folds of a cross-validation trained in one program, against the same runs one after the other.

    Args:
      rounds: epochs timed, after a first one that compiles.
      case: a `Case` as a dict; the case `small` by default.
      rows: rows of the data set; each fold in turn validates, the others train.
      folds: number of folds.

    Returns:
      JSON values: what `btjax.training.many.compare_times` returns, `folds`, `rows` and `rounds`.
    """
    case = Case.from_json(case) if case else CASES["small"]
    whole, fold = random_examples(case, rows, 0), np.arange(rows) % folds
    examples = [
        dataclasses.replace(whole, train=whole.train[:, fold != index], validation=whole.train[0, fold == index])
        for index in range(folds)
    ]
    config = TrainingConfig(epochs=rounds + 1, batch_size=case.batch_size)
    _say(f"folds: {folds} folds of {rows} rows for {config.epochs} epochs, in one program and one after the other")
    times = compare_times(_task(case), config, examples, seeds=list(range(folds)))
    return {"folds": folds, "rows": rows, "rounds": rounds} | {name: round(value, 4) for name, value in times.items()}
