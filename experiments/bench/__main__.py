"""Measures btjax against PyTorch, Keras and captum on the same models, batches and data, and against itself.

    scripts/bench [--cases=small,vgg16] [--forms=torch,keras_jax] [--rounds=7]

The CNN and the U-Net are measured by their training steps (slices as uint8 in memory, scaled inside the step, the
model's loss, Adam), VGG16 by its forward pass, SmoothGrad and integrated gradients by the maps of 64 slices. A form is
a framework in one of its variants. Each form runs in its own process; the processes take turns, so that whatever slows
the machine slows all of them. On a CPU btjax and two forms of PyTorch are also measured in processes that keep freed
memory, as the commands of btjax do.

The other cases measure btjax alone. `layers`: the speed of the paper's wide convolutions, as a share of the speed of
plain matrix products. `epoch`: the time that the training loop adds to its compiled steps. `folds`: five folds trained
in one program, compared with the same runs one after the other. `predict`: image files predicted, as a share of the
speed of the network alone, by turns, and the memory with 1,000 and 20,000 files; of a small CNN, or of the runs of
--runs. `depthwise`: depthwise convolutions and their gradients, by turns with XLA's own. `memory`: what the programs of
--presets take in memory, as compiled; nothing is run. `stream`: training on slices that are read from files beside
training on slices in memory, by turns. `whole`: where the seconds of a run go, from nothing and with its caches.
`growth`: time and memory of training against slices, side, batch, folds and devices, also drawn. `time_to_accuracy`:
the minutes from nothing to a test accuracy of --data_dir, under `family` of a pretrained network where --weights are
given. `features`: a frozen VGG16's features, from slices to files, beside its forward pass, by turns. `saliency`: where
the seconds go when a run is explained by every method; of a small CNN, or of the runs of --runs.

Prints tables and writes experiments/results/bench_NAME.json, a file for each model of processor or GPU; cases that were
not asked for keep their figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
from typing import TYPE_CHECKING

from btjax.base.errors import InputError
from btjax.base.files import read_json, write_json
from experiments.bench import growth, streaming
from experiments.bench.accuracy import describe_accuracy, measure_times_to_accuracy
from experiments.bench.cases import CASES, FORMS, PIECES
from experiments.bench.depthwise import describe_depthwise
from experiments.bench.growth import describe_growth, draw_growth, measure_growth
from experiments.bench.measure import ask_once, describe, measure_case, select_forms
from experiments.bench.memory import PAPER, describe_memory
from experiments.bench.streaming import describe_stream, measure_streaming
from experiments.bench.waiting import describe_features, describe_saliency, measure_explaining
from experiments.bench.whole import describe_whole, measure_wholes

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "results"
FRAMEWORKS = ("btjax", "torch", "keras", "captum")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much the cases measure that can be short or long.

    Attributes:
      slices: of `stream`, `whole` and, at most, `growth`; 0 for each one's own.
      epochs: of `whole` and `time_to_accuracy`; 0 for the presets' own.
      data_dir: the data of `whole` and `time_to_accuracy`; "" for synthetic slices.
      presets: of `memory`.
      weights: file of published weights that a run of `time_to_accuracy` begins from; "" for none.
    """

    slices: int = 0
    epochs: int = 0
    data_dir: str = ""
    presets: tuple[str, ...] = PAPER
    weights: str = ""


def measure(
    name: str, device: dict, forms: list[str], rounds: int, runs: Sequence[str] = ("",), sizes: Sizes = Sizes()
) -> dict | None:
    """Measures one case and prints its table.

    Args:
      name: the case, of CASES or WITHIN.
      device: what `experiments.bench.worker.device` returns.
      forms: the forms or frameworks to compare.
      rounds: timings of each form.
      runs: folders of the runs of `predict` and `saliency`; "" for a small CNN.
      sizes: of other cases.

    Returns:
      The figures as JSON values; None, after a line that says why, where nothing was measured.
    """
    if not suits(name, device):
        print(f"{name}: skipped, it needs a {needed(name).upper()} and JAX sees a {device['platform']}", flush=True)
        return None
    if name in WITHIN:
        result = measure_alone(name, rounds, runs, sizes)
        lines = WITHIN[name](result) if result else []
    else:
        case = CASES[name]
        result = measure_case(name, case, select_forms(case, device["platform"], forms), rounds)
        lines = describe(result) if result else []
    if result is None:
        print(f"{name}: btjax could not run: nothing measured", file=sys.stderr)
        return None
    print("\n".join(["", name, *lines, ""]), flush=True)
    return result | {"versions": device["versions"]}


