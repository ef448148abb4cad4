"""What a classifier scores on the held-out rows of its split, beside its baselines."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import TYPE_CHECKING

import jax
import numpy as np

from btjax.data.dataset import PHANTOM
from btjax.evaluation.baselines import class_prior, linear_model
from btjax.evaluation.calibration import Reliability, reliability, temperature_report
from btjax.evaluation.classification import Scores, classification_report
from btjax.evaluation.conformal import conformal_report
from btjax.evaluation.labelled import Labelled
from btjax.evaluation.selective import selective_report
from btjax.evaluation.shortcuts import several_sources
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
from btjax.studies.audit_measures import ALL, Pool, group_rows, source_rows
from btjax.systems.system import find_system
from btjax.training.progress import Progress

if TYPE_CHECKING:
    from btjax.base.checkpoints import Checkpoints
    from btjax.evaluation.parts import GroupRow
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
    last, best = (Progress.of(checkpoints.progress(which), checkpoints.folder / which) for which in ("last", "best"))
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


def classifier_report(info: RunInfo, data: Divided, predictions: Predictions) -> ClassifierReport:
    """Scores a classifier on its validation and test rows.

    Args:
      info: of `run_info`.
      data: slices and split.
      predictions: of every row, from the checkpoint that validation chose.
    """

    def score(logits: np.ndarray, rows: np.ndarray) -> Scores:
        one = labelled(data, logits, rows)
        return classification_report(
            one.logits, one.labels, classes=predictions.classes, patients=one.patients, groups=one.groups
        )

    split, labels = data.split, predictions.labels
    sources = several_sources(data.slices.patients)
    held_out = np.concatenate([split.validation, split.test]) if len(split.validation) else None
    classes = len(predictions.classes)
    baselines = {
        "class_prior": class_prior(labels[split.train], len(split.test), classes=classes),
        "linear_model": linear_model(data.trained.images, labels[split.train], data.tested.images, classes=classes),
    }
    tested = labelled(data, predictions.logits[split.test], split.test)
    trusted = None
    if held_out is not None:
        trusted = labelled(data, predictions.logits[split.validation], split.validation)
    return ClassifierReport(
        **{name: getattr(info, name) for name in info.__dataclass_fields__},
        test=score(predictions.logits[split.test], split.test),
        validation=None if held_out is None else score(predictions.logits[split.validation], split.validation),
        held_out=None if held_out is None else score(predictions.logits[held_out], held_out),
        baselines={name: score(logits, split.test) for name, logits in baselines.items()},
        reliability=_reliability(tested),
        reliability_by_patient=None if tested.patients is None else _reliability(tested.by_patient()),
        temperature=None if trusted is None else temperature_report(trusted, tested),
        conformal=() if trusted is None else conformal_report(trusted, tested, classes=predictions.classes),
        selective=selective_report(tested),
        parts=_parts(data, predictions, tested, sources),
        sources=() if sources is None else source_rows(data.slices, sources),
    )


def _parts(
    data: Divided, predictions: Predictions, tested: Labelled, sources: np.ndarray | None
) -> tuple[GroupRow, ...]:
    """Accuracy and recalls of the test rows by source and plane, as far as these are known; `sources` is str [N]."""
    rows, planes = data.split.test, data.slices.planes
    clusters = next((one for one in (tested.groups, tested.patients) if one is not None), np.arange(len(rows)))
    known = {"source": sources, "plane": planes}
    groups = {name: column[rows] for name, column in known.items() if column is not None}
    of_rows = None if sources is None else sources[rows]
    logits, labels = predictions.logits[rows], predictions.labels[rows]
    pool = Pool(rows, labels, logits, clusters, predictions.classes, of_rows, groups)
    return tuple(row for row in group_rows(pool) if row.group != ALL)


def labelled(data: Divided, logits: np.ndarray, rows: np.ndarray) -> Labelled:
    """Logits of some rows of a data set with what is known of these.

    Intervals go by family of patient ids where the protocol keeps families together, else by patient; without patients
    by group of linked slices.

    Args:
      data: slices, with labels, and their split.
      logits: float [N, C].
      rows: int [N], numbers of the slices.
    """
    slices = data.slices
    if slices.labels is None:
        raise ValueError("expected labelled slices")
    groups = slices.links
    if slices.patients is not None:
        groups = slices.families if data.split.protocol == "family" else None
    patients = None if slices.patients is None else slices.patients[rows]
    labels = slices.labels[rows].astype(np.int64)
    return Labelled(np.asarray(logits, np.float64), labels, patients, None if groups is None else groups[rows])


def _reliability(rows: Labelled) -> Reliability:
    return reliability(rows.probabilities, np.asarray(rows.labels))
