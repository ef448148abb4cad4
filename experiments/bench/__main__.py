"""Measures btjax against PyTorch, Keras and captum on the same models, batches and data, and against itself.

    scripts/bench [--cases=small,vgg16] [--forms=torch,keras_jax] [--rounds=7]

CNN and U-Net are measured by training steps as they train (slices as uint8 in memory, scaled inside the step, the
model's loss, Adam), VGG16 by its forward pass, SmoothGrad and integrated gradients by the maps of 64 slices. Each form
runs in a process of its own; the processes take turns, so that a noisy machine is noisy for all. Of btjax alone:
`layers`, the share of the rate of plain matrix products that the paper's wide convolutions reach; `epoch`, what the
training loop takes over its compiled steps; `folds`, five folds trained in one program against the same runs one after
the other.

Prints tables and writes experiments/results/bench_DEVICE.json, where cases that are not asked for stay as they were.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import sys

from experiments.bench.cases import CASES, FORMS, PIECES
from experiments.bench.measure import ask_once, describe, measure_case, select_forms

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "results"
WITHIN = ("layers", "epoch", "folds")
FRAMEWORKS = ("btjax", "torch", "keras", "captum")


def measure(name: str, device: dict, forms: list[str], rounds: int) -> dict | None:
    """The figures of one case, printed; None, and a line that says why, where there are none."""
    if name in WITHIN:
        result = ask_once(name, json.dumps({"rounds": rounds}))
        lines = describe_within(name, result) if result else []
    elif CASES[name].gpu_only and device["platform"] != "gpu":
        print(f"{name}: skipped, it needs a GPU and JAX sees a {device['platform']}", flush=True)
        return None
    else:
        case = CASES[name]
        result = measure_case(name, case, select_forms(case, device["platform"], forms), rounds)
        lines = describe(result) if result else []
    if result is None:
        print(f"{name}: btjax could not run: nothing measured", file=sys.stderr)
        return None
    print("\n".join(["", name, *lines, ""]), flush=True)
    return result | {"versions": device["versions"]}


def describe_within(name: str, result: dict) -> list[str]:
    """Lines of what `layers`, `epoch` or `folds` measured."""
    if name == "epoch":
        return [
            f"  {result['steps']} steps: {result['epoch_seconds']:.2f} s by the training loop, "
            f"{result['steps_seconds']:.2f} s by the compiled steps alone: {result['overhead']:+.1%}"
        ]
    if name == "folds":
        return [
            f"  {result['folds']} folds, {part}: {result[f'together_{key}']:.1f} s in one program, "
            f"{result[f'sequence_{key}']:.1f} s one after the other: {result[ratio]:.2f} times as long"
            for part, key, ratio in (
                ("with compilation", "seconds", "ratio"),
                ("an epoch", "epoch_seconds", "epoch_ratio"),
            )
        ]
    lines = []
    for label, layer in result["layers"].items():
        rates = (
            f"{piece} {layer[piece]['gflops']:.0f} GFLOP/s ({layer[piece]['share_of_matmul_peak']:.0%})"
            for piece in PIECES
        )
        lines.append(f"  {label:28}" + "  ".join(rates))
    return lines


def merge(path: pathlib.Path, device: dict, name: str, result: dict) -> None:
    """Puts a case's figures into the results file, beside those of other cases; the file is whole at any time."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    cases = {**old.get("cases", {}), name: result}
    order = [*CASES, *WITHIN]
    whole = {
        "device": device["name"],
        "machine": f"{platform.machine()}, {platform.system()}, {os.cpu_count()} cores",
        "cases": {known: cases[known] for known in sorted(cases, key=order.index)},
    }
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".json.new")
    temporary.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def main(arguments: list[str] | None = None) -> int:
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
    parser.add_argument("--results_dir", type=pathlib.Path, default=RESULTS, help="where the results file is")
    options = parser.parse_args(arguments)
    cases, forms = options.cases.split(","), options.forms.split(",")
    for flag, found, known in (("cases", cases, names), ("forms", forms, (*FRAMEWORKS, *FORMS))):
        for name in found:
            if name not in known:
                parser.error(f"--{flag}: found {name!r}, expected some of {', '.join(known)}")
    if options.rounds < 1:
        parser.error(f"--rounds={options.rounds}: expected at least 1")
    device = ask_once("device")
    if device is None:
        return 2
    path, failed = options.results_dir / f"bench_{device['name']}.json", False
    for name in cases:
        result = measure(name, device, forms, options.rounds)
        if result:
            merge(path, device, name, result)
        failed |= result is None and not (name in CASES and CASES[name].gpu_only)
    print(f"results: {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
