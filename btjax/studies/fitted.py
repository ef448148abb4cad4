"""Runs of systems that are fitted in one go, without a network."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from btjax.base.errors import InputError
from btjax.runs.folder import KEPT
from btjax.runs.report import CheckpointInfo, TrainingInfo
from btjax.runs.run import Run, save_kept
from btjax.studies.classifier import device
from btjax.training.hosts import leads

if TYPE_CHECKING:
    from btjax.studies.training import Job


def fit_model(job: Job, resume: bool) -> None:
    """Fits the model of a config on the training rows and saves what it keeps of them.

    Raises:
      InputError: a run to resume, or slices that it cannot be fitted on.
    """
    if resume:
        raise InputError(f"--resume: {job.config.system} is fitted in one go, there is nothing to resume")
    job.folder.start(job.config, job.data.split, job.data.slices.fingerprint, job.masks)
    began = time.perf_counter()
    kept = job.config.model.fit(job.data.slices, job.data.split, job.config.seed, job.place)
    if leads():
        save_kept(job.folder.path / KEPT, kept, round(time.perf_counter() - began, 1))


def fitted_training(job: Job) -> tuple[CheckpointInfo, TrainingInfo]:
    """How a run was fitted."""
    run = Run(job.folder.path)
    if run.kept is None:
        raise InputError(f"{run.folder}: no fitted model found, expected {KEPT}")
    training = TrainingInfo(None, run.kept.seconds, device(), None, head=run.kept.head, setting=run.kept.setting)
    return CheckpointInfo(None, None, run.kept.chosen), training
