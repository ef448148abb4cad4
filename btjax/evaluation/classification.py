"""The classification report: every number that a results table of a classifier needs, with its uncertainty."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.evaluation import bootstrap
from btjax.evaluation.bootstrap import Interval, IntervalSettings
from btjax.evaluation.calibration import expected_calibration_error, resampled_calibration_error

if TYPE_CHECKING:
    from collections.abc import Sequence

MAIN_METRICS = (
    "accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "roc_auc",
    "log_loss",
    "expected_calibration_error",
)
"""The metrics of `Scores` that carry an interval under `<name>_ci95`."""

CLASS_METRICS = ("precision", "recall", "f1", "roc_auc")
"""The metrics of `ClassScores` that carry an interval under `<name>_ci95`."""


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """The scores of one class against all others, each in [0, 1] with its 95% interval.

    Attributes:
      support: the number of scored rows of the class.
    """

    precision: float | None
    precision_ci95: Interval | None
    recall: float | None
    recall_ci95: Interval | None
    f1: float | None
    f1_ci95: Interval | None
    roc_auc: float | None
    roc_auc_ci95: Interval | None
    support: int


@dataclasses.dataclass(frozen=True)
class Scores:
    """A classifier's scores on some rows, each with its 95% bootstrap interval `<name>_ci95`.

    What is undefined is None, never 0; see `classification_report`.

    Attributes:
      slices: the number of slices.
      predictions: the number of predictions that are scored: the slices, or one for each patient (and class).
      patients: the number of patients, or None where no ids exist.
      accuracy: the share of correct predictions.
      macro_precision: mean over classes.
      macro_recall: mean over classes, also known as balanced accuracy.
      macro_f1: mean over classes.
      roc_auc: area under the ROC curve, one-vs-rest, mean over classes.
      log_loss: mean cross-entropy in nats.
      expected_calibration_error: of 15 bins, in [0, 1]. Noise raises it in every resample; where that lifts the
        interval above the value, the interval is widened down to the value.
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
    macro_f1: float | None
    macro_f1_ci95: Interval | None
    roc_auc: float | None
    roc_auc_ci95: Interval | None
    log_loss: float
    log_loss_ci95: Interval | None
    expected_calibration_error: float
    expected_calibration_error_ci95: Interval | None
    per_class: dict[str, ClassScores]
    confusion_matrix: tuple[tuple[int, ...], ...]
    interval: IntervalSettings
    by_patient: Scores | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Rows:
    """Rows to score: float64 [N, C] logits, int64 [N] labels, int64 [N] clusters in [0, K)."""

    logits: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray


