"""Starts a process for each form, lets them take turns, and summarises their timings."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from typing import IO, cast

from experiments.bench.cases import Case, dtype_of, flops, forms_of, reference_form


class Worker:
    """One `experiments.bench.worker` process."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.bench.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | _ENVIRONMENT,
        )
        # Popen's two streams are None only where no pipe was asked for.
        self._questions = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)

    def ask(self, question: str | None = None) -> dict | None:
        """The answer to a question (the first answer needs none), or None if the process has ended."""
        try:
            if question:
                print(question, file=self._questions, flush=True)
        except BrokenPipeError:
            return None
        line = self._answers.readline()
        return json.loads(line) if line else None

    def stop(self) -> int:
        """Lets the process end and returns its exit status."""
        with contextlib.suppress(BrokenPipeError):
            self._questions.close()
        with self._answers:
            return self._process.wait()

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()
        self.stop()


_ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # several processes share the memory of one GPU
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # so that compile times are those of a first run
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
}


def ask_once(*arguments: str) -> dict | None:
    """The only answer of a worker that takes no questions, or None if it failed."""
    worker = Worker(*arguments)
    try:
        return worker.ask()
    finally:
        worker.stop()


def measure_case(name: str, case: Case, forms: list[str], rounds: int) -> dict | None:
    """Times the forms of a case in turns; every other round has the reverse order.

    A form that cannot run is reported and left out.

    Args:
      name: the case's name, for what is printed.
      case: what to measure.
      forms: `btjax` first.
      rounds: timings of each form.

    Returns:
      See `summarise`; None where btjax's float32 form could not run.
    """
    workers: dict[str, Worker] = {}
    try:
        answers = {}
        for form in forms:
            print(f"{name}: {form} compiles", flush=True)
            worker = workers[form] = Worker(form, json.dumps(dataclasses.asdict(case)))
            ready = worker.ask()  # waits: two compilations at once would slow each other
            if ready:
                answers[form] = {"compile_seconds": ready["compile_seconds"], "rounds": []}
            else:
                _leave_out(name, form, workers)
        dtypes, peaks = sorted({dtype_of(case, form) for form in workers}), []
        for number in range(rounds):
            rates = _peak_rates(workers, dtypes)
            if rates is None:
                return None
            peaks.append(rates)
            _round(name, workers, answers, number)
            times = (f"{form} {rows['rounds'][-1]['ms_per_image']:.3g}" for form, rows in answers.items())
            print(f"{name}: round {number + 1} of {rounds}, ms an image: {', '.join(times)}", flush=True)
        for form in list(workers):
            workers.pop(form).stop()
    finally:
        for worker in workers.values():
            worker.kill()
    return summarise(case, answers, peaks) if "btjax" in answers else None


def _peak_rates(workers: dict[str, Worker], dtypes: list[str]) -> dict[str, float] | None:
    """By dtype the rate of matrix products in GFLOP/s, which btjax's worker measures; None where that has ended."""
    rates = {}
    for dtype in dtypes:
        answer = workers["btjax"].ask(f"peak {dtype}") if "btjax" in workers else None
        if answer is None:
            return None
        rates[dtype] = answer["gflops"]
    return rates


def _round(name: str, workers: dict[str, Worker], answers: dict, number: int) -> None:
    """Adds one timing of each form to `answers`; rounds with odd numbers go through the forms in reverse."""
    for form in list(workers)[:: -1 if number % 2 else 1]:
        row = workers[form].ask("run")
        if row:
            answers[form]["rounds"].append(row)
        else:
            del answers[form]
            _leave_out(name, form, workers)


def _leave_out(name: str, form: str, workers: dict[str, Worker]) -> None:
    status = workers.pop(form).stop()
    print(f"{name}: {form} could not run, exit status {status}: left out (its last lines say why)", file=sys.stderr)


def summarise(case: Case, answers: dict[str, dict], peaks: list[dict[str, float]]) -> dict:
    """Medians, rates and ratios of the workers' timings.

    Ratios and shares are computed in each round and their median is kept, since whatever slows the machine slows a
    whole round.

    Args:
      case: the case that was measured.
      answers: by form `compile_seconds` and, for each round, `ms_per_image` and `peak_memory_mib`.
      peaks: for each round the rate of matrix products by dtype, GFLOP/s.

    Returns:
      JSON values: the case, the peaks, and the figures by form. `time_over_btjax` is the time of the form divided by
      the time of btjax in the same dtype, and missing where that did not run.
    """
    gigaflops, forms = flops(case) / 1e9, {}
    times = {form: [row["ms_per_image"] for row in rows["rounds"]] for form, rows in answers.items()}
    for form, values in times.items():
        median, own = statistics.median(values), times.get(reference_form(form))
        dtype = dtype_of(case, form)
        shares = [gigaflops / value * 1e3 / peak[dtype] for value, peak in zip(values, peaks, strict=True)]
        forms[form] = {
            "ms_per_image": [round(value, 4) for value in (min(values), median, max(values))],
            "images_per_second": round(1e3 / median, 2),
            "gflops": round(gigaflops / median * 1e3, 1),
            "share_of_matmul_peak": round(statistics.median(shares), 3),
            "compile_seconds": round(answers[form]["compile_seconds"], 1),
            "peak_memory_mib": round(max(row["peak_memory_mib"] for row in answers[form]["rounds"])),
        }
        if own:
            ratios = [value / reference for value, reference in zip(values, own, strict=True)]
            forms[form]["time_over_btjax"] = round(statistics.median(ratios), 3)
    return {
        "case": dataclasses.asdict(case),
        "gflop_per_image": round(gigaflops, 4),
        "rounds": len(peaks),
        "matmul_peak_gflops": {dtype: round(statistics.median(peak[dtype] for peak in peaks), 1) for dtype in peaks[0]},
        "forms": forms,
    }


def describe(result: dict) -> list[str]:
    """The lines of a table of what `summarise` returned."""
    peaks = ", ".join(f"{dtype} {rate:.0f}" for dtype, rate in result["matmul_peak_gflops"].items())
    lines = [
        f"  {result['gflop_per_image']:.3g} GFLOP an image; matrix products, GFLOP/s: {peaks}",
        f"  {'form':28} {'ms/image':>9} {'images/s':>9} {'over btjax':>10} {'GFLOP/s':>9} {'of peak':>8} "
        f"{'MiB':>7} {'compile s':>9}",
    ]
    for form, row in result["forms"].items():
        ratio = f"{row['time_over_btjax']:.2f}" if "time_over_btjax" in row else ""
        lines.append(
            f"  {form:28} {row['ms_per_image'][1]:9.3f} {row['images_per_second']:9.1f} {ratio:>10} "
            f"{row['gflops']:9.0f} {row['share_of_matmul_peak']:8.0%} {row['peak_memory_mib']:7} "
            f"{row['compile_seconds']:9.1f}"
        )
    return lines


def select_forms(case: Case, platform: str, wanted: list[str]) -> list[str]:
    """The case's forms that `wanted` names, by form or by framework, and the forms of btjax they are compared with."""
    chosen = [form for form in forms_of(case, platform) if form in wanted or form.split("_")[0] in wanted]
    references = {"btjax", *(reference_form(form) for form in chosen)}
    return [form for form in forms_of(case, platform) if form in chosen or form in references]
