"""The report of a classifier: what it scores on every row of its split, beside its baselines, with its pictures."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from typing import Any

import jax
import numpy as np
import scipy.special

from btjax.data.dataset import PHANTOM
from btjax.data.slices import CLASSES, Slices
from btjax.data.splits import Split
from btjax.evaluation.baselines import class_prior, linear_model
from btjax.evaluation.classification import classification_report
from btjax.figures.confusion import confusion_matrix
from btjax.figures.curves import training_curves
from btjax.figures.mistakes import worst_mistakes
from btjax.reports.classifier import render_page
from btjax.runs.run import Run
from btjax.systems.config import Config
from btjax.training.loop import Progress

_PACKAGES = ("btjax", "jax", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn")


@dataclasses.dataclass(frozen=True)
class Record:
    """How a classifier came to be.

    Attributes:
      checkpoint: which of its states is scored and by what it was chosen: epoch, step, criterion.
      training: epochs, seconds and what else is to be told.
      history: one row of metrics per epoch; empty where there were no epochs.
    """

    checkpoint: dict[str, Any]
    training: dict[str, Any]
    history: list[dict[str, float]]

    @staticmethod
    def of(run: Run) -> Record:
        """The record of a run's checkpoints."""
        last, best = (Progress(**run.checkpoints.progress(which)) for which in ("last", "best"))
        criterion = run.config().training.select
        return Record(
            {"epoch": best.best["epoch"], "step": best.best["step"], "criterion": criterion},
            {"epochs": last.epoch, "seconds": round(last.seconds, 1)},
            last.history,
        )


def classifier_report(
    config: Config, slices: Slices, split: Split, form: str, logits: dict[str, np.ndarray], record: Record
) -> dict[str, Any]:
    """Scores a classifier on its validation and test rows.

    Args:
      config: the run's config.
      slices: the data set.
      split: the run's split.
      form: the data set's form in words.
      logits: float32 [rows, 3] of the slices in `split.validation` and `split.test`, by those names, from the
        checkpoint that validation chose.
      record: how it was trained.

    Returns:
      The report as JSON values: experiment, classes, protocol, split, counts, data, test, validation, held_out
      (validation and test together), baselines, checkpoint, training, config, versions.
    """

    def score(values, rows):
        patients = None if slices.patients is None else slices.patients[rows]
        return classification_report(values, slices.labels[rows], classes=CLASSES, patients=patients, seed=config.seed)

    held_out = np.concatenate([split.validation, split.test])
    train_labels = slices.labels[split.train]
    linear = linear_model(slices.images[split.train], train_labels, slices.images[split.test])
    return {
        "experiment": config.experiment,
        "classes": list(CLASSES),
        "protocol": split.protocol,
        "split": {
            "fold": split.fold,
            "folds": split.folds,
            "seed": split.seed,
            "leaked_patients": split.leaked_patients,
            "leaked_families": split.leaked_families,
        },
        "counts": {side: _count(slices, rows) for side, rows in split.sides().items()},
        "data": {"form": form, "dir": config.data.data_dir, "synthetic": config.data.data_dir == PHANTOM},
        "test": score(logits["test"], split.test),
        "validation": score(logits["validation"], split.validation),
        "held_out": score(np.concatenate([logits["validation"], logits["test"]]), held_out),
        "baselines": {
            "class_prior": {"test": score(class_prior(train_labels, len(split.test)), split.test)},
            "linear_model": {"test": score(linear, split.test)},
        },
        "checkpoint": record.checkpoint,
        "training": record.training | {"device": f"{jax.device_count()} x {jax.devices()[0].device_kind}"},
        "config": config.to_json(),
        "versions": _versions(),
    }


def write_classifier_report(
    run: Run, report: dict[str, Any], tested: Slices, logits: np.ndarray, history: list[dict[str, float]]
) -> None:
    """Writes report.json, report.html and figures/ into a run's folder.

    Args:
      run: the run.
      report: `classifier_report`'s.
      tested: the test slices.
      logits: float32 [rows, 3], theirs.
      history: one row of metrics per epoch; without any there are no curves.
    """
    beside_paper = report["experiment"] == "cnn" and not report["data"]["synthetic"]
    probabilities = scipy.special.softmax(logits, axis=1)
    curves = {"curves": training_curves(history, beside_paper, report["checkpoint"]["epoch"])} if history else {}
    figures = curves | {
        "confusion_test": confusion_matrix(report["test"]["confusion_matrix"], CLASSES, "Test slices"),
        "confusion_validation": confusion_matrix(
            report["validation"]["confusion_matrix"], CLASSES, "Validation slices"
        ),
        "mistakes": worst_mistakes(
            tested.images, tested.labels, probabilities, CLASSES, ids=tested.ids, masks=tested.masks
        ),
    }
    by_patient = report["test"]["by_patient"]
    if by_patient is not None:
        figures["confusion_by_patient"] = confusion_matrix(
            by_patient["confusion_matrix"], CLASSES, "Test patients, one prediction each"
        )
    for name, figure in figures.items():
        run.write_figure(name, figure)
    run.write_text("report.html", render_page(report, figures))
    run.write_json("report.json", report)


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _PACKAGES} | {"python": platform.python_version()}


def _count(slices: Slices, rows: np.ndarray) -> dict[str, int | None]:
    patients = None if slices.patients is None else len(np.unique(slices.patients[rows]))
    return {"slices": len(rows), "patients": patients}
