"""The U-Net's experiment: autoencoder, encoder classifier, composed models, figures."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from typing import TYPE_CHECKING

from btjax.base.devices import require_devices
from btjax.base.errors import InputError
from btjax.base.files import cache_folder, expanded
from btjax.base.folders import claimed
from btjax.base.progress import Observer, told
from btjax.commands.train import conclude
from btjax.models.compose import encoder_of
from btjax.reports.deviations import deviation_rows
from btjax.reports.unet import write_unet_report
from btjax.runs.folder import RunFolder
from btjax.runs.run import Run, restore
from btjax.studies.composed import AUTOENCODER, CLASSIFIER, COMPOSED, compose
from btjax.studies.data import Divided, divide, load_slices
from btjax.studies.origins import check_data, check_made_of, check_options, record, recorded, require_finished
from btjax.studies.training import Job, fit
from btjax.studies.unet import UNetReport, check_figures, unet_report
from btjax.systems.config import Config
from btjax.systems.encoder_classifier import encoder_classifier_config
from btjax.systems.system import Place, Prepared
from btjax.systems.unet import autoencoder_config
from btjax.training.examples import Examples
from btjax.training.hosts import leads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


STAGES = (AUTOENCODER, CLASSIFIER, "compose", "figures")
_OWN = (AUTOENCODER, CLASSIFIER, COMPOSED, "unet.json", "unet.html", "figures")


@dataclasses.dataclass(frozen=True)
class _Experiment:
    """What the stages share."""

    config: Config
    folder: pathlib.Path
    resume: bool
    observer: Observer
    cache_dir: str | os.PathLike | None = None

    def place(self, name: str) -> RunFolder:
        return RunFolder(self.folder / name)

    def require(self, stage: str, *names: str) -> None:
        """Checks that what a stage needs is there, finished, and of the same seed, data options and split."""
        for name in names:
            if not self.place(name).checkpoints.exists("best"):
                raise InputError(f"--stage={stage}: no {name} in {self.folder}; run --stage={name} first")
            require_finished(self.place(name).path, stage)

    def trained_before(self, stages: Sequence[str]) -> list[str]:
        """The runs in the folder that none of these stages trains."""
        trained = [name for name in (AUTOENCODER, CLASSIFIER) if name not in stages]
        return [name for name in trained if self.place(name).begun]


def unet(
    config: Config,
    folder: str | os.PathLike,
    stages: Sequence[str] = STAGES,
    *,
    resume: bool = False,
    observers: Callable[[str], Observer] | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> UNetReport | None:
    """Runs the stages of the U-Net's experiment.

    Args:
      config: of the system "unet".
      folder: takes a run for each of the two trained models, the composed models, and the page.
      stages: of `STAGES`, in that order.
      resume: whether trained stages go on; stages that were not begun begin.
      observers: from a stage's name to who is told of its training; the first also of the data.
      cache_dir: see `btjax.train`.

    Returns:
      The report, where `figures` is among the stages.

    Raises:
      InputError: a mistake in config, data or folder, or a stage that needs one before it.
    """
    require_devices()
    observers = observers or (lambda _: Observer())
    autoencoder_config(config)  # refuses what does not fit before any data are read
    place = expanded(folder)
    own = _OWN if any((place / name).is_dir() for name in (AUTOENCODER, CLASSIFIER)) else ()
    with told(observers(stages[0])) as watching, contextlib.ExitStack() as stack:
        if leads():  # of several processes that train one run, the first holds the folder for all
            stack.enter_context(claimed(place, "unet", {}, own=own, observer=watching))
        return _run_stages(_Experiment(config, place, resume, watching, cache_dir), stages, observers)


def _run_stages(job: _Experiment, stages: Sequence[str], observers: Callable[[str], Observer]) -> UNetReport | None:
    """The stages, in a folder that this process holds; see `unet`."""
    if AUTOENCODER not in stages:
        job.require(stages[0], *_needed(job, stages))
    before = job.trained_before(stages)
    for stage in before:
        check_options(job.place(stage).path, job.config)
    loaded = load_slices(job.config, job.observer, job.cache_dir)
    job = dataclasses.replace(job, config=job.config.with_classes(loaded.slices.classes))
    data = divide(job.config, loaded, job.observer)
    for stage in before:
        check_data(job.place(stage).path, job.config, data)
    if "figures" in stages:
        check_figures(job.config, data.tested)
    # Both folders are checked before anything is trained.
    resumed = {stage: _resumed(job, stage) for stage in (AUTOENCODER, CLASSIFIER) if stage in stages}
    for stage, resume in resumed.items():
        _train(job, data, stage, resume=resume, observer=observers(stage))
    if "compose" in stages:
        _compose(job)
    return _figures(job, data) if "figures" in stages else None


def _needed(job: _Experiment, stages: Sequence[str]) -> tuple[str, ...]:
    """The runs that stages need and do not train."""
    if CLASSIFIER not in stages:
        return AUTOENCODER, CLASSIFIER
    return (AUTOENCODER,) if job.config.extra.classifier_start == AUTOENCODER or len(stages) > 1 else ()


def _figures(job: _Experiment, data: Divided) -> UNetReport:
    """Stage 4: the report, the page and the figures."""
    for stage in (AUTOENCODER, CLASSIFIER):
        check_data(job.place(stage).path, job.config, data)
    _check_classifier(job)
    report, pictures = unet_report(job.folder, data)
    runs = {stage: Run(job.folder / stage) for stage in (AUTOENCODER, CLASSIFIER)}
    differences = {stage: deviation_rows(run.config, data) for stage, run in runs.items()}
    write_unet_report(RunFolder(job.folder), report, pictures, data.tested, differences)
    return report


_CONFIGS = {AUTOENCODER: autoencoder_config, CLASSIFIER: encoder_classifier_config}


def _resumed(job: _Experiment, stage: str) -> bool:
    """Checks the folder of a stage that is trained; a stage that was never begun begins, even when resuming."""
    place = job.place(stage)
    resume = job.resume and (place.path / "config.json").exists()
    place.check(_CONFIGS[stage](job.config), resume)
    return resume


def _train(job: _Experiment, data: Divided, stage: str, *, resume: bool, observer: Observer) -> None:
    """Trains the autoencoder or the encoder classifier, and writes its report."""
    config, place = _CONFIGS[stage](job.config), job.place(stage)
    pretrained, origin = None, {}
    if stage == CLASSIFIER and job.config.extra.classifier_start == AUTOENCODER:
        job.require(CLASSIFIER, AUTOENCODER)
        origin = {AUTOENCODER: restore(job.place(AUTOENCODER).path)}
        pretrained = encoder_of(origin[AUTOENCODER].variables)
    with place.held(observer):
        if stage == CLASSIFIER:
            _record_start(place, origin, resume=resume and place.begun)
        prepared = Prepared(config.task(), Examples.of(data.slices, data.split), pretrained)
        own = Job(place, config, data, Place(cache_folder(job.cache_dir)), prepared, data.slices)
        fit(own, resume=resume, observer=observer)
        conclude(own)


def _record_start(place: RunFolder, origin: dict[str, Run], *, resume: bool) -> None:
    """Writes down what the classifier begins with, or checks that it is what it began with.

    Raises:
      InputError: it began with something else.
    """
    if not resume:
        return record(place.path, origin)
    found = recorded(place.path)  # None: of an earlier version
    if found is None:
        return None
    if found.keys() != origin.keys():
        began, now = ("autoencoder" if AUTOENCODER in one else "fresh" for one in (found, origin))
        raise InputError(
            f"--classifier_start={now}: the classifier in {place.path} began with --classifier_start={began}; resume "
            "with its own flags, or name another folder"
        )
    return check_made_of(place.path, origin, CLASSIFIER)


def _check_classifier(job: _Experiment) -> None:
    """Checks that a classifier which began with an autoencoder's encoder began with the one that is there."""
    folder = job.place(CLASSIFIER).path
    if AUTOENCODER in (recorded(folder) or {}):
        check_made_of(folder, {AUTOENCODER: restore(job.place(AUTOENCODER).path)}, CLASSIFIER)


def _compose(job: _Experiment) -> None:
    """Stage 3: the final, left and right models."""
    _check_classifier(job)
    for name, origins in compose(job.folder, job.config.extra, job.config.seed).items():
        counts = {part: sum(origin == part for origin in origins.values()) for part in sorted(set(origins.values()))}
        job.observer.on_message(f"{name}: " + ", ".join(f"{count} leaves {part}" for part, count in counts.items()))
