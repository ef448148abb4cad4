"""The classification report: every number that a results table of a classifier needs, with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax, logsumexp
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support, roc_auc_score

from btjax.evaluation import bootstrap
from btjax.evaluation.calibration import expected_calibration_error

MAIN_METRICS = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "roc_auc", "log_loss")
"""The metrics of a report that carry an interval under `<name>_ci95`."""

CLASS_METRICS = ("precision", "recall", "f1", "roc_auc")
"""The metrics of each class that carry an interval under `<name>_ci95`."""


def classification_report(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    classes: Sequence[str],
    patients: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict:
    """Scores a classifier on every row, with 95% bootstrap intervals that resample patients.

    Undefined values are None, never 0: every metric of a class without rows; the precision of a class never predicted;
    a macro average over classes of which one is undefined; an interval with fewer than two clusters, or of a metric
    that more than a tenth of the resamples leave undefined. F1 is 2 TP / (2 TP + FP + FN): 0, and defined, for a class
    that has rows and is never predicted. A prediction is the class of the highest logit, the first of equals.

    Args:
      logits: float [N, C], finite.
      labels: int [N], true classes in [0, C).
      classes: C class names, in the order of the labels.
      patients: str [N], the patient of each row, or None where no ids exist; then single rows are resampled, and the
        intervals are too narrow if several rows show one patient.
      resamples: the number of bootstrap resamples.
      seed: of the resampling.

    Returns:
      A dict of plain Python values, ready for `json.dumps`: `slices`, `patients` (int or None), `accuracy`,
      `macro_precision`, `macro_recall`, `macro_f1`, `roc_auc` (one-vs-rest, mean over classes), `log_loss` (nats),
      each in [0, 1] but the last and each with `<name>_ci95` [low, high]; `expected_calibration_error` (15 bins);
      `per_class`: name -> `precision`, `recall`, `f1`, `roc_auc`, with `<name>_ci95`, and `support`;
      `confusion_matrix` (rows true, columns predicted, order of `classes`); `interval`: `method`, `resamples`, `seed`,
      `unit` ('patient' or 'slice') and `units`; `by_patient`: the same numbers for one prediction per patient, the
      mean of the logits of the patient's rows, or None without ids. A patient id with rows of two classes counts
      there once for each (`predictions` is then larger than `patients`).

    Raises:
      ValueError: no rows, shapes that disagree, a label outside [0, C), or logits that are not finite.
    """
    logits, labels, patients = _checked(logits, labels, len(classes), patients)
    unit = "slice" if patients is None else "patient"
    clusters = np.arange(len(labels)) if patients is None else np.unique(patients, return_inverse=True)[1]
    number_of_patients = None if patients is None else int(clusters.max()) + 1
    settings = {"classes": classes, "resamples": resamples, "seed": seed, "unit": unit}
    report = {"slices": len(labels), "patients": number_of_patients, **_scores(logits, labels, clusters, **settings)}
    report["by_patient"] = None
    if patients is not None:
        patient_rows = _mean_by_patient(logits, labels, clusters)
        sizes = {"predictions": len(patient_rows[1]), "patients": number_of_patients}
        report["by_patient"] = {**sizes, **_scores(*patient_rows, **settings)}
    return report


def _checked(logits, labels, classes: int, patients) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    logits = np.asarray(logits, dtype=np.float64)
    labels = np.asarray(labels)
    if logits.ndim != 2 or logits.shape[1] != classes or len(logits) == 0:
        raise ValueError(f"logits must be [N, {classes}] with N at least 1, found shape {logits.shape}")
    if labels.shape != logits.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers [{len(logits)}], found {labels.dtype} {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must lie in [0, {classes}), found {labels.min()} to {labels.max()}")
    bad = int((~np.isfinite(logits)).any(axis=1).sum())
    if bad:
        raise ValueError(f"logits must be finite, found {bad} of {len(logits)} rows that are not")
    if patients is not None:
        patients = np.asarray(patients).astype(str)
        if patients.shape != labels.shape:
            raise ValueError(f"patients must be [{len(labels)}], found {patients.shape}")
    return logits, labels.astype(np.int64), patients


def _mean_by_patient(
    logits: np.ndarray, labels: np.ndarray, clusters: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One row for each patient and class: mean logits, label, and the patient's cluster."""
    classes = logits.shape[1]
    keys, rows = np.unique(clusters * classes + labels, return_inverse=True)
    sums = np.zeros((len(keys), classes))
    np.add.at(sums, rows, logits)
    return sums / np.bincount(rows)[:, None], keys % classes, keys // classes


