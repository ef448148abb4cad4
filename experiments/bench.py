"""Measures a training step of the CNN against PyTorch's, on the same model, batch and data.

    scripts/bench [--cases=small,paper64] [--rounds=7]

Each framework runs in a process of its own; the processes take turns, form by form, so that a noisy machine is noisy
for all. What is timed is what trains: a chunk of steps with the data set as uint8 in memory, scaled inside the step,
softmax cross-entropy with the L2 term, Adam. Prints a table and writes experiments/results/bench_cpu.json.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import time
from functools import partial

import numpy as np

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
CASES = {
    "small": {"image_size": 128, "channels": 1, "batch_size": 32, "dense": 256, "widths": [16, 32, 64, 128, 256, 256]},
    "paper64": {
        "image_size": 64,
        "channels": 3,
        "batch_size": 32,
        "dense": 1024,
        "widths": [64, 256, 512, 1024, 1024, 1024],
    },
    "paper128": {
        "image_size": 128,
        "channels": 3,
        "batch_size": 16,
        "dense": 1024,
        "widths": [64, 256, 512, 1024, 1024, 1024],
    },
}
FORMS = ("btjax", "torch_eager", "torch_channels_last", "torch_compile")
STEPS = 4  # in one timing


def step_flops(case: dict) -> float:
    """Floating-point operations of a training step for one image: 2 per multiply-add, backward twice forward.

    The first layer needs no gradient for its input.
    """
    size, channels, flops = case["image_size"], case["channels"], 0.0
    for index, width in enumerate(case["widths"]):
        flops += 2 * 9 * channels * width * size**2 * (2 if index == 0 else 3)
        size, channels = size // 2, width
    return flops + 2 * 3 * case["dense"] * (channels * size**2 + 3)


def random_slices(case: dict) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [128, S, S] and labels int32 [128]: time does not depend on what the pixels are."""
    random = np.random.default_rng(0)
    size = case["image_size"]
    return random.integers(0, 256, (128, size, size)).astype(np.uint8), random.integers(0, 3, 128).astype(np.int32)


def btjax_steps(case: dict):
    """`run(steps)` of btjax's compiled training chunk."""
    import jax
    import jax.numpy as jnp

    from btjax.data.preprocess import Augmentation, Preprocessing
    from btjax.models.cnn import CNN
    from btjax.training import step as compiled
    from btjax.training.config import TrainingConfig
    from btjax.training.optimizers import make_optimizer
    from btjax.training.state import create_state
    from btjax.training.tasks import Classification

    images, labels = random_slices(case)
    model = CNN(widths=tuple(case["widths"]), dense=case["dense"], pools=len(case["widths"]))
    task = Classification(model, Preprocessing("grey" if case["channels"] == 1 else "grey3"), Augmentation())
    optimizer = make_optimizer(TrainingConfig(), 4)
    state = create_state(partial(task.initialise, image_size=case["image_size"]), optimizer, jax.random.key(0))
    dataset = {"images": jnp.asarray(images), "labels": jnp.asarray(labels)}
    table = compiled.batch_table(jnp.arange(128, dtype=jnp.int32), case["batch_size"])
    sums = compiled.zero_sums(task, dataset, state)
    chunk = compiled.make_train_chunk(task, optimizer)

    def run(steps):
        nonlocal state, sums
        for start in range(0, steps, len(table[0])):
            stop = min(steps - start, len(table[0]))
            state, sums = chunk(state, sums, dataset, *table, jnp.int32(0), jnp.int32(stop))
        jax.block_until_ready(sums)

    return run


def torch_steps(case: dict, form: str):
    """`run(steps)` of the same training step in PyTorch."""
    import torch
    from torch import nn

    layout = torch.contiguous_format if form == "torch_eager" else torch.channels_last
    layers, channels = [], case["channels"]
    for width in case["widths"]:
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    flat = channels * (case["image_size"] // 2 ** len(case["widths"])) ** 2
    dense = nn.Linear(flat, case["dense"])
    model = nn.Sequential(*layers, nn.Flatten(), dense, nn.ReLU(), nn.Dropout(0.1), nn.Linear(case["dense"], 3))
    model = model.to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, eps=1e-7)
    images, labels = (torch.tensor(array) for array in random_slices(case))

    def loss_of(rows):
        inputs = images[rows].float().div(255)[:, None].expand(-1, case["channels"], -1, -1)
        logits = model(inputs.contiguous(memory_format=layout))
        return nn.functional.cross_entropy(logits, labels[rows].long()) + 0.001 * dense.weight.square().sum()

    if form == "torch_compile":
        loss_of = torch.compile(loss_of)

    def run(steps):
        for step in range(steps):
            start = step * case["batch_size"] % 128
            optimizer.zero_grad(set_to_none=True)
            loss_of(torch.arange(start, start + case["batch_size"])).backward()
            optimizer.step()

    return run


