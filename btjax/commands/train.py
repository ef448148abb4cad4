"""Trains and evaluates runs, and writes their reports."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from btjax.base.devices import require_devices
from btjax.base.errors import InputError
from btjax.base.files import cache_folder, expanded
from btjax.base.progress import Observer, told
from btjax.data.splits import share_tested
from btjax.reports.classifier import write_classifier_report
from btjax.reports.deviations import deviation_rows
from btjax.reports.reconstruction import write_reconstruction_report
from btjax.reports.retrieval import write_ranking_report
from btjax.reports.segmentation import write_segmentation_report
from btjax.runs.folder import RunFolder
from btjax.runs.run import OUTLINES, PREDICTIONS, Run
from btjax.studies.classifier import classifier_report, run_info
from btjax.studies.data import divide, load_slices
from btjax.studies.reconstruction import reconstruction_report
from btjax.studies.retrieval import ranking_report
from btjax.studies.segmentation import outlines_by_side, outlines_of, segmentation_report
from btjax.studies.training import (
    Job,
    fit,
    fit_several,
    open_job,
    predictions_of,
    predictor,
    prepare_job,
    training_of,
)
from btjax.systems.system import Place, find_system, prepare_slices
from btjax.training.hosts import leads

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Callable

    from btjax.runs.report import Report, RunInfo
    from btjax.systems.config import Config


def train(
    config: Config,
    folder: str | os.PathLike,
    *,
    resume: bool = False,
    observer: Observer | None = None,
    cache_dir: str | os.PathLike | None = None,
    stream: bool | None = None,
) -> Run:
    """Trains what a config says, predicts every row, and writes the report.

    Args:
      config: the options; see `btjax.preset` and `Config.replace`.
      folder: of the run: a new one, or the run's own with `resume`.
      resume: go on from the last checkpoint; on a CPU with the same bits as if the run had never stopped.
      observer: is told of every chunk and epoch, such as `btjax.ProgressBar()`; None for nobody.
      cache_dir: where prepared slices and features are kept; by default $BTJAX_CACHE, or ~/.cache/btjax.
      stream: whether slices are read from their prepared copy while training goes on, with the same result; None where
        training would take more than half of the memory for them.

    Returns:
      The finished run: its model, predictions and report.

    Raises:
      InputError: a mistake in the config, the data or the folder.
      Interrupted: SIGINT or SIGTERM came; what can be saved was, and `resume` goes on.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 8)
      >>> run = btjax.train(config.replace("data.image_size", 32), tempfile.mkdtemp() + "/run")
      >>> run.report.test.slices == len(run.predictions.side("test"))
      True
    """
    require_devices()
    config, place = find_system(config.system).adapt(config), RunFolder(folder)
    place.check(config, resume)
    with told(observer) as watching, place.held(watching):
        place.check(config, resume)  # again: another command may have been there meanwhile
        job = open_job(config, place, observer=watching, cache_dir=cache_dir, stream=stream)
        fit(job, resume=resume, observer=watching)
        conclude(job)
    return Run(folder)


def evaluate(
    run: Run | str | os.PathLike,
    *,
    data_dir: str | None = None,
    observer: Observer | None = None,
    cache_dir: str | os.PathLike | None = None,
    stream: bool | None = None,
) -> Report:
    """Predicts every row with a run's best checkpoint, and writes its predictions and report again.

    Args:
      run: the run, or its folder.
      data_dir: where the data set stands now; by default where the run found it.
      observer: see `train`.
      cache_dir: see `train`.
      stream: see `train`.

    Returns:
      The report.

    Raises:
      InputError: no run there, or another data set than it was trained on.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 8)
      >>> run = btjax.train(config.replace("data.image_size", 32), tempfile.mkdtemp() + "/run")
      >>> btjax.evaluate(run).test == run.report.test
      True
    """
    require_devices()
    folder = RunFolder(run.folder if isinstance(run, Run) else run)
    config = folder.config()
    if data_dir:
        config = config.replace("data.data_dir", data_dir)
    with told(observer) as watching, folder.held(watching):
        options: dict[str, Any] = {"observer": watching, "cache_dir": cache_dir, "stream": stream}
        job = open_job(config, folder, prepare=prepare_slices, **options)
        flag = f"--data_dir={config.data.data_dir}"
        folder.check_data(job.config, job.data.split, job.data.slices.fingerprint, flag)
        if job.masks:
            folder.check_masks(job.masks, flag)
        return conclude(job, _former_report(folder))


def train_several(
    configs: dict[str, Config],
    folder: str | os.PathLike,
    *,
    resume: bool = False,
    observers: Callable[[str], Observer] | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> dict[str, Run]:
    """Trains several runs of one config in one program: folds, or seeds.

    Args:
      configs: by the name of the run's folder in `folder`; they differ in seed and fold alone.
      folder: takes the runs.
      resume: go on with the runs that were begun, and begin the others.
      observers: from a run's name to who is told of it; the first also of what is prepared.
      cache_dir: see `train`.

    Returns:
      The finished runs by name.

    Raises:
      InputError: see `train`; options that several runs cannot share.
      Interrupted: SIGINT or SIGTERM came; each run has its checkpoint, and `resume` goes on.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 8)
      >>> config = config.replace("data.image_size", 32)
      >>> seeds = {f"seed_{seed}": config.replace("seed", seed) for seed in (0, 1)}
      >>> sorted(btjax.train_several(seeds, tempfile.mkdtemp()))
      ['seed_0', 'seed_1']
    """
    require_devices()
    observers = observers or (lambda _: Observer())
    places = _check_several(configs, expanded(folder), resume)
    with contextlib.ExitStack() as stack:
        for place in places.values():
            stack.enter_context(place.held(observers(next(iter(configs)))))
        _check_several(configs, expanded(folder), resume)  # again: another command may have been there meanwhile
        jobs = _open_several(configs, places, observers, cache_dir)
        fit_several(jobs, resume=resume, observers=observers)
        for job in jobs.values():
            conclude(job)
    return {name: Run(job.folder.path) for name, job in jobs.items()}


def _check_several(configs: dict[str, Config], folder: pathlib.Path, resume: bool) -> dict[str, RunFolder]:
    """The folders of several runs, checked."""
    if folder.is_file() or (folder / "config.json").exists():
        raise InputError(f"--workdir={folder}: found a file or a single run, expected a folder for several runs")
    places = {name: RunFolder(folder / name) for name in configs}
    begun = {name: (place.path / "config.json").exists() for name, place in places.items()}
    for name, place in places.items():  # what was begun can be resumed with further seeds beside it
        place.check(configs[name], resume and (begun[name] or not any(begun.values())))
    return places


def _open_several(
    configs: dict[str, Config],
    places: dict[str, RunFolder],
    observers: Callable[[str], Observer],
    cache_dir: str | os.PathLike | None,
) -> dict[str, Job]:
    first_name, first = _first_of(configs)
    with told(observers(first_name)) as observer:
        loaded = load_slices(first, observer, cache_dir)
        _tell_untested(configs, len(loaded.slices), observer)
        place = Place(cache_folder(cache_dir), observer.on_data)
        jobs = {}
        for name, config in configs.items():
            config = config.with_classes(loaded.slices.classes)
            jobs[name] = prepare_job(config, places[name], divide(config, loaded, observer), place)
    return jobs


def _first_of(configs: dict[str, Config]) -> tuple[str, Config]:
    """The first config and its name, once it is sure that the others differ in seed and fold alone."""
    if not configs:
        raise InputError("no configs to train, expected at least one")

    def common(config: Config) -> dict[str, Any]:
        return config.replace("seed", 0).replace("data.fold", 0).to_json()

    first_name, first = next(iter(configs.items()))
    for name, config in configs.items():
        if common(config) != common(first):
            raise InputError(f"{name}: differs from {first_name} in more than seed and fold; train it on its own")
    return first_name, first


def _tell_untested(configs: dict[str, Config], rows: int, observer: Observer) -> None:
    """Says so where all folds together do not test every row, which one would expect of a cross-validation."""
    data = next(iter(configs.values())).data
    folds = {config.data.fold for config in configs.values()}
    tested, total = share_tested(data.protocol, rows, data.folds)
    if len(folds) == data.folds and tested < total:
        observer.on_message(
            f"note: the {data.folds} folds of --protocol={data.protocol} test {tested} of {total} slices, since each "
            "tests part of what it holds out and validates on the rest, as the paper does"
        )


def conclude(job: Job, former: Report | None = None) -> Report:
    """Scores a trained run and writes predictions, report, page and figures into its folder.

    Args:
      job: the run.
      former: its report from when it was trained, where there is one: it knows how that was done.
    """
    info = run_info(job.config, job.data, *training_of(job))
    if former is not None and former.checkpoint == info.checkpoint:
        info = dataclasses.replace(info, training=former.training, versions=former.versions)
    return _CONCLUSIONS[info.task](job, info)


def _former_report(folder: RunFolder) -> Report | None:
    """The report that a folder holds, if it is one of this version."""
    try:
        return Run(folder.path).report
    except InputError:
        return None


def _conclude_classifier(job: Job, info: RunInfo) -> Report:
    predictions = predictions_of(job)
    report, outlines = classifier_report(info, job.data, predictions), None
    if job.prepared.task.outlines:
        outlines = outlines_of(job)
        if job.data.slices.masks is not None:
            scored = outlines_by_side(job.data, outlines)
            report = dataclasses.replace(report, outlines=scored["test"], outlines_validation=scored["validation"])
    if leads():
        predictions.save(job.folder.path / PREDICTIONS)
        if outlines is not None:
            outlines.save(job.folder.path / OUTLINES)
        logits, differences = predictions.side("test").logits, deviation_rows(job.config, job.data)
        shown = None if outlines is None else outlines.side("test")
        write_classifier_report(job.folder, report, job.data.tested, logits, differences, outlines=shown)
    return report


def _conclude_autoencoder(job: Job, info: RunInfo) -> Report:
    report = reconstruction_report(info, job.data, predictor(job), job.config)
    if leads():
        write_reconstruction_report(job.folder, report, deviation_rows(job.config, job.data))
    return report


def _conclude_segmenter(job: Job, info: RunInfo) -> Report:
    outlines = outlines_of(job)
    report = segmentation_report(info, job.data, outlines)
    if leads():
        outlines.save(job.folder.path / OUTLINES)
        write_segmentation_report(job.folder, report, job.data.tested, outlines.side("test"))
    return report


def _conclude_retrieval(job: Job, info: RunInfo) -> Report:
    vectors = job.config.model.outputs(Run(job.folder.path).kept, job.data.slices, job.place)
    report = ranking_report(info, job.data, vectors)
    if leads():
        write_ranking_report(job.folder, report)
    return report


_CONCLUSIONS = {
    "classification": _conclude_classifier,
    "reconstruction": _conclude_autoencoder,
    "segmentation": _conclude_segmenter,
    "retrieval": _conclude_retrieval,
}