def needed(name: str) -> str:
    """The platform that a case needs: cpu, gpu, or "" for any. Shifted images are how a CPU convolves by channel."""
    if name == "depthwise":
        return "cpu"
    return "gpu" if name in CASES and CASES[name].gpu_only else ""


def suits(name: str, device: dict) -> bool:
    """Whether a case can be measured on JAX's device."""
    return needed(name) in ("", device["platform"])


def measure_alone(name: str, rounds: int, runs: Sequence[str], sizes: Sizes) -> dict | None:
    """The figures of a case of WITHIN; None where a process failed."""
    if name == "predict":
        return measure_predictions(rounds, runs)
    if name == "saliency":
        return measure_explaining(runs)
    if name == "memory":
        return ask_once(name, json.dumps({"presets": list(sizes.presets)}))
    if name == "stream":
        return measure_streaming(sizes.slices or streaming.SLICES, rounds)
    if name == "whole":
        return measure_wholes(sizes.data_dir, sizes.epochs, sizes.slices)
    if name == "time_to_accuracy":
        return measure_times_to_accuracy(sizes.data_dir, sizes.epochs, sizes.weights)
    if name == "growth":
        return measure_growth(rounds, sizes.slices or growth.SLICES)
    return ask_once(name, json.dumps({"rounds": rounds}))


def measure_predictions(rounds: int, runs: Sequence[str], files: Sequence[int] = (1000, 20_000)) -> dict | None:
    """The speed of predicting with each run, from pictures of two sizes, and the memory of the first by `files`.

    Returns:
      `speeds`, a list, and `memory_mib` by the number of files; None where a process failed.
    """
    speeds = []
    for run in runs:
        for side in (0, 512):
            speeds.append(ask_once("predict", json.dumps({"rounds": rounds, "run": run, "side": side})))
    memory = [ask_once("predict_memory", json.dumps({"files": count, "run": runs[0]})) for count in files]
    if None in (*speeds, *memory):
        return None
    return {"speeds": speeds, "memory_mib": {str(one["files"]): one["peak_memory_mib"] for one in memory if one}}


def describe_predictions(result: dict) -> list[str]:
    """The printed lines for the figures of `predict`."""
    lines = [
        f"  {one['system']}, {one['image_size']} px, PNG files of {one['picture_side']} px: "
        f"{one['predict_ms_per_image']:.2f} ms an image, {one['predict_share']:.0%} of the network's speed; "
        f"{one['predict_always_share']:.0%} where everything is answered (load {one['load']})"
        for one in result["speeds"]
    ]
    return [*lines, *(f"  {files} files: {mib} MiB" for files, mib in result["memory_mib"].items())]


def describe_epoch(result: dict) -> list[str]:
    """The printed line for the figures of `epoch`."""
    return [
        f"  {result['steps']} steps: {result['epoch_seconds']:.2f} s by the training loop, "
        f"{result['steps_seconds']:.2f} s by the compiled steps alone: {result['overhead']:+.1%}"
    ]


def describe_folds(result: dict) -> list[str]:
    """The printed lines for the figures of `folds`."""
    parts = (("with compilation", "seconds", "ratio"), ("an epoch", "epoch_seconds", "epoch_ratio"))
    return [
        f"  {result['folds']} folds, {part}: {result[f'together_{key}']:.1f} s in one program, "
        f"{result[f'sequence_{key}']:.1f} s one after the other: {result[ratio]:.2f} times as long"
        for part, key, ratio in parts
    ]


def describe_layers(result: dict) -> list[str]:
    """The printed lines for the figures of `layers`."""
    lines = []
    for label, layer in result["layers"].items():
        rates = (
            f"{piece} {layer[piece]['gflops']:.0f} GFLOP/s ({layer[piece]['share_of_matmul_peak']:.0%})"
            for piece in PIECES
        )
        lines.append(f"  {label:28}" + "  ".join(rates))
    return lines


