"""Measures training on slices that are read from files against training on slices in memory."""

from __future__ import annotations

import json
import pathlib
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.progress import Observer
from btjax.data.builder import load
from btjax.data.phantom import make_phantom
from btjax.readers.raw import RawSlice, Source
from btjax.training.config import TrainingConfig
from btjax.training.examples import Examples
from btjax.training.loop import Trainer
from experiments.bench.cases import CASES
from experiments.bench.forms_btjax import make_task
from experiments.bench.measure import Worker, ask_once
from experiments.bench.worker import peak_memory

if TYPE_CHECKING:
    from collections.abc import Callable


SLICES = 2000
FORMS = {"resident": False, "streamed": True}
EPOCH = 16_384
"""The most slices of an epoch and its validation, drawn from all, the same ones in each epoch."""
_VALIDATION = 256
_PATIENTS = 8


def synthetic_source(slices: int, side: int) -> Source:
    """A source of any number of different synthetic slices, made one by one: few heads, shifted and with noise."""
    heads = make_phantom(_PATIENTS, 4, side)
    labels = heads.labels if heads.labels is not None else np.zeros(len(heads), np.int32)

    def read(row: int) -> RawSlice:
        random, head = np.random.default_rng(row), row % len(heads)
        image = np.roll(heads.images[head], random.integers(-4, 5, 2), axis=(0, 1)).astype(np.int16)
        image += random.integers(0, 12, image.shape, dtype=np.int16)
        return RawSlice(image, int(labels[head]), f"{row:07d}", "synthetic", patient=f"P{row // 4:06d}")

    entries = tuple((f"{row:07d}", lambda row=row: read(row)) for row in range(slices))
    known = frozenset(("label", "patient"))
    place, key = pathlib.Path("synthetic"), f"synthetic {slices} {side}"
    return Source(place, f"synthetic slices ({slices})", (), known, entries, heads.classes, key=key)


def measure_stream_copy(slices: int, cache: str) -> dict[str, Any]:
    """Prepares the copy that both forms read: its `slices`."""
    return {"slices": len(load(synthetic_source(slices, CASES["small"].image_size), CASES["small"].image_size, cache))}


class _EpochByEpoch(Observer):
    """Answers after every epoch, and lets the next one begin when it is asked to."""

    def __init__(self, answer: Callable[[dict], None], rows: int) -> None:
        self._answer, self._rows, self._seconds, self._cpu = answer, rows, 0.0, time.process_time()

    def on_epoch(self, progress: Any) -> None:
        """Tells the time of the epoch, then waits for the next question."""
        seconds, self._seconds = progress.seconds - self._seconds, progress.seconds
        times = {"ms_per_slice": seconds, "cpu_ms_per_slice": time.process_time() - self._cpu}
        told = {name: 1e3 * value / self._rows for name, value in times.items()}
        self._answer(told | {"peak_memory_mib": peak_memory()})
        if not sys.stdin.readline():
            raise EOFError
        self._cpu = time.process_time()


def serve_stream(settings: dict[str, Any], answer: Callable[[dict], None]) -> None:
    """Trains the case `small` with validation; the first epoch, which compiles, is answered like the others.

    Args:
      settings: `slices`, `cache` and `stream`.
      answer: takes each answer.
    """
    case, slices = CASES["small"], settings["slices"]
    source = synthetic_source(slices, case.image_size)
    data = load(source, case.image_size, settings["cache"], stream=settings["stream"])
    rows = np.random.default_rng(0).permutation(slices).astype(np.int32)[:EPOCH]
    held = min(_VALIDATION, len(rows) // 4)
    labels = np.zeros(slices, np.int32) if data.labels is None else data.labels
    examples = Examples(data.images, labels, rows[None, held:], rows[:held], case.image_size)
    config = TrainingConfig(epochs=10_000, batch_size=case.batch_size, select="last_epoch")
    trainer = Trainer(make_task(case), config, examples, seed=0)
    try:
        trainer.fit(_EpochByEpoch(answer, len(rows)))
    except EOFError:
        return


def measure_streaming(slices: int, rounds: int) -> dict[str, Any] | None:
    """Compares epochs of both forms by turns, each in a process of its own.

    Args:
      slices: how many, at 128 px; an epoch takes at most `EPOCH` of them.
      rounds: epochs of each form, after one that compiles.

    Returns:
      JSON values: by form `ms_per_slice` and `cpu_ms_per_slice` (medians) and `peak_memory_mib`; `speed_share`, the
      median over the rounds of the streamed form's speed over the resident one's, and `cpu_ratio`, that of their
      processor time; None where a process failed.
    """
    with tempfile.TemporaryDirectory() as cache:
        print(f"stream: prepares {slices} slices", file=sys.stderr, flush=True)
        if ask_once("stream_copy", json.dumps({"slices": slices, "cache": cache})) is None:
            return None
        workers: dict[str, Worker] = {}
        try:
            for form, stream in FORMS.items():
                settings = {"slices": slices, "cache": cache, "stream": stream}
                workers[form] = Worker("stream", json.dumps(settings))
                if workers[form].ask() is None:
                    return None
            answers: dict[str, list[dict]] = {form: [] for form in FORMS}
            for number in range(rounds):
                for form in list(FORMS)[:: -1 if number % 2 else 1]:
                    answer = workers[form].ask("run")
                    if answer is None:
                        return None
                    answers[form].append(answer)
                told = ", ".join(f"{form} {rows[-1]['ms_per_slice']:.3g}" for form, rows in answers.items())
                print(f"stream: round {number + 1} of {rounds}, ms a slice: {told}", flush=True)
        finally:
            for worker in workers.values():
                worker.kill()
    return summarised(slices, answers)


def summarised(slices: int, answers: dict[str, list[dict]]) -> dict[str, Any]:
    """Medians of the answers of both forms; see `measure_streaming`."""
    pairs = list(zip(answers["streamed"], answers["resident"], strict=True))
    shares = [one["ms_per_slice"] / streamed["ms_per_slice"] for streamed, one in pairs]
    ratios = [streamed["cpu_ms_per_slice"] / one["cpu_ms_per_slice"] for streamed, one in pairs]
    times = ("ms_per_slice", "cpu_ms_per_slice")
    figures = {
        form: {name: round(statistics.median(row[name] for row in rows), 4) for name in times}
        | {"peak_memory_mib": round(max(row["peak_memory_mib"] for row in rows))}
        for form, rows in answers.items()
    }
    about = {
        "slices": slices,
        "epoch": min(slices, EPOCH),
        "image_size": CASES["small"].image_size,
        "rounds": len(shares),
    }
    return (
        about
        | figures
        | {"speed_share": round(statistics.median(shares), 4), "cpu_ratio": round(statistics.median(ratios), 4)}
    )


def describe_stream(result: dict[str, Any]) -> list[str]:
    """The printed lines for the figures of `stream`."""
    return [
        f"  {result['slices']:,} slices at {result['image_size']} px: the stream reaches {result['speed_share']:.1%} "
        f"of the speed in memory, with {result['cpu_ratio']:.3f} times its processor time",
        *(
            f"  {form}: {result[form]['ms_per_slice']:.3f} ms a slice, at most {result[form]['peak_memory_mib']} MiB"
            for form in FORMS
        ),
    ]
