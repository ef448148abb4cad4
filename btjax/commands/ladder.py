"""Runs a ladder: one system under several protocols, cell by cell, on one machine or several."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pathlib
from typing import TYPE_CHECKING, Any

import jax

from btjax.base.devices import require_devices
from btjax.base.errors import InputError, Stop
from btjax.base.files import check_writable, expanded, make_folder, only_process, strangers
from btjax.base.progress import Observer, told
from btjax.commands.train import evaluate, train, train_several
from btjax.reports.ladder import write_ladder_report
from btjax.runs.folder import RunFolder
from btjax.runs.queue import Queue, queue_name
from btjax.runs.run import PREDICTIONS, REPORT, Run
from btjax.studies.data import load_slices
from btjax.studies.ladder import Plan, check_slices, load_plan, make_plan, save_plan
from btjax.studies.ladder_report import LadderReport, ladder_report
from btjax.systems.system import find_system
from btjax.training.progress import StopRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.data.dataset import DataSet
    from btjax.systems.config import Config

PLAN, CELLS = "plan.json", "cells"
_PLAN_LOCK = ".plan.lock"


@dataclasses.dataclass(frozen=True)
class Work:
    """What a worker needs to know.

    Attributes:
      folder: of the ladder.
      data_dir: where the data set stands.
      storage: the queue's storage, see `btjax.runs.queue.Queue`.
      cache_dir: where prepared slices are kept.
    """

    folder: pathlib.Path
    data_dir: str
    storage: str = ""
    cache_dir: str | None = None

    def queue(self, plan: Plan) -> Queue:
        """The queue of the ladder's cells."""
        return Queue(self.folder, queue_name(plan.key), self.storage)

    def done(self, name: str) -> bool:
        """Whether a cell has its predictions and its report, which is written last."""
        cell = self.folder / CELLS / name
        return (cell / PREDICTIONS).exists() and (cell / REPORT).exists()


def run_ladder(
    config: Config,
    folder: str | os.PathLike,
    protocols: Sequence[str],
    seeds: Sequence[int],
    *,
    report_only: bool = False,
    observer: Observer | None = None,
    cache_dir: str | None = None,
    **options: Any,
) -> LadderReport:
    """Runs a system under several protocols, every fold with every seed, and reports what the runs show together.

    Args:
      config: the options that all cells share; with `data.refit` they train on their validation slices too.
      folder: of the ladder: a new one, or its own to go on.
      protocols: of `btjax.PROTOCOLS`.
      seeds: of the runs.
      report_only: run no cells.
      observer: is told of the cells.
      cache_dir: where prepared slices are kept.
      **options: `matched`, `workers`, `together` and `storage`, see `run_cells`.

    Returns:
      The report, which is also written into the folder as ladder.json and ladder.html.

    Raises:
      InputError: a mistake in the options, or cells that cannot be run; the others were.
      Stop: SIGINT or SIGTERM came; the same call goes on.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("linear_cpu").replace("training.epochs", 2).replace("data.image_size", 32)
      >>> config = config.replace("data.data_dir", "phantom").replace("data.phantom_patients", 6)
      >>> report = run_ladder(config.replace("data.folds", 2), tempfile.mkdtemp() + "/it", ["patient"], [0])
      >>> [(rung.name, len(rung.cells)) for rung in report.rungs]
      [('patient', 2)]
    """
    place = expanded(folder)
    if not report_only:
        run_cells(config, place, protocols, seeds, observer=observer, cache_dir=cache_dir, **options)
    plan = load_plan(place / PLAN)
    with told(observer) as watching:
        data = _data_of(config, [cell.protocol for cell in plan.cells], watching, cache_dir)
        check_slices(place / PLAN, plan, data.slices)
        work = Work(place, config.data.data_dir)
        done = [name for name in plan.named() if work.done(name)]
        report = ladder_report(plan, place / CELLS, done, data.slices, data.form)
        with only_process(place / _PLAN_LOCK):  # another process may have come to its end as well
            write_ladder_report(place, report)
    return report


def run_cells(
    config: Config,
    folder: str | os.PathLike,
    protocols: Sequence[str],
    seeds: Sequence[int],
    *,
    matched: bool = True,
    workers: int = 1,
    together: int = 1,
    storage: str = "",
    observer: Observer | None = None,
    cache_dir: str | None = None,
) -> None:
    """Plans a ladder and runs the cells that are not done, beside whatever other process works on it.

    Args:
      config: the options that all cells share.
      folder: of the ladder, a new one or its own.
      protocols: see `btjax.studies.ladder.make_plan`.
      seeds: see there.
      matched: see there.
      workers: processes on this machine, each with its share of the cores.
      together: cells of one rung that one program trains side by side; what a large device is filled with.
      storage: see `btjax.runs.queue.Queue`.
      observer: is told of the cells.
      cache_dir: where prepared slices are kept.

    Raises:
      InputError: a mistake in the options, or cells that cannot be run; the others were.
      Stop: SIGINT or SIGTERM came; the same command goes on.
    """
    require_devices()
    place = expanded(folder)
    config = find_system(config.system).adapt(config)
    task = config.task()
    if task.name != "classification":
        raise InputError(f"--system={config.system}: {task.trains}, expected a classifier, whose accuracies are pooled")
    check_writable(place, "--workdir=")
    others = strangers(place)
    if others and not (place / PLAN).exists():
        raise InputError(
            f"--workdir={place}: not a ladder and not empty (found {others[0].name}), expected a new folder"
        )
    with told(observer) as watching:
        slices = _data_of(config, protocols, watching, cache_dir).slices
        plan = make_plan(config, slices, protocols, seeds, matched=matched)
        make_folder(place, "--workdir=")
        with only_process(place / _PLAN_LOCK):  # another process may let the ladder grow as well
            plan = save_plan(place / PLAN, plan)
        work = Work(place, config.data.data_dir, storage, cache_dir)
        left = [name for name in plan.named() if not work.done(name)]
        watching.on_message(f"cells: {len(plan.cells)}, of which {len(plan.cells) - len(left)} are done")
        queue = work.queue(plan)
        queue.add(_pieces(plan, left, together))
        if workers > 1:
            _in_processes(work, plan, workers, watching)
        else:
            work_through(work, watching)
    failed = {name: reason for name, reason in queue.failures().items() if not work.done(name)}
    if failed:
        name, reason = next(iter(failed.items()))
        raise InputError(f"{len(failed)} of {len(plan.cells)} cells failed; {name}: {reason}")


