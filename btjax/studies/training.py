"""Trains runs, and predicts every row of their data sets."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import traverse_util

from btjax.base.errors import InputError
from btjax.base.files import cache_folder
from btjax.base.progress import Observer
from btjax.features.heads import fit_head
from btjax.readers.slices import Slices
from btjax.runs.folder import RunFolder
from btjax.runs.log import RunLog
from btjax.runs.predictions import Predictions
from btjax.runs.report import CheckpointInfo, TrainingInfo
from btjax.runs.run import HEAD, Run
from btjax.studies.classifier import device, trained_by
from btjax.studies.data import Divided, divide, load_slices
from btjax.studies.fitted import fit_model, fitted_training
from btjax.studies.outlines import as_taught, outlines_notes, with_outlines
from btjax.systems.config import Config
from btjax.systems.system import Place, Prepare, Prepared, find_system
from btjax.systems.transfer import keeps_features
from btjax.training.hosts import agree, leads
from btjax.training.loop import Trainer
from btjax.training.many import ManyTrainer
from btjax.training.progress import Progress, is_finished
from btjax.training.state import create_state
from btjax.training.step import make_predict

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from btjax.training.config import TrainingConfig

BATCH = 32
"""Slices at a time where rows are predicted."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A run that is to be trained or evaluated.

    Attributes:
      folder: where it lies.
      config: its options, with the classes of the data set.
      data: slices and split.
      place: where what is computed is kept.
      prepared: what it trains.
      taught: the slices with the masks that it learns from, which are the data set's unless a config says otherwise.
    """

    folder: RunFolder
    config: Config
    data: Divided
    place: Place
    prepared: Prepared
    taught: Slices

    @property
    def masks(self) -> str:
        """The fingerprint of the masks that it trains on; empty for a task that has no use for them."""
        needed = self.prepared.task.needs_masks or find_system(self.config.system).fitted
        return self.taught.masks_fingerprint if needed else ""


def open_job(
    config: Config,
    folder: RunFolder,
    *,
    prepare: Prepare | None = None,
    observer: Observer | None = None,
    cache_dir: str | os.PathLike | None = None,
    stream: bool | None = False,
) -> Job:
    """Loads a config's slices, divides them and makes ready what is trained.

    Args:
      config: the options.
      folder: of the run, checked by the caller.
      prepare: what the run begins with; None for the system's own way.
      observer: is told of what is prepared.
      cache_dir: where prepared slices and features are kept.
      stream: see `btjax.data.builder.load`; only networks that train on slices read them so.

    Raises:
      InputError: a mistake in the options or the data.
    """
    observer = observer or Observer()
    loaded = load_slices(config, observer, cache_dir, stream=streams(config, stream))
    config = config.with_classes(loaded.slices.classes)
    data = divide(config, loaded, observer)
    return prepare_job(config, folder, data, Place(cache_folder(cache_dir), observer.on_data), prepare)


def streams(config: Config, stream: bool | None) -> bool | None:
    """`stream` where a config trains a network on slices, False where it does not.

    Raises:
      InputError: True where it does not.
    """
    if stream is False:
        return False
    fixed = find_system(config.system).fitted or keeps_features(config, config.data.image_size)
    if stream and fixed:
        other = ", or --nofeature_cache" if hasattr(config.extra, "feature_cache") else ""
        raise InputError(
            f"--stream: {config.system} computes features of every slice and keeps them in memory, expected a network "
            f"that trains on slices{other}"
        )
    return False if fixed else stream


def prepare_job(config: Config, folder: RunFolder, data: Divided, place: Place, prepare: Prepare | None = None) -> Job:
    """Makes ready what a run trains on slices that are loaded; see `open_job`."""
    prepare = prepare or find_system(config.system).prepare
    notes = data.notes + outlines_notes(config)
    data = dataclasses.replace(data, slices=with_outlines(config, data.slices, data.split), notes=notes)
    taught = as_taught(config, data.slices, data.split)
    return Job(folder, config, data, place, prepare(config, taught, data.split, place), taught)


def fit(job: Job, *, resume: bool = False, observer: Observer | None = None) -> None:
    """Trains a run from the beginning or, with `resume`, from its last checkpoint; it was checked before.

    Raises:
      InputError: another data set than the run was started on, a checkpoint that does not fit or cannot be written.
      Interrupted: the run was asked to stop; it can be resumed.
    """
    if find_system(job.config.system).fitted:
        return fit_model(job, resume)
    if job.prepared.head is not None:
        return _fit_head(job, resume)
    prepared, config, folder = job.prepared, job.config, job.folder
    trainer = Trainer(
        prepared.task,
        config.training,
        prepared.examples,
        config.seed,
        folder.checkpoints,
        pretrained=prepared.pretrained,
    )
    folder.start(config, job.data.split, job.data.slices.fingerprint, job.masks)
    _check_resumable(folder)
    begun = resume and folder.checkpoints.exists("last")
    if all(agree(begun, not begun)):
        raise InputError(
            f"--workdir={folder.path}: some processes see a checkpoint there, others none; share the folder"
        )
    if begun:
        trainer.restore(observer)  # a run that was stopped before its first checkpoint starts over
        _check_not_past_end(folder, config.training, trainer.progress)
        _check_weights(job, trainer.state.frozen)
        if trainer.finished() and observer is not None:
            observer.on_message(
                f"{folder.path}: is trained to its end, epoch {trainer.progress.epoch}; nothing to train"
            )
    if not leads():
        trainer.fit()
        return None
    with RunLog(folder, observer or Observer()) as log:
        trainer.fit(log)
    return None


def fit_several(
    jobs: dict[str, Job], *, resume: bool = False, observers: Callable[[str], Observer] | None = None
) -> None:
    """`fit` of several runs in one program.

    Args:
      jobs: by name; they share a config but for seed and fold, and their slices.
      resume: whether runs with a checkpoint go on from it; the others begin.
      observers: from a run's name to who is told of it.
    """
    ready = list(jobs.values())
    first = ready[0]
    if first.prepared.head is not None or find_system(first.config.system).fitted:
        for job in ready:
            if not job.folder.concluded:  # what was fitted in one go is scored again, no more
                fit(job)
        return
    trainer = ManyTrainer(
        first.prepared.task,
        first.config.training,
        [job.prepared.examples for job in ready],
        [job.config.seed for job in ready],
        [job.folder.checkpoints for job in ready],
        names=list(jobs),
        pretrained=first.prepared.pretrained,
    )
    observers = observers or (lambda _: Observer())
    for index, (name, job) in enumerate(jobs.items()):
        job.folder.start(job.config, job.data.split, job.data.slices.fingerprint, job.masks)
        _check_resumable(job.folder)
        if resume and job.folder.checkpoints.exists("last"):
            trainer.restore(index, observers(name))
            _check_not_past_end(job.folder, first.config.training, trainer.runs[index].progress)
            _check_weights(job, trainer.runs[index].state.frozen)
    with contextlib.ExitStack() as stack:
        trainer.fit([stack.enter_context(RunLog(job.folder, observers(name))) for name, job in jobs.items()])


def _check_resumable(folder: RunFolder) -> None:
    """Checks that a run with results has the checkpoint to go on from: it is not trained from the beginning over them.

    Raises:
      InputError: the checkpoint is gone.
    """
    if folder.concluded and not folder.checkpoints.exists("last"):
        raise InputError(
            f"--workdir={folder.path}: has results, but the checkpoint to go on from is gone from "
            f"{folder.checkpoints.folder}; name another folder"
        )


def _check_not_past_end(folder: RunFolder, config: TrainingConfig, progress: Progress) -> None:
    """Checks that a run with results, trained to its end, goes on from there, not from the checkpoint before its last.

    Raises:
      InputError: it would be trained again, over its results.
    """
    ended = is_finished(config, dataclasses.replace(progress, epoch=folder.logged))
    if folder.concluded and ended and not is_finished(config, progress):
        raise InputError(
            f"--workdir={folder.path}: is trained to its end and its results stand, but the last checkpoint in "
            f"{folder.checkpoints.folder} is damaged; nothing is trained again over them, name another folder for that"
        )


def _check_weights(job: Job, frozen: dict[str, Any]) -> None:
    """Checks that frozen parameters of a restored run are the published ones that were loaded for its features.

    Raises:
      InputError: they are others.
    """
    held: dict[Any, Any] = traverse_util.flatten_dict(frozen)
    given: dict[Any, Any] = traverse_util.flatten_dict((job.prepared.pretrained or {}).get("params", {}))
    for path in held.keys() & given.keys():
        if not np.array_equal(held[path], given[path]):
            raise InputError(
                f"--weights: {'/'.join(path)} differs from that of the run in {job.folder.path}; expected the weights "
                "that it began with"
            )


def predictor(job: Job, *, pixels: bool = False) -> Callable[[Any], np.ndarray]:
    """From slices (or their features) to the outputs (or pixel logits) of a run's best checkpoint, float32 [n, ...]."""
    run, predict = Run(job.folder.path), make_predict(job.prepared.task, pixels=pixels)
    variables = run.variables
    return lambda images: predict(variables, images, BATCH)


