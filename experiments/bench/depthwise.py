"""Measures depthwise convolutions on a CPU: the sums of shifted images of `btjax.nn.depthwise` beside XLA's own."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from btjax.nn import depthwise
from btjax.nn.window import Window
from experiments.bench.cases import PIECES
from experiments.tables.bench import depthwise_lines

if TYPE_CHECKING:
    from collections.abc import Callable

LAYERS = {
    "block1a": (64, 32, 3, 1),
    "block2a": (64, 96, 3, 2),
    "block3a": (32, 144, 5, 2),
    "block4b": (8, 480, 3, 1),
    "block5b": (8, 672, 5, 1),
    "block6b": (4, 1152, 5, 1),
}
"""Side of the image, channels, side of the kernel and stride of some layers of EfficientNet-B0 at 128 px."""

_SECONDS = 0.1
"""About how long a timing takes."""


def measure_depthwise(rounds: int, batch: int = 16, layers: dict[str, tuple[int, int, int, int]] | None = None) -> dict:
    """The times of the forward pass and of both gradients, the two ways by turns.

    Args:
      rounds: timings of each, of which the median counts.
      batch: images in a batch.
      layers: as LAYERS; None for these.

    Returns:
      JSON values: `layers`, for each its shape and by piece `shifted_ms`, `xla_ms` and `ratio`, the median over the
      rounds of XLA's time over that of the shifted images; `batch`, `rounds`.
    """
    found = {}
    for name, (side, channels, size, stride) in (layers or LAYERS).items():
        about = {"side": side, "channels": channels, "kernel": size, "stride": stride}
        found[name] = about | _measure_layer(batch, side, channels, size, stride, rounds)
    return {"layers": found, "batch": batch, "rounds": rounds}


def _measure_layer(batch: int, side: int, channels: int, size: int, stride: int, rounds: int) -> dict[str, Any]:
    low, high = (size - 1) // 2, size // 2
    window = Window((stride, stride), ((low, high), (low, high)))
    image = jax.random.normal(jax.random.key(0), (batch, side, side, channels))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 1, channels)) / size
    cotangent = jax.random.normal(jax.random.key(2), (batch, *window.output_size((side, side), (size, size)), channels))

    def shifted_image_gradient(kernel, cotangent):
        transposed = window.transposed((side, side), (size, size))
        return depthwise.shifted(cotangent, jnp.flip(kernel, (0, 1)), transposed)

    def native_image_gradient(kernel, cotangent):
        return jax.linear_transpose(lambda image: depthwise.native(image, kernel, window), image)(cotangent)[0]

    whole = {"size": (size, size), "window": window}
    pieces: dict[str, tuple[Any, Any, tuple[jax.Array, jax.Array], dict[str, Any]]] = {
        "forward": (depthwise.shifted, depthwise.native, (image, kernel), {"window": window}),
        "image_gradient": (shifted_image_gradient, native_image_gradient, (kernel, cotangent), {}),
        "kernel_gradient": (
            depthwise.shifted_kernel_gradient, depthwise.native_kernel_gradient, (image, cotangent), whole,
        ),
    }  # fmt: skip
    return {piece: _by_turns(*pieces[piece], rounds) for piece in PIECES}


def _by_turns(
    shifted: Callable[..., jax.Array],
    native: Callable[..., jax.Array],
    arguments: tuple[jax.Array, jax.Array],
    options: dict[str, Any],
    rounds: int,
) -> dict[str, float]:
    """Milliseconds of both ways, and the ratio of the second to the first."""
    ways = [jax.jit(partial(way, **options)) for way in (shifted, native)]
    for way in ways:
        jax.block_until_ready(way(*arguments))
    times = []
    for number in range(rounds):
        turn = [(place, _milliseconds(ways[place], arguments)) for place in ((0, 1) if number % 2 else (1, 0))]
        times.append([milliseconds for _, milliseconds in sorted(turn)])
    own, xla = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(second / first for first, second in times)
    return {"shifted_ms": round(own, 3), "xla_ms": round(xla, 3), "ratio": round(ratio, 2)}


def _milliseconds(way: Callable[..., jax.Array], arguments: tuple[jax.Array, jax.Array]) -> float:
    """The mean over as many calls as fit in about _SECONDS."""
    began, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - began < _SECONDS:
        jax.block_until_ready(way(*arguments))
        calls += 1
    return 1e3 * (time.perf_counter() - began) / calls


def describe_depthwise(result: dict) -> list[str]:
    """The printed lines for the figures of `depthwise`."""
    return [f"  {line}" for line in depthwise_lines(result)]