def _scores(logits, labels, clusters, *, classes: Sequence[str], resamples: int, seed: int, unit: str) -> dict:
    """Point values, intervals and the confusion matrix of one set of predictions."""
    points = _point_values(logits, labels)
    units = int(clusters.max()) + 1
    samples = None
    if units > 1:
        samples = _resampled_values(logits, labels, clusters, bootstrap.resampled_counts(units, resamples, seed))

    def with_interval(name: str, index: int | None = None) -> dict:
        value = points[name] if index is None else points[name][index]
        interval = None
        if samples is not None and np.isfinite(value):
            interval = bootstrap.percentile_interval(samples[name] if index is None else samples[name][:, index])
        return {"value": _number(value), "ci95": interval}

    report = {}
    for name in MAIN_METRICS:
        entry = with_interval(name)
        report[name], report[f"{name}_ci95"] = entry["value"], entry["ci95"]
    log_probabilities = log_softmax(logits, axis=1)
    report["expected_calibration_error"] = expected_calibration_error(np.exp(log_probabilities), labels)
    report["per_class"] = {}
    for index, name in enumerate(classes):
        row = {}
        for metric in CLASS_METRICS:
            entry = with_interval(f"class_{metric}", index)
            row[metric], row[f"{metric}_ci95"] = entry["value"], entry["ci95"]
        report["per_class"][name] = {**row, "support": int((labels == index).sum())}
    matrix = confusion_matrix(labels, logits.argmax(axis=1), labels=np.arange(len(classes)))
    report["confusion_matrix"] = matrix.tolist()
    report["interval"] = {
        "method": "percentile bootstrap",
        "resamples": resamples,
        "seed": seed,
        "unit": unit,
        "units": units,
    }
    return report


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _point_values(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray | float]:
    """The metrics of the rows as they are, NaN where undefined; keys as in `_resampled_values`."""
    classes = logits.shape[1]
    predictions = logits.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, labels=np.arange(classes), zero_division=np.nan
    )
    scores = _log_odds(logits)
    areas = np.full(classes, np.nan)
    for index in range(classes):
        if 0 < support[index] < len(labels):
            areas[index] = roc_auc_score(labels == index, scores[:, index])
    # scikit-learn calls the precision and F1 of a class without rows 0 once it is predicted: nothing could be found.
    precision, f1 = np.where(support > 0, [precision, f1], np.nan)
    by_class = {"precision": precision, "recall": recall, "f1": f1, "roc_auc": areas}
    losses = -np.take_along_axis(log_softmax(logits, axis=1), labels[:, None], axis=1)
    return _gathered(accuracy_score(labels, predictions), losses.mean(), by_class)


def _resampled_values(
    logits: np.ndarray, labels: np.ndarray, clusters: np.ndarray, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """The metrics of every resample: [R], those of the classes [R, C], NaN where undefined."""
    classes = logits.shape[1]
    matrices = bootstrap.resampled_confusion(labels, logits.argmax(axis=1), classes, clusters, counts)
    hits = np.diagonal(matrices, axis1=1, axis2=2).astype(np.float64)
    predicted, actual = matrices.sum(axis=1), matrices.sum(axis=2)

    def ratio(numerator: np.ndarray, denominator: np.ndarray, defined: np.ndarray) -> np.ndarray:
        return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=defined)

    by_class = {
        "precision": ratio(hits, predicted, (predicted > 0) & (actual > 0)),
        "recall": ratio(hits, actual, actual > 0),
        "f1": ratio(2 * hits, predicted + actual, actual > 0),
        "roc_auc": bootstrap.resampled_roc_auc(_log_odds(logits), labels, clusters, counts),
    }
    losses = -np.take_along_axis(log_softmax(logits, axis=1), labels[:, None], axis=1)[:, 0]
    accuracy = hits.sum(axis=1) / matrices.sum(axis=(1, 2))
    return _gathered(accuracy, bootstrap.resampled_mean(losses, clusters, counts), by_class)


def _gathered(accuracy, log_loss, by_class: dict[str, np.ndarray]) -> dict:
    """The main metrics under `MAIN_METRICS`, those of the classes under `class_<name>`."""
    macro = {name: by_class[name].mean(axis=-1) for name in CLASS_METRICS}
    return {
        "accuracy": accuracy,
        "macro_precision": macro["precision"],
        "macro_recall": macro["recall"],
        "macro_f1": macro["f1"],
        "roc_auc": macro["roc_auc"],
        "log_loss": log_loss,
        **{f"class_{name}": values for name, values in by_class.items()},
    }


def _log_odds(logits: np.ndarray) -> np.ndarray:
    """float64 [N, C]: the log odds of each class. They rank rows as the probabilities do, but never round to 1."""
    if logits.shape[1] == 1:
        return logits
    others = [logsumexp(np.delete(logits, index, axis=1), axis=1) for index in range(logits.shape[1])]
    return logits - np.stack(others, axis=1)
