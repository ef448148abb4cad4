"""Measures how long it takes, from nothing, until a network classifies test slices as well as a goal asks."""

from __future__ import annotations

import json
import pathlib
import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.bench.measure import ask_once
from experiments.tables.bench import accuracy_lines

if TYPE_CHECKING:
    from btjax.runs.run import Run

GOALS = {"slice": 0.95, "family": 0.93}
"""The test accuracy to reach, by protocol."""

PRESET = "cnn_fast"
PRETRAINED = "joint_efficientnet_cpu"
"""The preset under `family` where its published weights are at hand: there a small CNN does not reach the goal."""


def measure_accuracy(
    preset: str,
    protocol: str,
    goal: float,
    place: str,
    began: float,
    data_dir: str = "",
    epochs: int = 0,
    weights: str = "",
) -> dict[str, Any]:
    """Trains a preset with empty caches, then scores the checkpoint of every epoch on the test slices.

    The clock is read after every epoch while the run goes on; test slices are looked at when it is over, and nothing is
    chosen by them. The clock includes imports, decoding, compilation, validation and checkpoints.

    Args:
      preset: of a classifier.
      protocol: of the split.
      goal: accuracy in [0, 1].
      place: folder of the run and its caches.
      began: when the process was started, by `time.time()`.
      data_dir: the data set; "" for synthetic heads.
      epochs: how many; 0 for the preset's own.
      weights: file of published weights; "" where the preset begins from none.

    Returns:
      JSON values: `seconds` and `accuracy` after each epoch; `pretrained`, whether it began from published weights;
      `reached_epoch`, the first at or above the goal, and its `reached_seconds`, or None; `total_seconds`, with
      predictions and report; `chosen`, the test accuracy of the checkpoint that validation chose, with its interval.
    """
    import btjax
    from btjax.base.errors import InputError
    from btjax.base.progress import Observer
    from btjax.data.dataset import PHANTOM
    from btjax.runs.report import ClassifierReport

    ends: list[float] = []

    class Clock(Observer):
        def on_epoch(self, progress: Any) -> None:
            del progress
            ends.append(time.time() - began)

    folder, config = pathlib.Path(place), btjax.preset(preset).replace("data.protocol", protocol)
    config = config.replace("data.data_dir", data_dir or PHANTOM)
    config = config.replace("training.epochs", epochs) if epochs else config
    config = config.replace("training.keep_every", 1)
    config = config.replace("extra.weights", weights) if weights else config
    run = btjax.train(config, folder / "run", observer=Clock(), cache_dir=folder / "cache")
    total, report = time.time() - began, run.report
    if not isinstance(report, ClassifierReport):
        raise InputError(f"--preset={preset}: expected that of a classifier")
    accuracy = _by_epoch(run, len(ends), folder / "cache")
    reached = next((epoch for epoch, share in enumerate(accuracy, 1) if share >= goal), None)
    return {
        "preset": preset,
        "protocol": protocol,
        "goal": goal,
        "pretrained": bool(weights),
        "fold": report.split.fold,
        "seed": config.seed,
        "data": report.data.form,
        "test_slices": report.test.slices,
        "seconds": [round(one, 1) for one in ends],
        "accuracy": [round(one, 4) for one in accuracy],
        "reached_epoch": reached,
        "reached_seconds": round(ends[reached - 1], 1) if reached else None,
        "total_seconds": round(total, 1),
        "chosen": {"accuracy": report.test.accuracy, "accuracy_ci95": report.test.accuracy_ci95},
    }


def _by_epoch(run: Run, epochs: int, cache: pathlib.Path) -> list[float]:
    """The test accuracy of the checkpoint of every epoch."""
    from btjax.studies.data import divide, load_slices
    from btjax.training.loop import kept_name
    from btjax.training.step import make_predict

    tested = divide(run.config, load_slices(run.config, cache_dir=cache)).tested
    predict, found = make_predict(run.config.task()), []
    for epoch in range(1, epochs + 1):
        variables = run.checkpoints.load(kept_name(epoch), run.variables)[0]
        found.append(float(np.mean(predict(variables, tested.images, 32).argmax(axis=1) == tested.labels)))
    return found


def measure_times_to_accuracy(data_dir: str, epochs: int, weights: str = "") -> dict[str, Any] | None:
    """Each protocol of GOALS from nothing, in a process of its own.

    Args:
      data_dir: see `measure_accuracy`.
      epochs: see `measure_accuracy`.
      weights: the file that PRETRAINED begins from; "" for PRESET under `family` too.

    Returns:
      JSON values: `runs`, a list; None where one failed.
    """
    runs = []
    for protocol, goal in GOALS.items():
        with tempfile.TemporaryDirectory() as place:
            own_weights = weights if protocol == "family" else ""
            preset = PRETRAINED if own_weights else PRESET
            settings = {"preset": preset, "protocol": protocol, "goal": goal, "place": place, "weights": own_weights}
            settings |= {"began": time.time(), "data_dir": data_dir, "epochs": epochs}
            runs.append(ask_once("accuracy", json.dumps(settings)))
    return None if None in runs else {"runs": runs}


def describe_accuracy(result: dict[str, Any]) -> list[str]:
    """The printed lines for the figures of `time_to_accuracy`."""
    return [f"  {line}" for line in accuracy_lines(result)]
