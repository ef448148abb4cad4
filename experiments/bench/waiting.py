"""Measures what else a user waits for: a frozen network's features, and the saliency maps of a run."""

from __future__ import annotations

import contextlib
import json
import pathlib
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

from experiments.bench.measure import ask_once
from experiments.bench.whole import COMPILE, IMPORTS, REST, Stopwatch, watch_compiling
from experiments.tables.bench import features_line, saliency_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SLICES = 256
"""Slices in a timing of `features`."""


def measure_features(rounds: int, slices: int = SLICES, case: dict | None = None) -> dict[str, Any]:
    """Times a frozen VGG16's features, from slices to files and back, and its forward pass alone, by turns.

    The forward pass takes batches of the same size whose inputs are on the device. What is compiled for the features
    is told by itself: it is the same for a few slices and for all.

    Args:
      rounds: timings of each, after one that compiles the forward pass.
      slices: in each timing.
      case: a `Case` as a dict; the case `vgg16` by default.

    Returns:
      JSON values: `features_ms_per_slice` and `forward_ms_per_slice`, medians; `share`, the median over the rounds of
      the forward pass's time over that of the features; `compile_seconds`, `slices`, `image_size`, `rounds`.
    """
    import jax
    import numpy as np

    from btjax.data.preprocess import Preprocessing
    from btjax.features.deep import BATCH_ROWS, FrozenPart, compute_features
    from experiments.bench.cases import CASES, Case
    from experiments.bench.forms_btjax import fresh_variables, make_model

    size = Case.from_json(case) if case else CASES["vgg16"]
    preprocessing = Preprocessing("viridis", "caffe")
    model: Any = make_model(size, "float32")
    part = FrozenPart(model, fresh_variables(size, model), "flatten")
    images = np.random.default_rng(0).integers(0, 256, (slices, size.image_size, size.image_size), dtype=np.uint8)
    batch = jax.jit(preprocessing)(images[:BATCH_ROWS])
    apply = jax.jit(lambda variables, inputs: model.apply(variables, inputs, stop=part.layer))
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as place:
        for number in range(rounds + 1):
            watch = Stopwatch()
            with watch_compiling(watch):
                for name in ("forward", "features")[:: -1 if number % 2 else 1]:
                    with watch.phase(name):
                        if name == "features":
                            compute_features(part, preprocessing, images, pathlib.Path(place) / str(number))
                        else:
                            outputs = [apply(part.variables, batch) for _ in range(slices // BATCH_ROWS)]
                            jax.block_until_ready(outputs)
            rows.append(watch.exact())
    kept = rows[1:]
    return {
        **{f"{name}_ms_per_slice": round(1e3 * statistics.median(row[name] for row in kept) / slices, 3)
           for name in ("forward", "features")},
        "share": round(statistics.median(row["forward"] / row["features"] for row in kept), 4),
        "compile_seconds": round(statistics.median(row[COMPILE] for row in kept), 2),
        "slices": slices,
        "image_size": size.image_size,
        "rounds": rounds,
    }  # fmt: skip


def measure_saliency(
    place: str, run: str = "", methods: Sequence[str] = ("all",), began: float = 0.0
) -> dict[str, Any]:
    """Explains a run by every method, with the default numbers of slices, and tells where the seconds go.

    Args:
      place: folder of the maps and of the caches: empty at the first call; compiled programs are kept for the second.
      run: folder of a finished classifier's run; "" for a small CNN that is trained on synthetic heads first.
      methods: by name, or all.
      began: when the process was started, by `time.time()`; 0 for now.

    Returns:
      JSON values: `seconds` by method and part, `total`, `slices`, `costly_slices` (what methods of hundreds of passes
      explain of them), `system`, `image_size`.
    """
    watch = Stopwatch()
    watch.seconds[IMPORTS] += time.time() - began if began else 0.0
    with watch.phase(IMPORTS):
        from btjax.commands import saliency
        from btjax.studies.subject import SaliencyConfig
        from experiments.bench.predicting import some_run

    folder = pathlib.Path(place)
    config = SaliencyConfig(methods=tuple(methods))
    # JAX decides at the first thing that is compiled whether programs are kept: before the run is trained or restored.
    with watch_compiling(watch, folder / "compiled"), some_run(run) as found:
        for name in (REST, COMPILE):  # what it took to train a run
            watch.forget(name)
        with _timed_parts(watch):
            out = folder / f"maps_{time.time_ns()}"
            report = saliency.saliency(found.folder, out, config, cache_dir=folder / "cache")
        seconds, explained = watch.stop(), found.config  # a run that was trained for this goes with the block
    return {
        "seconds": seconds,
        "total": round(sum(seconds.values()), 2),
        "slices": report.test_slices,
        "costly_slices": min(config.costly_slices, report.test_slices),
        "system": explained.system,
        "image_size": explained.data.image_size,
    }


@contextlib.contextmanager
def _timed_parts(watch: Stopwatch) -> Iterator[None]:
    """Gives each method's maps and each part of the report a phase of its own."""
    from btjax.commands import saliency
    from btjax.studies import maps as kept_maps
    from btjax.studies import saliency as studies

    compute = kept_maps.compute_maps

    def maps(config: Any, subject: Any, joint: Any, kept: pathlib.Path) -> Any:
        with watch.phase(f"maps by {' and '.join(joint.names)}"):
            return compute(config, subject, joint, kept)

    timed = {(kept_maps, "compute_maps"): maps}
    for module, part, name in (
        (studies, "localisation", "scores on the masks"),
        (studies, "faithfulness", "insertion, deletion and sensitivity"),
        (studies, "randomisation", "randomised networks"),
        (saliency, "write_saliency_report", "figures and page"),
    ):
        timed[module, part] = watch.timed(name, getattr(module, part))
    with contextlib.ExitStack() as stack:
        for (module, part), function in timed.items():
            stack.enter_context(mock.patch.object(module, part, function))
        yield


def measure_explaining(runs: Sequence[str]) -> dict[str, Any] | None:
    """`measure_saliency` of each run, in a process each: first from nothing, then with what is compiled.

    Returns:
      JSON values: `runs`, each with `cold` and `warm`; None where a process failed.
    """
    found = []
    for run in runs:
        with tempfile.TemporaryDirectory() as place:
            settings = {"place": place, "run": run}
            times: dict[str, Any] = {}
            for caches in ("cold", "warm"):
                times[caches] = ask_once("saliency", json.dumps(settings | {"began": time.time()}))
                if times[caches] is None:
                    return None
            found.append(times)
    return {"runs": found}


def describe_features(result: dict[str, Any]) -> list[str]:
    """The printed line for the figures of `features`."""
    return [f"  {features_line(result)}"]


def describe_saliency(result: dict[str, Any]) -> list[str]:
    """The printed lines for the figures of `saliency`."""
    return [f"  {line}" for line in saliency_lines(result)]
