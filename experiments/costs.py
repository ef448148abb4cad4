"""Measures what each preset costs on this machine.

    python -m experiments.costs [--presets=cnn_cpu,resnet50_cpu] [--rounds=3]

Parameters, operations and time of a forward pass, time of a training step, on random slices. Where a frozen part's
output is computed once for every slice, the step is that of what is trained on it. Writes
experiments/results/costs.json; presets that were not asked for keep their figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base.errors import InputError
from btjax.base.files import read_json, write_json
from btjax.data.bits import pack_masks
from btjax.studies.compare import forward_flops
from btjax.systems.presets import preset, preset_names
from btjax.systems.system import find_system
from btjax.systems.transfer import TransferConfig, frozen_stage
from btjax.training.examples import Examples
from btjax.training.loop import Trainer
from experiments.console import fail_in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from btjax.systems.config import Config

PATH = pathlib.Path(__file__).parent / "results" / "costs.json"

_CASCADE = ("glioma", "meningioma", "no_tumor", "pituitary")


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a preset costs.

    Attributes:
      system: of the preset.
      parameters: how many numbers the network has.
      flops: floating-point operations of one slice's forward pass as XLA counts them; None where it does not.
      forward_ms: milliseconds of one slice's forward pass, in batches.
      step_ms: milliseconds of one training step; of the part above the features, where they are computed once.
      features: the stage whose output is computed once for every slice, or None.
      batch_size: slices in a step.
      epochs: of the preset.
    """

    system: str
    parameters: int
    flops: float | None
    forward_ms: float
    step_ms: float
    features: str | None
    batch_size: int
    epochs: int


def measure(config: Config, rounds: int) -> Cost:
    """Measures a preset's config; times are medians of `rounds`, after the programs were compiled."""
    names = _CASCADE if config.system == "hdl2bt" else config.classes
    config, size, batch = config.with_classes(names), config.data.image_size, config.training.batch_size
    task: Any = config.task()
    examples = _examples(size, batch, len(names))
    variables = task.initialise(jax.random.key(0), size)
    forward = jax.jit(lambda images: config.model.apply(variables, config.preprocessing(images)))
    forward_ms = _milliseconds(lambda: forward(examples.images[:batch]), rounds) / batch

    stage = _stage_of_features(config)
    if stage is not None:
        inputs = config.preprocessing(jnp.asarray(examples.images))
        features = np.asarray(jax.jit(partial(config.model.apply, stop=stage))(variables, inputs))
        task, examples = dataclasses.replace(task, start=stage), dataclasses.replace(examples, images=features)
    trainer = Trainer(task, config.training, examples, seed=0, pretrained=variables if stage else None)
    batches = trainer.batches()

    def step() -> Any:
        carry = trainer.state, trainer.sums
        trainer.state, trainer.sums = trainer.train_chunk(carry, trainer.dataset, batches, 0, 1)
        return trainer.sums

    return Cost(
        config.system,
        sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        forward_flops(config, variables),
        round(forward_ms, 3),
        round(_milliseconds(step, rounds), 2),
        stage,
        batch,
        config.training.epochs,
    )


def _stage_of_features(config: Config) -> str | None:
    """The stage up to which a preset's network is computed once, as `prepare_transfer` decides."""
    extra = config.extra
    if not isinstance(extra, TransferConfig) or not extra.feature_cache:
        return None
    fixed = not config.augmentation.active or extra.feature_copies > 0
    return frozen_stage(config, config.data.image_size)[0] if fixed else None


def _examples(size: int, count: int, classes: int) -> Examples:
    """Random slices with a square for a tumour; those of one step, and one to validate on."""
    images = np.random.default_rng(0).integers(0, 256, (count + 1, size, size), dtype=np.uint8)
    masks = np.zeros(images.shape, bool)
    masks[:, size // 4 : size // 2, size // 4 : size // 2] = True
    labels, train = np.arange(count + 1, dtype=np.int32) % classes, np.arange(count, dtype=np.int32)
    return Examples(images, labels, train[None], np.array([count], np.int32), size, pack_masks(masks))


def _milliseconds(run: Callable[[], Any], rounds: int) -> float:
    jax.block_until_ready(run())
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def main() -> None:
    """Measures the presets and writes the file after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [name for name in preset_names() if not find_system(preset(name).system).fitted]
    parser.add_argument("--presets", default=",".join(known), help=f"comma-separated, of {', '.join(known)}")
    parser.add_argument("--rounds", type=int, default=3, help="timings of each, of which the median counts")
    arguments = parser.parse_args()
    names = arguments.presets.split(",")
    for name in names:
        if name not in known:
            raise InputError(f"--presets: found {name!r}, expected some of {', '.join(known)}")
    if arguments.rounds < 1:
        raise InputError(f"--rounds={arguments.rounds}: expected at least 1")
    for name in names:
        cost = measure(preset(name), arguments.rounds)
        held = read_json(PATH)["costs"] if PATH.exists() else {}
        row = dataclasses.asdict(cost) | {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
        write_json(PATH, {"costs": dict(sorted((held | {name: row}).items()))}, indent=1, seal=False)
        step = f"{cost.step_ms:.0f} ms a step" + (f" on the features of {cost.features}" if cost.features else "")
        print(f"{name}: {cost.parameters:,} parameters, {cost.forward_ms:.1f} ms a slice, {step}", flush=True)


if __name__ == "__main__":
    fail_in_one_line("costs", main)
