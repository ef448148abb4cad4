"""Measures how time and memory of training grow: with slices, side, batch, folds and devices, one at a time."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from experiments.bench.measure import ask_once

if TYPE_CHECKING:
    import pathlib


@dataclasses.dataclass(frozen=True)
class Point:
    """What is trained.

    Attributes:
      slices: to train on.
      side: of the slices in pixels.
      batch: slices in a step.
      folds: runs in one program, each on its own part of the slices.
      devices: that each batch is divided among; virtual ones on a CPU.
    """

    slices: int = 1024
    side: int = 64
    batch: int = 32
    folds: int = 1
    devices: int = 1


RANGES = {
    "slices": (1024, 3072, 12_288, 100_352),
    "side": (64, 128, 256, 512),
    "batch": (8, 16, 32, 64, 128),
    "folds": (1, 2, 5),
    "devices": (1, 2, 4, 8),
}
"""What each is raised to while the others keep the values of `Point`."""

SLICES = 12_288
"""The most slices, unless others are asked for."""


def points(most_slices: int) -> list[tuple[str, Point]]:
    """Every point with the name of what grows; of slices no more than `most_slices`."""
    return [
        (name, dataclasses.replace(Point(), **{name: value}))
        for name, values in RANGES.items()
        for value in values
        if name != "slices" or value <= max(most_slices, values[0])
    ]


def measure_growth_point(rounds: int = 3, **values: int) -> dict[str, Any]:
    """Trains the small CNN at one point.

    Args:
      rounds: epochs that are timed, after one that compiles.
      **values: fields of `Point`.

    Returns:
      JSON values: `ms_per_slice`, the median epoch's time by slice (of all folds together), `peak_memory_mib` and
      `compile_seconds`, the first epoch's time less a later one's.
    """
    import statistics

    import jax
    import numpy as np

    point = msgspec.convert(values, Point)
    if point.devices > 1 and os.environ.get("JAX_PLATFORMS", "cpu") == "cpu":
        jax.config.update("jax_num_cpu_devices", point.devices)
    from btjax.training.config import TrainingConfig
    from btjax.training.loop import Trainer
    from btjax.training.many import ManyTrainer
    from experiments.bench.cases import CASES
    from experiments.bench.forms_btjax import make_task
    from experiments.bench.within import random_examples
    from experiments.bench.worker import peak_memory

    case = dataclasses.replace(CASES["small"], image_size=point.side, batch_size=point.batch)
    config = TrainingConfig(epochs=rounds + 1, batch_size=point.batch, devices=point.devices, select="last_epoch")
    whole = random_examples(case, point.slices, 0)
    if point.folds == 1:
        trainer = Trainer(make_task(case), config, whole, seed=0)
        histories = [trainer.fit().history]
    else:
        fold = np.arange(point.slices) % point.folds
        parts = [dataclasses.replace(whole, train=whole.train[:, fold != index]) for index in range(point.folds)]
        many = ManyTrainer(make_task(case), config, parts, list(range(point.folds)))
        histories = [progress.history for progress in many.fit()]
    ends = np.array([[row["seconds"] for row in history] for history in histories]).sum(axis=0)
    epochs = np.diff(ends)
    trained = point.slices * max(1, point.folds - 1)
    return {
        "ms_per_slice": round(1e3 * statistics.median(epochs) / trained, 4),
        "peak_memory_mib": round(peak_memory()),
        "compile_seconds": round(float(max(0.0, ends[0] - statistics.median(epochs))), 1),
    }


def measure_growth(rounds: int, most_slices: int) -> dict[str, Any] | None:
    """Every point in a process of its own.

    Args:
      rounds: see `measure_growth_point`.
      most_slices: the most slices of a point.

    Returns:
      JSON values: `points`, a list of what grows (`name`), the fields of `Point`, and what was measured; None where one
      could not be measured, since the others' ratios would then hide it.
    """
    found = []
    for name, point in points(most_slices):
        values = dataclasses.asdict(point)
        print(f"growth: {name} {values[name]}", file=sys.stderr, flush=True)
        answer = ask_once("growth_point", json.dumps(values | {"rounds": rounds}))
        if answer is None:
            print(f"growth: {name} {values[name]} could not be measured", file=sys.stderr)
            return None
        found.append({"name": name} | values | answer)
    return {"points": found, "rounds": rounds}


def describe_growth(result: dict[str, Any]) -> list[str]:
    """The printed lines for the figures of `growth`."""
    return [
        f"  {one['name']} {one[one['name']]}: {one['ms_per_slice']:.3f} ms a slice, {one['peak_memory_mib']} MiB, "
        f"compiled in {one['compile_seconds']:.0f} s"
        for one in result["points"]
    ]


def relative_times(result: dict[str, Any], name: str) -> tuple[list[int], list[float]]:
    """The values of what grows, and a slice's time (with the side, a pixel's) over that at the first value."""
    rows = [one for one in result["points"] if one["name"] == name]
    times = [one["ms_per_slice"] / (one["side"] / rows[0]["side"]) ** 2 for one in rows]
    return [one[name] for one in rows], [time / times[0] for time in times]


def draw_growth(result: dict[str, Any], path: pathlib.Path) -> None:
    """Draws a slice's time over that of proportional growth, and memory, against each of RANGES.

    Args:
      result: of `measure_growth`.
      path: of the picture, .svg or .png.
    """
    from matplotlib.figure import Figure

    from btjax.base.files import write_whole

    figure = Figure(figsize=(2.4 * len(RANGES), 4.2), layout="constrained")
    panels = figure.subplots(2, len(RANGES), sharex="col", squeeze=False)
    for column, name in enumerate(RANGES):
        values, times = relative_times(result, name)
        memory = [one["peak_memory_mib"] / 1024 for one in result["points"] if one["name"] == name]
        for panel, numbers in zip(panels[:, column], (times, memory), strict=True):
            panel.plot(values, numbers, "o-", color="black")
            panel.set_xscale("log", base=2)
            panel.set_ylim(0, 1.1 * max(numbers))
        panels[0, column].axhline(1, color="grey", linewidth=0.8)
        panels[1, column].set_xlabel(name)
    panels[0, 0].set_ylabel("a slice's time over that\nof proportional growth")
    panels[1, 0].set_ylabel("peak memory, GiB")
    write_whole(path, lambda beside: figure.savefig(beside, format=path.suffix[1:]))
