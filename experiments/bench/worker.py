"""The process that measures one form of a case.

    python -m experiments.bench.worker FORM CASE_AS_JSON
    python -m experiments.bench.worker layers|epoch|folds|... SETTINGS_AS_JSON
    python -m experiments.bench.worker device

A form compiles, answers, and then answers each line of standard input: `run` with a timing, `peak DTYPE` with the rate
of matrix products. The others answer once. Answers are lines of JSON on standard output; whatever a framework prints
goes to standard error.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import resource
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from experiments.bench.cases import KEPT, Case
from experiments.bench.machine import machine, slug
from experiments.console import fail_in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable

TIMING_SECONDS = 3.0
"""About how long a timing takes, unless a step is longer; a chunk of the training loop takes as long."""

ALONE = {
    "layers": "within",
    "depthwise": "depthwise",
    "epoch": "within",
    "folds": "within",
    "predict": "predicting",
    "predict_memory": "predicting",
    "memory": "memory",
    "stream_copy": "streaming",
    "whole": "whole",
    "growth_point": "growth",
    "accuracy": "accuracy",
    "features": "waiting",
    "saliency": "waiting",
}
"""What is measured of btjax alone, and the module of `experiments.bench` whose function `measure_NAME` does so."""

MOST_STEPS = 256
"""The most steps in one timing."""


def main(arguments: list[str]) -> None:
    """Measures what the command line names and answers on standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(values: dict) -> None:
        print(json.dumps(values), file=answers, flush=True)

    kind = arguments[0]
    if kind == "device":
        answer(device())
    elif kind in ALONE:
        module = importlib.import_module(f"experiments.bench.{ALONE[kind]}")
        answer(getattr(module, f"measure_{kind}")(**json.loads(arguments[1])))
    elif kind == "stream":
        from experiments.bench.streaming import serve_stream

        serve_stream(json.loads(arguments[1]), answer)
    else:
        serve(kind, Case.from_json(json.loads(arguments[1])), answer)


def device() -> dict:
    """JAX's first device.

    Returns:
      `platform` (cpu or gpu), `name` (the GPU's or the processor's, as it stands in the results file's name), `machine`
      (see `experiments.bench.machine`) and `versions` of the frameworks.
    """
    import jax

    first, about = jax.devices()[0], machine()
    name = slug(about["processor"] if first.platform == "cpu" else first.device_kind)
    versions = {}
    for package in ("jax", "torch", "keras", "captum"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"platform": first.platform, "name": name, "machine": about, "versions": versions}


def prepare(form: str, case: Case) -> Callable[[int], None]:
    """A form's function `run(steps)`; imports its framework."""
    framework, _, variant = form.partition("_")
    if form.endswith(KEPT):
        from btjax.base.devices import keep_freed_memory

        keep_freed_memory()
    if framework == "btjax":
        from experiments.bench import forms_btjax as forms
    elif framework == "torch":
        from experiments.bench import forms_torch as forms
    elif framework == "captum":
        from experiments.bench import forms_captum as forms
    else:
        os.environ["KERAS_BACKEND"] = variant.split("_")[0]
        from experiments.bench import forms_keras as forms
    return forms.prepare(case, form.removesuffix(KEPT))


def serve(form: str, case: Case, answer: Callable[[dict], None]) -> None:
    """Compiles, then answers each line of standard input.

    Args:
      form: of FORMS.
      case: what to measure.
      answer: takes each answer.
    """
    began = time.perf_counter()
    run = prepare(form, case)
    run(1)
    compile_seconds = time.perf_counter() - began
    run(1)  # the second call may still allocate, or compile again for the layout of the first one's results
    began = time.perf_counter()
    run(1)
    steps = max(1, min(MOST_STEPS, round(TIMING_SECONDS / (time.perf_counter() - began))))
    answer({"compile_seconds": compile_seconds})  # only now that this process is idle: others may be timed from here on
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "peak":
            from experiments.bench.forms_btjax import matmul_peak

            answer({"gflops": matmul_peak(*rest)})
            continue
        began = time.perf_counter()
        run(steps)
        seconds = time.perf_counter() - began
        answer({"ms_per_image": seconds / steps / case.batch_size * 1e3, "peak_memory_mib": peak_memory()})


def peak_memory() -> float:
    """This process's peak memory in MiB: on a GPU what its framework allocated there, on a CPU the resident memory."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        taken = sys.modules["torch"].cuda.max_memory_allocated()
        if taken:
            return taken / 2**20
    if "jax" in sys.modules:
        statistics = sys.modules["jax"].devices()[0].memory_stats()
        if statistics:
            return statistics["peak_bytes_in_use"] / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    fail_in_one_line("scripts/bench", partial(main, sys.argv[1:]))