def predictions_of(job: Job) -> Predictions:
    """A classifier's logits of every row of its data set, from its best checkpoint.

    Held-out slices are predicted mirrored as well where the network was trained on such.
    """
    run, slices = Run(job.folder.path), job.data.slices
    if run.kept is not None:
        logits = job.config.model.outputs(run.kept, slices, job.place)
        return Predictions.of(slices, job.data.split, logits)
    flipped = None
    images = job.prepared.examples.images
    features = images if len(images) == len(slices) else images[: len(slices)]  # less their augmented copies
    if run.head is not None and job.prepared.features is not None:
        logits = run.head.logits(features)
    elif run.head is not None:
        logits = run.logits(slices.images)
    else:
        predict = predictor(job)
        logits = predict(features)
        if job.config.augmentation.flip and job.prepared.features is None:
            held_out = np.concatenate([job.data.split.validation, job.data.split.test])
            flipped = np.full_like(logits, np.nan)
            flipped[held_out] = predict(_Mirrored(slices.images, held_out))
    return Predictions.of(slices, job.data.split, logits, flipped)


@dataclasses.dataclass(frozen=True, eq=False)
class _Mirrored:
    """Some slices, mirrored left to right when they are asked for."""

    images: Any
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.images[self.rows[places]][:, :, ::-1])


