"""The classification report: every number that a results table of a classifier needs, with its uncertainty."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.evaluation.intervals import METHOD, Clusters, Interval, IntervalSettings
from btjax.evaluation.metrics import CLASS_METRICS, Measured, Rows, measure

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CLASS_METRICS", "MAIN_METRICS", "ClassScores", "Scores", "classification_report"]

MAIN_METRICS = (
    "accuracy",
    "macro_precision",
    "macro_recall",
    "macro_specificity",
    "macro_f1",
    "mcc",
    "roc_auc",
    "log_loss",
    "brier_score",
    "expected_calibration_error",
    "calibration_slope",
    "calibration_intercept",
)
"""The metrics of `Scores` that carry an interval under `<name>_ci95`."""


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """The scores of one class against all others, each in [0, 1] with its 95% interval.

    Attributes:
      precision: the share of correct ones among the predictions of the class (positive predictive value).
      recall: the share of the class's rows that are found (sensitivity).
      specificity: the share of other rows that are not called this class.
      f1: 2 TP / (2 TP + FP + FN).
      roc_auc: area under the ROC curve.
      support: the number of scored rows of the class.
    """

    precision: float | None
    precision_ci95: Interval | None
    recall: float | None
    recall_ci95: Interval | None
    specificity: float | None
    specificity_ci95: Interval | None
    f1: float | None
    f1_ci95: Interval | None
    roc_auc: float | None
    roc_auc_ci95: Interval | None
    support: int


@dataclasses.dataclass(frozen=True)
class Scores:
    """A classifier's scores on some rows, each with its 95% interval `<name>_ci95` (see `btjax.evaluation.intervals`).

    What is undefined is None, never 0; see `classification_report`.

    Attributes:
      slices: the number of slices.
      predictions: the number of predictions that are scored: the slices, or one for each patient (and class).
      patients: the number of patients, or None where no ids exist.
      accuracy: the share of correct predictions.
      macro_precision: mean over classes.
      macro_recall: mean over classes, also known as balanced accuracy.
      macro_specificity: mean over classes.
      macro_f1: mean over classes.
      mcc: Matthews' correlation coefficient, in [-1, 1], 0 for guesses.
      roc_auc: area under the ROC curve, one-vs-rest, mean over classes.
      log_loss: mean cross-entropy (negative log-likelihood) in nats.
      brier_score: mean squared distance between probabilities and the true class, summed over classes, in [0, 2].
      expected_calibration_error: of bins of equally many rows, in [0, 1]. Noise raises it; the interval's lower bound
        takes the jackknife's estimate of that off.
      calibration_slope: of the confidence, 1 is calibrated; see `btjax.evaluation.calibration.recalibration`.
      calibration_intercept: of the confidence, 0 is calibrated.
      per_class: class name -> scores, in the order of the labels.
      confusion_matrix: counts, rows true, columns predicted, in the order of the labels.
      interval: how the intervals were computed.
      by_patient: the same scores of one prediction for each patient, the mean of the logits of the patient's slices;
        None without ids, and in scores that are by patient themselves.
    """

    slices: int
    predictions: int
    patients: int | None
    accuracy: float
    accuracy_ci95: Interval | None
    macro_precision: float | None
    macro_precision_ci95: Interval | None
    macro_recall: float | None
    macro_recall_ci95: Interval | None
    macro_specificity: float | None
    macro_specificity_ci95: Interval | None
    macro_f1: float | None
    macro_f1_ci95: Interval | None
    mcc: float | None
    mcc_ci95: Interval | None
    roc_auc: float | None
    roc_auc_ci95: Interval | None
    log_loss: float
    log_loss_ci95: Interval | None
    brier_score: float
    brier_score_ci95: Interval | None
    expected_calibration_error: float
    expected_calibration_error_ci95: Interval | None
    calibration_slope: float | None
    calibration_slope_ci95: Interval | None
    calibration_intercept: float | None
    calibration_intercept_ci95: Interval | None
    per_class: dict[str, ClassScores]
    confusion_matrix: tuple[tuple[int, ...], ...]
    interval: IntervalSettings
    by_patient: Scores | None = None


def classification_report(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    classes: Sequence[str],
    patients: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Scores:
    """Scores a classifier on every row, with 95% intervals by patient.

    Undefined values are None, never 0: all but the specificity of a class without rows; the precision of a class never
    predicted;
    a macro average over classes of which one is undefined; Matthews' coefficient where all rows or all predictions are
    of one class; slope and intercept of calibration without any mistake; an interval of fewer than two clusters. F1 is
    2 TP / (2 TP + FP + FN): 0, and defined, for a class that has rows and is never predicted. A prediction is the class
    of the highest logit, the first of equals.

    Args:
      logits: float [N, C], finite.
      labels: int [N], true classes in [0, C).
      classes: C different class names, in the order of the labels.
      patients: str [N], the patient of each row, or None where no ids exist. Rows of one patient from several folds or
        seeds may be joined; they stay one cluster, and one vote in `by_patient`.
      groups: [N], what varies together where that is not the patient: with `patients` the family of each row, without
        them its group of linked slices. Without both, rows are treated as independent, and the intervals are too narrow
        if several rows show one patient.

    Returns:
      The scores. In `by_patient` a patient id with rows of two classes counts once for each (`predictions` is then
      larger than `patients`).

    Raises:
      ValueError: no rows, shapes that disagree, a label outside [0, C), equal class names, or logits that are not
        finite.

    Example:
      >>> import numpy as np
      >>> scores = classification_report(np.eye(3), np.array([0, 1, 1]), classes=("a", "b", "c"))
      >>> round(scores.accuracy, 3), scores.per_class["b"].recall, scores.per_class["c"].recall
      (0.667, 0.5, None)
    """
    logits, labels, patients = _checked(logits, labels, classes, patients)
    unit, names = _unit(len(labels), patients, groups)
    rows = Rows(logits, labels, Clusters.of(names))
    interval = IntervalSettings(METHOD, unit, rows.clusters.units)
    if patients is None:
        return _scores(rows, classes, interval, slices=len(labels), patients=None)
    numbers = np.unique(patients, return_inverse=True)[1]
    sizes = {"slices": len(labels), "patients": int(numbers.max()) + 1}
    by_patient = _scores(_mean_by_patient(rows, numbers), classes, interval, **sizes)
    return _scores(rows, classes, interval, **sizes, by_patient=by_patient)


def _unit(rows: int, patients: np.ndarray | None, groups: np.ndarray | None) -> tuple[str, np.ndarray]:
    """What varies together, in words and for each row."""
    if groups is not None:
        if np.shape(groups) != (rows,):
            raise ValueError(f"groups must be [{rows}], found {np.shape(groups)}")
        return "group" if patients is None else "family", np.asarray(groups)
    return ("slice", np.arange(rows)) if patients is None else ("patient", patients)


def _checked(
    logits: np.ndarray, labels: np.ndarray, classes: Sequence[str], patients: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    logits = np.asarray(logits, dtype=np.float64)
    labels = np.asarray(labels)
    if len(set(classes)) < len(classes):
        raise ValueError(f"class names must differ, found {', '.join(classes)}")
    if logits.ndim != 2 or logits.shape[1] != len(classes) or len(logits) == 0:
        raise ValueError(f"logits must be [N, {len(classes)}] with N at least 1, found shape {logits.shape}")
    if labels.shape != logits.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers [{len(logits)}], found {labels.dtype} {labels.shape}")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"labels must lie in [0, {len(classes)}), found {labels.min()} to {labels.max()}")
    bad = int((~np.isfinite(logits)).any(axis=1).sum())
    if bad:
        raise ValueError(f"logits must be finite, found {bad} of {len(logits)} rows that are not")
    if patients is not None:
        patients = np.asarray(patients).astype(str)
        if patients.shape != labels.shape:
            raise ValueError(f"patients must be [{len(labels)}], found {patients.shape}")
    return logits, labels.astype(np.int64), patients


def _mean_by_patient(rows: Rows, patients: np.ndarray) -> Rows:
    """One row for each patient (int [N]) and class: mean logits, label, and the cluster of the patient's first row."""
    keys, first, places = np.unique(patients * rows.classes + rows.labels, return_index=True, return_inverse=True)
    sums = np.zeros((len(keys), rows.classes))
    np.add.at(sums, places, rows.logits)
    return Rows(sums / np.bincount(places)[:, None], keys % rows.classes, Clusters(rows.clusters.numbers[first]))


def _scores(rows: Rows, classes: Sequence[str], interval: IntervalSettings, **others: Any) -> Scores:
    """Values, intervals and the confusion matrix of one set of predictions."""
    found = measure(rows)

    def fields(name: str, one: Measured) -> dict[str, Any]:
        return {name: one.value, f"{name}_ci95": one.ci95}

    main, per_class = {}, {}
    for name in MAIN_METRICS:
        main |= fields(name, found.main[name])
    for index, class_name in enumerate(classes):
        of_class = {}
        for name in CLASS_METRICS:
            of_class |= fields(name, found.by_class[name][index])
        per_class[class_name] = ClassScores(**of_class, support=int((rows.labels == index).sum()))
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(matrix, (rows.labels, rows.predictions), 1)
    return Scores(
        **main,
        per_class=per_class,
        confusion_matrix=tuple(tuple(line) for line in matrix.tolist()),
        interval=interval,
        predictions=len(rows.labels),
        **others,
    )
