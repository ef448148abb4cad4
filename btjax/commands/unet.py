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
        for name in names:
            if not self.place(name).checkpoints.exists("best"):
                raise InputError(f"--stage={stage}: no {name} in {self.folder}; run --stage={name} first")


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
    # Of several processes that train one run, the first holds the folder for all.
    with claimed(place, "unet", {}, own=own) if leads() else contextlib.nullcontext():
        return _run_stages(_Experiment(config, place, resume, Observer(), cache_dir), stages, observers)


def _run_stages(job: _Experiment, stages: Sequence[str], observers: Callable[[str], Observer]) -> UNetReport | None:
    """The stages, in a folder that this process holds; see `unet`."""
    config = job.config
    with told(observers(stages[0])) as watching:
        job = dataclasses.replace(job, observer=watching)
        if AUTOENCODER not in stages:
            job.require(stages[0], *((AUTOENCODER, CLASSIFIER) if CLASSIFIER not in stages else ()))
        loaded = load_slices(config, watching, job.cache_dir)
        job = dataclasses.replace(job, config=config.with_classes(loaded.slices.classes))
        data = divide(job.config, loaded, watching)
    if "figures" in stages:
        check_figures(config, data.tested)
    # Both folders are checked before anything is trained.
    resumed = {stage: _resumed(job, stage) for stage in (AUTOENCODER, CLASSIFIER) if stage in stages}
    for stage, resume in resumed.items():
        _train(job, data, stage, resume=resume, observer=observers(stage))
    if "compose" in stages:
        _compose(job)
    if "figures" not in stages:
        return None
    for stage in (AUTOENCODER, CLASSIFIER):
        flag = f"--data_dir={config.data.data_dir}"
        job.place(stage).check_data(job.config, data.split, data.slices.fingerprint, flag)
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
    config = _CONFIGS[stage](job.config)
    pretrained = None
    if stage == CLASSIFIER and job.config.extra.classifier_start == AUTOENCODER:
        job.require(CLASSIFIER, AUTOENCODER)
        pretrained = encoder_of(restore(job.place(AUTOENCODER).path).variables)
    prepared = Prepared(config.task(), Examples.of(data.slices, data.split), pretrained)
    own = Job(job.place(stage), config, data, Place(cache_folder(job.cache_dir)), prepared)
    fit(own, resume=resume, observer=observer)
    conclude(own)


def _compose(job: _Experiment) -> None:
    """Stage 3: the final, left and right models."""
    for name, origins in compose(job.folder, job.config.extra, job.config.seed).items():
        counts = {part: sum(origin == part for origin in origins.values()) for part in sorted(set(origins.values()))}
        job.observer.on_message(f"{name}: " + ", ".join(f"{count} leaves {part}" for part, count in counts.items()))