def _data_of(config: Config, protocols: Sequence[str], observer: Observer, cache_dir: str | None) -> DataSet:
    """The data set, with links where one of the protocols needs them."""
    linked = [name for name in ("linked", "given") if name in protocols]
    return load_slices(config.replace("data.protocol", linked[0] if linked else "slice"), observer, cache_dir)


def _pieces(plan: Plan, left: Sequence[str], together: int) -> list[list[str]]:
    """The cells that are left, so many of one rung in each piece."""
    cells, rungs = plan.named(), {}
    for name in left:
        rungs.setdefault((cells[name].rung, cells[name].train_slices), []).append(name)
    if together == 1:
        return [[name] for name in left]
    return [names[at : at + together] for names in rungs.values() for at in range(0, len(names), together)]


def work_through(work: Work, observer: Observer | None = None) -> None:
    """Takes cells from a ladder's queue and runs them until none waits; why one failed is kept in the queue.

    Args:
      work: the ladder.
      observer: is told of the cells.

    Raises:
      Stop: SIGINT or SIGTERM came; the cell that was being run has its checkpoint and waits again.
    """
    plan, observer = load_plan(work.folder / PLAN), observer or Observer()
    queue = work.queue(plan)
    while True:
        with queue.take() as piece:
            if piece is None:
                return
            plan = load_plan(work.folder / PLAN)  # another process may have let the ladder grow
            names = [name for name in piece.names if not work.done(name)]
            try:
                runs = _run(work, plan, names, observer)
            except InputError as error:
                queue.fail(piece, str(error))
                observer.on_message(f"{', '.join(names)}: failed: {error}")
                continue
            accuracies = {name: run.predictions.side("test").accuracy for name, run in runs.items()}
            queue.finish(piece, sum(accuracies.values()) / max(1, len(accuracies)))
            for name, accuracy in accuracies.items():
                observer.on_message(f"{name}: test accuracy {accuracy:.4f}")


def _run(work: Work, plan: Plan, names: Sequence[str], observer: Observer) -> dict[str, Run]:
    """Trains some cells, or goes on with them."""
    folder, cells = work.folder / CELLS, plan.named()
    configs = {name: plan.config_of(cells[name], work.data_dir) for name in names}
    if len(configs) > 1:
        begun = any((folder / name / "config.json").exists() for name in names)
        return train_several(configs, folder, resume=begun, observers=lambda _: observer, cache_dir=work.cache_dir)
    for name, config in configs.items():
        place = RunFolder(folder / name)
        if place.concluded and not place.checkpoints.exists("last"):  # fitted in one go, and not yet scored
            evaluate(place.path, data_dir=work.data_dir, cache_dir=work.cache_dir)
        else:
            train(config, place.path, resume=place.begun, observer=observer, cache_dir=work.cache_dir)
        return {name: Run(place.path)}
    return {}


def _in_processes(work: Work, plan: Plan, workers: int, observer: Observer) -> None:
    """`work_through` by several processes; where one dies another takes its place, and its cell is begun again."""
    context, shares, names = multiprocessing.get_context("spawn"), _shares(workers), list(plan.named())
    reasons = context.SimpleQueue()
    compiled = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]

    def begin(index: int) -> Any:
        process = context.Process(target=_work_alone, args=(work, shares[index], compiled, reasons))
        process.start()
        return process

    with StopRequest() as stop:
        running = {index: begin(index) for index in range(workers)}
        while running:
            observer.on_data("cells", sum(map(work.done, names)), len(names))
            for index, process in list(running.items()):
                process.join(timeout=0.5)
                if stop.signal and process.is_alive():
                    process.terminate()
                if process.is_alive():
                    continue
                del running[index]
                if process.exitcode and not stop.signal and reasons.empty():
                    observer.on_message(f"a worker ended with status {process.exitcode}; another takes its place")
                    running[index] = begin(index)
    if stop.signal:
        end = Stop("stopped; the same command goes on")
        end.signal = stop.signal
        raise end
    if not reasons.empty():
        raise InputError(f"{reasons.get()}; the same command goes on")


def _work_alone(work: Work, cores: set[int], compiled: str | None, reasons: Any) -> None:
    """What a worker's process does: it keeps to its cores, and what it compiles is kept where the others look.

    Where it cannot work at all, as on a full disk, it says why in `reasons`, and no other takes its place.
    """
    if cores:
        os.sched_setaffinity(0, cores)
    jax.config.update("jax_compilation_cache_dir", compiled)
    try:
        work_through(work)
    except Stop:
        os._exit(0)  # its cell has its checkpoint; the parent tells the user
    except InputError as error:
        reasons.put(str(error))
        os._exit(1)


def _shares(workers: int) -> list[set[int]]:
    """The cores of each worker; none where there are fewer cores than workers, or the system does not divide them."""
    if not hasattr(os, "sched_setaffinity"):
        return [set() for _ in range(workers)]
    cores = sorted(os.sched_getaffinity(0))
    return [set(cores[index::workers]) for index in range(workers)]
