"""Errors on data with a class without a tumour, told apart by stage: tumour or none, and which tumour."""

from __future__ import annotations

from typing import Any

import numpy as np

from btjax.readers.classes import NO_TUMOR
from experiments.tables.cells import table, with_interval
from experiments.tables.classifiers import run_name


def stages_table(runs: list[dict[str, Any]]) -> str:
    """A row for each run with a class without a tumour; empty where there is none.

    Example:
      >>> stages_table([])
      ''
    """
    runs = [run for run in runs if NO_TUMOR in run.get("classes", [])]
    if not runs:
        return ""
    head = ["protocol, seed", "tumour missed", "tumour where there is none", "another tumour"]
    rows = [[f"{run_name(run)}, {run['config']['seed']}", *map(str, _errors(run))] for run in runs]
    recalls = [
        [f"{run_name(run)}, {run['config']['seed']}", *(with_interval(one, "recall") for one in _classes(run).values())]
        for run in runs
    ]
    return "\n\n".join(
        (
            "Errors on test slices by stage:",
            table(head, rows),
            "Recall by class (95%):",
            table(["protocol, seed", *_classes(runs[0])], recalls),
        )
    )


def _classes(run: dict[str, Any]) -> dict[str, Any]:
    return run["test"]["per_class"]


def _errors(run: dict[str, Any]) -> tuple[int, int, int]:
    """How often a tumour was missed, one was seen where there is none, and one was taken for another."""
    matrix, none = np.array(run["test"]["confusion_matrix"]), run["classes"].index(NO_TUMOR)
    tumours = np.delete(np.delete(matrix, none, 0), none, 1)
    missed, false = matrix[:, none].sum() - matrix[none, none], matrix[none].sum() - matrix[none, none]
    return int(missed), int(false), int(tumours.sum() - np.trace(tumours))
