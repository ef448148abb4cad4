"""How long a slice takes: onnxruntime's session beside btjax's own compiled forward pass, on the same slices."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import time
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from btjax.prediction.export import predictor
from btjax.runs.seen import load_typical

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Sequence

    from btjax.runs.run import Run

BATCHES = (1, 32)
_ROUNDS, _SECONDS = 5, 0.3


@dataclasses.dataclass(frozen=True)
class Latency:
    """The time of a batch, the median over rounds in turns.

    Attributes:
      batch: slices at a time.
      btjax: milliseconds of the jitted forward pass, with strangeness where the run's folder tells it.
      onnxruntime: milliseconds of the exported file; None without the package.
    """

    batch: int
    btjax: float
    onnxruntime: float | None


def measure_latency(run: Run, path: pathlib.Path, batches: Sequence[int] = BATCHES) -> list[Latency]:
    """Measures a run's ONNX file beside the run, on random slices: the time does not depend on the pixels.

    Args:
      run: a classifier's.
      path: its model.onnx.
      batches: numbers of slices at a time.
    """
    size, found = run.config.data.image_size, []
    own, session = jax.jit(predictor(run, load_typical(run))), None
    if importlib.util.find_spec("onnxruntime") is not None:
        runtime: Any = importlib.import_module("onnxruntime")
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in batches:
        slices = np.random.default_rng(0).integers(0, 256, (batch, size, size)).astype(np.uint8)
        calls: list[Callable[[], Any]] = [lambda slices=slices: jax.block_until_ready(own(slices))]
        if session is not None:
            name = session.get_inputs()[0].name
            calls.append(lambda slices=slices, name=name: session.run(None, {name: slices}))
        for call in calls:
            call()  # compiles
        times = [[_milliseconds(call) for call in calls] for _ in range(_ROUNDS)]
        middle = np.median(times, axis=0).tolist()
        found.append(Latency(batch, middle[0], middle[1] if session is not None else None))
    return found


def _milliseconds(call: Callable[[], Any]) -> float:
    """The time of one call, over as many as take some tenths of a second."""
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _SECONDS:
        call()
        count += 1
    return 1000 * (time.perf_counter() - began) / count


def latency_lines(found: Sequence[Latency]) -> list[str]:
    """One line for each batch.

    Example:
      >>> latency_lines([Latency(32, 10.0, 20.0)])
      ['32 slices: btjax 10.0 ms, onnxruntime 20.0 ms (2.00 times)']
    """
    lines = []
    for one in found:
        line = f"{one.batch} {'slice' if one.batch == 1 else 'slices'}: btjax {one.btjax:.1f} ms"
        if one.onnxruntime is not None:
            line += f", onnxruntime {one.onnxruntime:.1f} ms ({one.onnxruntime / one.btjax:.2f} times)"
        lines.append(line)
    return lines