def training_of(job: Job) -> tuple[CheckpointInfo, TrainingInfo]:
    """How a run was trained, from what its checkpoints keep."""
    if find_system(job.config.system).fitted:
        return fitted_training(job)
    checkpoints, prepared = job.folder.checkpoints, job.prepared
    about = checkpoints.progress("best")
    if "head" in about:
        training = TrainingInfo(
            None, about["seconds"], device(), about["features"], head=about["head"], setting=about["setting"]
        )
        return CheckpointInfo(None, None, "validation_accuracy"), training
    features = None
    if prepared.features is not None:
        features = f"{prepared.features}, computed once, {prepared.copies} augmented copies"
    return trained_by(checkpoints, job.config.training.select, features)


def _fit_head(job: Job, resume: bool) -> None:
    """Fits a classical classifier on the features; the network below is saved as the run's checkpoint."""
    prepared, config, folder = job.prepared, job.config, job.folder
    name = prepared.head
    if resume and folder.concluded:
        raise InputError(f"--head={name}: is fitted in one go, there is nothing to resume")
    if not len(job.data.split.validation):
        raise InputError(f"--head={name}: its setting is chosen on validation slices, found none; leave out --refit")
    folder.start(config, job.data.split, job.data.slices.fingerprint)
    began, examples = time.perf_counter(), prepared.examples
    if config.training.permuted_labels:
        examples = examples.with_permuted_labels(config.seed)
    rows: Any = np.concatenate(list(examples.train))
    validation, weights = job.data.split.validation, config.training.class_weights
    head = fit_head(str(name), examples.images, examples.labels, rows, validation, class_weights=weights)
    about = {
        "features": prepared.features,
        "head": name,
        "setting": head.setting,
        "seconds": round(time.perf_counter() - began, 1),
    }
    folder.checkpoints.save("best", _whole_network(job), 0, about)
    if leads():  # last, since with it the run is fitted
        head.save(folder.path / HEAD)


def _whole_network(job: Job) -> dict[str, Any]:
    """The network's variables with the published ones below the head, the rest as it was initialised."""
    import optax

    task, key = job.config.task(), jax.random.key(job.config.seed)
    state = create_state(
        lambda key: task.initialise(key, job.config.data.image_size),
        optax.identity(),
        key,
        pretrained=job.prepared.pretrained,
    )
    return state.variables