def matmul_peak() -> float:
    """The best float32 rate of a 2048 x 2048 product in this process's framework, GFLOP/s."""
    import jax
    import jax.numpy as jnp

    left = jnp.ones((2048, 2048))
    product = jax.jit(jnp.matmul)
    product(left, left).block_until_ready()
    times = []
    for _ in range(12):
        began = time.perf_counter()
        product(left, left).block_until_ready()
        times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times) / 1e9


def work(form: str, case: dict) -> None:
    """The worker: compiles, then times STEPS steps for each line on standard input; answers are JSON lines."""
    began = time.perf_counter()
    run = btjax_steps(case) if form == "btjax" else torch_steps(case, form)
    run(1)
    compile_seconds = time.perf_counter() - began
    run(STEPS)
    print(json.dumps({"compile_seconds": compile_seconds}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        run(STEPS)
        seconds = time.perf_counter() - began
        peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answer = {"ms_per_image": seconds / STEPS / case["batch_size"] * 1e3, "peak_memory_mib": peak_memory}
        if form == "btjax":
            answer["matmul_gflops"] = matmul_peak()
        print(json.dumps(answer), flush=True)


def measure(name: str, rounds: int, forms: list[str]) -> dict:
    """Times every form of a case in turns.

    Returns:
      The figures of each form that could run, and the matmul peak.
    """
    case, workers, answers = CASES[name], {}, {}
    for form in forms:
        command = [sys.executable, "-m", "experiments.bench", "--worker", form, "--cases", name]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = process.stdout.readline()  # one after the other: compilations would disturb each other
        if ready:
            workers[form], answers[form] = process, [json.loads(ready)]
        else:  # its own message is on standard error
            print(f"bench: {form} could not run, exit status {process.wait()}: left out", file=sys.stderr)
    if "btjax" not in workers:
        raise SystemExit(2)
    for _ in range(rounds):
        for form, process in workers.items():
            process.stdin.write("run\n")
            process.stdin.flush()
            answers[form].append(json.loads(process.stdout.readline()))
    for process in workers.values():
        process.stdin.close()
        process.wait()
    return summarise(case, answers)


def summarise(case: dict, answers: dict[str, list[dict]]) -> dict:
    """Medians, rates and ratios of what the workers answered; ratios are medians of the rounds' own ratios."""
    times = {form: [row["ms_per_image"] for row in rows[1:]] for form, rows in answers.items()}
    peak = max(row["matmul_gflops"] for row in answers["btjax"][1:])
    gigaflops = step_flops(case) / 1e9
    forms = {}
    for form, values in times.items():
        median = statistics.median(values)
        ratios = [value / own for value, own in zip(values, times["btjax"], strict=True)]
        forms[form] = {
            "ms_per_image": [round(value, 3) for value in (min(values), median, max(values))],
            "images_per_second": round(1e3 / median, 2),
            "time_over_btjax": round(statistics.median(ratios), 3),
            "gflops": round(gigaflops / median * 1e3, 1),
            "share_of_matmul_peak": round(gigaflops / median * 1e3 / peak, 3),
            "compile_seconds": round(answers[form][0]["compile_seconds"], 1),
            "peak_memory_mib": round(max(row["peak_memory_mib"] for row in answers[form][1:])),
        }
    return {"case": case, "rounds": len(times["btjax"]), "matmul_peak_gflops": round(peak, 1), "forms": forms}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--forms", default=",".join(FORMS), help=f"of {', '.join(FORMS)}; btjax is always measured")
    parser.add_argument("--rounds", type=int, default=7, help="timings of each form")
    parser.add_argument("--worker", choices=FORMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases, forms = arguments.cases.split(","), arguments.forms.split(",")
    unknown = [name for name in cases if name not in CASES] + [name for name in forms if name not in FORMS]
    if unknown:
        parser.error(f"unknown case or form {unknown[0]}: expected {', '.join((*CASES, *FORMS))}")
    if arguments.worker:
        work(arguments.worker, CASES[cases[0]])
        return 0
    result = {"machine": f"{platform.machine()}, {platform.system()}", "steps_per_timing": STEPS, "cases": {}}
    for name in cases:
        result["cases"][name] = measured = measure(
            name, arguments.rounds, [form for form in FORMS if form in ("btjax", *forms)]
        )
        print(f"\n{name}: float32 matmul peak {measured['matmul_peak_gflops']} GFLOP/s")
        for form, row in measured["forms"].items():
            print(f"  {form:20s}" + "  ".join(f"{key} {value}" for key, value in row.items()))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "bench_cpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
