"""The table of classifiers' runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from btjax.reports.numbers import duration, interval, percent
from experiments.tables.cells import NONE, number_cell, table, with_interval

_HEAD = [
    "protocol",
    "seed",
    "test slices (patients)",
    "test accuracy (95%)",
    "lowest and highest fold",
    "by patient (95%)",
    "macro F1 (95%)",
    "log loss (95%)",
    "calibration error (95%)",
    "linear model",
    "class prior",
    "validation, which chose the checkpoint",
    "training took",
]

_UNKNOWN = "not kept"
"""Stands for a value that an older results file does not have."""


def classifier_table(runs: list[dict[str, Any]]) -> str:
    """A table of runs: one row each, or one for the folds of a protocol; then the means of those that share one."""
    rows = []
    by_protocol = {protocol: [run for run in runs if run["protocol"] == protocol] for protocol in _protocols(runs)}
    for protocol, group in by_protocol.items():
        for seed in dict.fromkeys(run["config"]["seed"] for run in group):
            of_seed = [run for run in group if run["config"]["seed"] == seed]
            rows += [_fold_row(protocol, of_seed)] if is_whole(of_seed) else [_run_row(run) for run in of_seed]
    notes = [
        f"Mean test accuracy of the {len(group)} `slice` runs: **{percent(mean_accuracy(group, 'test'))}** "
        "(none: their test rows overlap)."
        for protocol, group in by_protocol.items()
        if protocol == "slice" and len(group) > 1
    ]
    if any(not is_whole(group) and protocol != "slice" for protocol, group in by_protocol.items()):
        notes.append("Rows that name a fold are that single fold and seed, not a cross-validation.")
    if any(map(is_whole, by_protocol.values())):
        notes.append("Rows of all folds count every slice once; the range of the folds is no interval.")
    return "\n\n".join([table(_HEAD, rows), *notes])


def is_whole(runs: list[dict[str, Any]]) -> bool:
    """Whether runs are all folds of a protocol whose folds test every slice once."""
    folds = sorted(run["split"]["fold"] for run in runs)
    return runs[0]["protocol"] != "slice" and folds == list(range(runs[0]["split"]["folds"]))


def mean_accuracy(runs: list[dict[str, Any]], side: str) -> float:
    """The mean of some runs' accuracies on a side."""
    return sum(run[side]["accuracy"] for run in runs) / len(runs)


def _protocols(runs: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(run["protocol"] for run in runs))


def run_name(run: dict[str, Any]) -> str:
    """The protocol of a run, with its fold where that is one of several."""
    return run["protocol"] if run["protocol"] == "slice" else f"{run['protocol']}, fold {run['split']['fold']}"


def _run_row(run: dict[str, Any]) -> list[Any]:
    counts, test = run["counts"]["test"], run["test"]
    value, bounds = with_interval(test, "accuracy").split(" ", 1)
    return [
        run_name(run),
        run["config"]["seed"],
        _counted([counts["slices"]], [counts["patients"]]),
        f"**{value}** {bounds}",
        "",
        "" if test["by_patient"] is None else with_interval(test["by_patient"], "accuracy"),
        with_interval(test, "macro_f1"),
        number_cell(test, "log_loss") if "log_loss" in test else _UNKNOWN,
        with_interval(test, "expected_calibration_error") if "expected_calibration_error" in test else _UNKNOWN,
        *(percent(run["baselines"][name]["accuracy"]) for name in ("linear_model", "class_prior")),
        "" if run["validation"] is None else percent(run["validation"]["accuracy"]),
        duration(run["training"]["seconds"]),
    ]


def _counted(slices: list[int], patients: list[int | None]) -> str:
    """How many slices, and of how many patients, where these are known."""
    known = [one for one in patients if one is not None]
    return f"{sum(slices)} ({sum(known) if len(known) == len(patients) else 'unknown'})"


def _fold_row(protocol: str, runs: list[dict[str, Any]]) -> list[Any]:
    """One row for the folds of a protocol: every slice is tested once, accuracies are pooled over all of them."""
    slices = [run["test"]["slices"] for run in runs]
    patients = [run["counts"]["test"]["patients"] for run in runs]

    def pooled(values: list[Any], weights: list[int]) -> str:
        if None in values:
            return ""
        return percent(sum(n * value for n, value in zip(weights, values, strict=True)) / sum(weights))

    accuracies = [run["test"]["accuracy"] for run in runs]
    of_patients = [(run["test"]["by_patient"] or {}).get("accuracy") for run in runs]
    by_patient, validation = pooled(of_patients, patients), [run["validation"] for run in runs]
    return [
        f"{protocol}, {len(runs)} folds",
        runs[0]["config"]["seed"],
        _counted(slices, patients),
        f"**{pooled(accuracies, slices)}** {NONE}",
        interval([min(accuracies), max(accuracies)]),
        by_patient and f"{by_patient} {NONE}",
        f"{percent(macro_f1(np.sum([run['test']['confusion_matrix'] for run in runs], axis=0)))} {NONE}",
        _UNKNOWN,
        _UNKNOWN,
        *(
            pooled([run["baselines"][name]["accuracy"] for run in runs], slices)
            for name in ("linear_model", "class_prior")
        ),
        ""
        if None in validation
        else pooled([one["accuracy"] for one in validation], [one["slices"] for one in validation]),
        duration(sum(run["training"]["seconds"] for run in runs)),
    ]


def macro_f1(matrix: np.ndarray) -> float:
    """The mean of the classes' F1, of a confusion matrix: counts [true, predicted].

    Example:
      >>> macro_f1(np.array([[3, 1], [0, 4]])).round(3)
      np.float64(0.873)
    """
    return np.mean(2 * np.diag(matrix) / (matrix.sum(axis=0) + matrix.sum(axis=1)))