WITHIN = {
    "layers": describe_layers,
    "depthwise": describe_depthwise,
    "epoch": describe_epoch,
    "folds": describe_folds,
    "predict": describe_predictions,
    "memory": describe_memory,
    "stream": describe_stream,
    "whole": describe_whole,
    "growth": describe_growth,
    "time_to_accuracy": describe_accuracy,
    "features": describe_features,
    "saliency": describe_saliency,
}
"""What is measured of btjax alone, and the printed lines of each."""


def merge(path: pathlib.Path, device: dict, name: str, result: dict) -> None:
    """Puts a case's figures into the results file and keeps those of other cases.

    Raises:
      InputError: the file exists and is not JSON.
    """
    old = read_json(path) if path.exists() else {}
    cases = {**old.get("cases", {}), name: result}
    order = [*CASES, *WITHIN]
    whole = {
        "device": device["name"] if device["platform"] == "gpu" else "cpu",
        "machine": device["machine"],
        "cases": {known: cases[known] for known in sorted(cases, key=order.index)},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, whole, indent=1, seal=False)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options of the command line; exits with status 2 and one line for a wrong one."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = (*CASES, *WITHIN)
    parser.add_argument("--cases", default=",".join(names), help=f"of {', '.join(names)}")
    parser.add_argument(
        "--forms",
        default=",".join(FRAMEWORKS),
        help=f"frameworks ({', '.join(FRAMEWORKS)}) or forms ({', '.join(FORMS)}); btjax is always measured, "
        "bfloat16 beside float32 on a GPU alone",
    )
    parser.add_argument("--rounds", type=int, default=7, help="timings of each form")
    parser.add_argument("--presets", default=",".join(PAPER), help="presets whose memory is told, comma-separated")
    parser.add_argument("--slices", type=int, default=0, help="slices of `stream`, `whole` and, at most, `growth`")
    parser.add_argument(
        "--epochs", type=int, default=0, help="epochs of `whole` and `time_to_accuracy`; 0 for the presets' own"
    )
    parser.add_argument(
        "--data_dir", default="", help="data set of `whole` and `time_to_accuracy`; synthetic slices by default"
    )
    parser.add_argument(
        "--weights", default="", help="file of EfficientNet-B0's ImageNet weights, for `time_to_accuracy` under family"
    )
    parser.add_argument("--runs", default="", help="finished runs of `predict` and `saliency`, comma-separated")
    parser.add_argument("--results_dir", type=pathlib.Path, default=RESULTS, help="folder of the results file")
    options = parser.parse_args(arguments)
    options.cases, options.forms = options.cases.split(","), options.forms.split(",")
    for flag, found, known in (("cases", options.cases, names), ("forms", options.forms, (*FRAMEWORKS, *FORMS))):
        for name in found:
            if name not in known:
                parser.error(f"--{flag}: found {name!r}, expected some of {', '.join(known)}")
    for name, least in (("rounds", 1), ("slices", 0), ("epochs", 0)):
        if getattr(options, name) < least:
            parser.error(f"--{name}={getattr(options, name)}: expected at least {least}")
    if options.weights and not pathlib.Path(options.weights).is_file():
        parser.error(f"--weights={options.weights}: not found, expected a file of weights")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measures the cases that the command line names.

    Args:
      arguments: the command line, without the program's name; None for this process's own.

    Returns:
      The exit status: 0, 1 where a case could not be measured, 2 where JAX finds no device or the results file is bad.
    """
    options = parse(arguments)
    device = ask_once("device")
    if device is None:
        return 2
    path, failed = options.results_dir / f"bench_{device['name']}.json", False
    presets = tuple(options.presets.split(","))
    sizes = Sizes(options.slices, options.epochs, options.data_dir, presets, options.weights)
    for name in options.cases:
        result = measure(name, device, options.forms, options.rounds, options.runs.split(","), sizes)
        if result:
            try:
                merge(path, device, name, result)
                if name == "growth":
                    draw_growth(result, path.with_name(f"growth_{device['name']}.svg"))
            except (InputError, OSError) as error:
                print(f"scripts/bench: {error}", file=sys.stderr)
                return 2
        failed |= result is None and suits(name, device)
    print(f"results: {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
