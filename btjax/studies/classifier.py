"""What a classifier scores on the held-out rows of its split, beside its baselines."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import TYPE_CHECKING

import jax
import numpy as np

from btjax.data.dataset import PHANTOM
from btjax.evaluation.baselines import class_prior, linear_model
from btjax.evaluation.classification import Scores, classification_report
from btjax.runs.report import (
    SCHEMA,
    CheckpointInfo,
    ClassifierReport,
    Count,
    DataInfo,
    RunInfo,
    SplitInfo,
    TrainingInfo,
)
from btjax.systems.system import find_system
from btjax.training.loop import Progress

if TYPE_CHECKING:
    from btjax.base.checkpoints import Checkpoints
    from btjax.runs.predictions import Predictions
    from btjax.studies.data import Divided
    from btjax.systems.config import Config

_PACKAGES = ("btjax", "jax", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that make a run."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES} | {"python": platform.python_version()}


def device() -> str:
    """Number and kind of the devices, such as "1 x cpu"."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def trained_by(
    checkpoints: Checkpoints, criterion: str, features: str | None = None
) -> tuple[CheckpointInfo, TrainingInfo]:
    """How a run's checkpoints came to be.

    Args:
      checkpoints: the run's.
      criterion: what chose "best".
      features: what of the network was computed once, in words, or None.
    """
    last, best = (Progress(**checkpoints.progress(which)) for which in ("last", "best"))
    row = best.best or {}
    checkpoint = CheckpointInfo(epoch=int(row["epoch"]), step=int(row["step"]), criterion=criterion)
    return checkpoint, TrainingInfo(last.epoch, round(last.seconds, 1), device(), features)


def run_info(config: Config, data: Divided, checkpoint: CheckpointInfo, training: TrainingInfo) -> RunInfo:
    """What the reports of all runs have in common."""
    split, slices, system = data.split, data.slices, find_system(config.system)

    def count(rows: np.ndarray) -> Count:
        return Count(len(rows), None if slices.patients is None else len(np.unique(slices.patients[rows])))

    return RunInfo(
        schema=SCHEMA,
        task=config.task().name,
        system=system.name,
        title=system.title,
        classes=config.classes,
        protocol=split.protocol,
        split=SplitInfo(
            fold=split.fold,
            folds=split.folds,
            seed=split.seed,
            leaked_patients=split.leaked_patients,
            leaked_families=split.leaked_families,
            fingerprint=split.fingerprint,
            leaked_links=split.leaked_links,
            copies=len(split.copied(slices.digests)),
        ),
        counts={side: count(rows) for side, rows in split.sides().items()},
        data=DataInfo(data.form, config.data.data_dir, config.data.data_dir == PHANTOM, data.notes),
        checkpoint=checkpoint,
        training=training,
        config=config.to_json(),
        versions=versions(),
    )


def classifier_report(info: RunInfo, data: Divided, predictions: Predictions, seed: int) -> ClassifierReport:
    """Scores a classifier on its validation and test rows.

    Args:
      info: of `run_info`.
      data: slices and split.
      predictions: of every row, from the checkpoint that validation chose.
      seed: of the resampling.
    """

    def score(logits: np.ndarray, rows: np.ndarray) -> Scores:
        slices = data.slices
        return classification_report(
            logits,
            predictions.labels[rows],
            classes=predictions.classes,
            patients=None if slices.patients is None else slices.patients[rows],
            groups=None if slices.links is None else slices.links[rows],
            seed=seed,
        )

    split, images, labels = data.split, data.slices.images, predictions.labels
    held_out = np.concatenate([split.validation, split.test]) if len(split.validation) else None
    classes = len(predictions.classes)
    baselines = {
        "class_prior": class_prior(labels[split.train], len(split.test), classes=classes),
        "linear_model": linear_model(images[split.train], labels[split.train], images[split.test], classes=classes),
    }
    return ClassifierReport(
        **{name: getattr(info, name) for name in info.__dataclass_fields__},
        test=score(predictions.logits[split.test], split.test),
        validation=None if held_out is None else score(predictions.logits[split.validation], split.validation),
        held_out=None if held_out is None else score(predictions.logits[held_out], held_out),
        baselines={name: score(logits, split.test) for name, logits in baselines.items()},
    )