def classification_report(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    classes: Sequence[str],
    patients: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Scores:
    """Scores a classifier on every row, with 95% bootstrap intervals that resample patients.

    Undefined values are None, never 0: every metric of a class without rows; the precision of a class never predicted;
    a macro average over classes of which one is undefined; an interval with fewer than two clusters, or of a metric
    that more than a tenth of the resamples leave undefined. F1 is 2 TP / (2 TP + FP + FN): 0, and defined, for a class
    that has rows and is never predicted. A prediction is the class of the highest logit, the first of equals.

    Args:
      logits: float [N, C], finite.
      labels: int [N], true classes in [0, C).
      classes: C different class names, in the order of the labels.
      patients: str [N], the patient of each row, or None where no ids exist; then single rows are resampled, and the
        intervals are too narrow if several rows show one patient.
      groups: int [N], the group of linked slices of each row, which is resampled where no patients are known.
      resamples: the number of bootstrap resamples.
      seed: of the resampling.

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
    unit, names = next(
        (unit, names)
        for unit, names in (("patient", patients), ("group", groups), ("slice", np.arange(len(labels))))
        if names is not None
    )
    clusters = np.unique(names, return_inverse=True)[1]
    if clusters.shape != labels.shape:
        raise ValueError(f"groups must be [{len(labels)}], found {clusters.shape}")
    rows = _Rows(logits, labels, clusters)
    interval = IntervalSettings("percentile bootstrap", resamples, seed, unit, int(clusters.max()) + 1)
    if patients is None:
        return _scores(rows, classes, interval, slices=len(labels), patients=None)
    sizes = {"slices": len(labels), "patients": interval.units}
    by_patient = _scores(_mean_by_patient(rows), classes, interval, **sizes)
    return _scores(rows, classes, interval, **sizes, by_patient=by_patient)


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


def _mean_by_patient(rows: _Rows) -> _Rows:
    """One row for each patient and class: mean logits, label, and the patient's cluster."""
    classes = rows.logits.shape[1]
    keys, places = np.unique(rows.clusters * classes + rows.labels, return_inverse=True)
    sums = np.zeros((len(keys), classes))
    np.add.at(sums, places, rows.logits)
    return _Rows(sums / np.bincount(places)[:, None], keys % classes, keys // classes)


def _scores(rows: _Rows, classes: Sequence[str], interval: IntervalSettings, **others: Any) -> Scores:
    """Point values, intervals and the confusion matrix of one set of predictions."""
    points, samples = _point_values(rows), {}
    if interval.units > 1:
        samples = _resampled_values(rows, bootstrap.resampled_counts(interval.units, interval.resamples, interval.seed))

    def measured(name: str, key: str, index: int | None = None) -> dict[str, Any]:
        place = ... if index is None else (..., index)
        value, bounds = float(points[key][place]), None
        if samples and np.isfinite(value):
            bounds = bootstrap.percentile_interval(samples[key][place])
        if bounds is not None and name == "expected_calibration_error":
            bounds = min(bounds[0], value), max(bounds[1], value)  # see `resampled_calibration_error`
        return {name: value if np.isfinite(value) else None, f"{name}_ci95": bounds}

    main, per_class = {}, {}
    for name in MAIN_METRICS:
        main |= measured(name, name)
    for index, class_name in enumerate(classes):
        found = {}
        for name in CLASS_METRICS:
            found |= measured(name, f"class_{name}", index)
        per_class[class_name] = ClassScores(**found, support=int((rows.labels == index).sum()))
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(matrix, (rows.labels, rows.logits.argmax(axis=1)), 1)
    return Scores(
        **main,
        per_class=per_class,
        confusion_matrix=tuple(tuple(line) for line in matrix.tolist()),
        interval=interval,
        predictions=len(rows.labels),
        **others,
    )


def _point_values(rows: _Rows) -> dict[str, np.ndarray]:
    """The metrics of the rows as they are, NaN where undefined: [], those of the classes [C]."""
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score

    classes = rows.logits.shape[1]
    predictions = rows.logits.argmax(axis=1)
    support = np.bincount(rows.labels, minlength=classes)
    precision, recall, f1, _ = precision_recall_fscore_support(
        rows.labels,
        predictions,
        labels=np.arange(classes),
        zero_division=np.nan,  # pyright: ignore[reportArgumentType] (inferred as str from scikit-learn's default)
    )
    scores, areas = _log_odds(rows.logits), np.full(classes, np.nan)
    for index in range(classes):
        if 0 < support[index] < len(rows.labels):
            areas[index] = roc_auc_score(rows.labels == index, scores[:, index])
    # scikit-learn calls the precision and F1 of a class without rows 0 once it is predicted: nothing could be found.
    by_class = dict(
        zip(("precision", "recall", "f1"), np.where(support > 0, [precision, recall, f1], np.nan), strict=True)
    )
    probabilities, losses = _probabilities_and_losses(rows)
    overall = {
        "accuracy": np.asarray(accuracy_score(rows.labels, predictions)),
        "log_loss": losses.mean(),
        "expected_calibration_error": np.asarray(expected_calibration_error(probabilities, rows.labels)),
    }
    return _gathered(overall, by_class | {"roc_auc": areas})


def _resampled_values(rows: _Rows, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of every resample: [R], those of the classes [R, C], NaN where undefined."""
    labels, clusters, classes = rows.labels, rows.clusters, rows.logits.shape[1]
    matrices = bootstrap.resampled_confusion(labels, rows.logits.argmax(axis=1), classes, clusters, counts)
    hits = np.diagonal(matrices, axis1=1, axis2=2).astype(np.float64)
    predicted, actual = matrices.sum(axis=1), matrices.sum(axis=2)

    def ratio(numerator: np.ndarray, denominator: np.ndarray, defined: np.ndarray) -> np.ndarray:
        return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=defined)

    by_class = {
        "precision": ratio(hits, predicted, (predicted > 0) & (actual > 0)),
        "recall": ratio(hits, actual, actual > 0),
        "f1": ratio(2 * hits, predicted + actual, actual > 0),
        "roc_auc": bootstrap.resampled_roc_auc(_log_odds(rows.logits), labels, clusters, counts),
    }
    probabilities, losses = _probabilities_and_losses(rows)
    overall = {
        "accuracy": hits.sum(axis=1) / matrices.sum(axis=(1, 2)),
        "log_loss": bootstrap.resampled_mean(losses, clusters, counts),
        "expected_calibration_error": resampled_calibration_error(probabilities, labels, clusters, counts),
    }
    return _gathered(overall, by_class)


def _gathered(overall: dict[str, np.ndarray], by_class: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The main metrics under `MAIN_METRICS`, those of the classes under `class_<name>`."""
    macro = {name: by_class[name].mean(axis=-1) for name in CLASS_METRICS}
    return {
        **overall,
        "macro_precision": macro["precision"],
        "macro_recall": macro["recall"],
        "macro_f1": macro["f1"],
        "roc_auc": macro["roc_auc"],
        **{f"class_{name}": values for name, values in by_class.items()},
    }


def _probabilities_and_losses(rows: _Rows) -> tuple[np.ndarray, np.ndarray]:
    """float64 [N, C], and the cross-entropy of each row in nats, float64 [N]."""
    from scipy.special import log_softmax

    logs = log_softmax(rows.logits, axis=1)
    return np.exp(logs), -np.take_along_axis(logs, rows.labels[:, None], axis=1)[:, 0]


def _log_odds(logits: np.ndarray) -> np.ndarray:
    """float64 [N, C]: the log odds of each class. They rank rows as the probabilities do, but never round to 1."""
    from scipy.special import logsumexp

    if logits.shape[1] == 1:
        return logits
    others = [logsumexp(np.delete(logits, index, axis=1), axis=1) for index in range(logits.shape[1])]
    return logits - np.stack(others, axis=1)
