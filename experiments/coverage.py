"""How often 95% intervals hold the truth: a simulation of patients whose slices resemble each other.

    python -m experiments.coverage

writes experiments/results/coverage.json, from which `python -m experiments.results` writes a table. It takes minutes.

Patients have the numbers of slices of the 233 patients of Cheng's slices, drawn without replacement. Accuracy: each
patient's chance of a correct slice is drawn from a beta distribution whose mean is the truth; its intraclass
correlation (ICC) says how alike a patient's slices are. Metrics of three classes: logits are the sum of the class, a
draw of the patient and a draw of the slice; the truth is the metric of 10,000 patients.
"""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

import numpy as np

from btjax.base.files import write_json
from btjax.evaluation.intervals import Clusters
from btjax.evaluation.metrics import Rows, left_out_values, measure
from experiments.coverage_candidates import CANDIDATES

PATIENTS_OF_SIZE = {
    1: 7, 2: 10, 3: 11, 4: 12, 5: 8, 6: 10, 7: 7, 8: 6, 9: 8, 10: 11, 11: 6, 12: 14, 13: 11, 14: 6, 15: 20, 16: 8,
    17: 11, 18: 12, 19: 10, 20: 6, 21: 5, 22: 8, 23: 6, 24: 5, 25: 4, 26: 4, 28: 1, 29: 1, 31: 1, 34: 1, 35: 1, 37: 1,
    38: 1,
}  # fmt: skip
"""Slices of a patient -> patients with so many, of the 233 of Cheng's slices."""

SIZES = np.repeat(list(PATIENTS_OF_SIZE), list(PATIENTS_OF_SIZE.values()))
PATIENTS = (9, 20, 46, 100, 233)
CORRELATIONS = (0.1, 0.3, 0.5)
TRUTHS = (0.85, 0.9, 0.93, 0.97, 0.99)
METRICS = ("accuracy", "macro_recall", "macro_f1", "mcc", "roc_auc", "log_loss", "brier_score")
CLASS_SHARES = (0.23, 0.46, 0.31)
_DRAWS = 20  # of cluster sizes
_POPULATION = 10_000


def accuracy_coverage(patients: int, correlation: float, truth: float, repeats: int) -> dict[str, dict[str, float]]:
    """By candidate: the share of intervals that hold the truth, their mean width, and the share without a width."""
    random = np.random.default_rng([patients, round(100 * correlation), round(100 * truth)])
    first, second = truth * (1 / correlation - 1), (1 - truth) * (1 / correlation - 1)
    bounds = {name: [] for name in CANDIDATES}
    for _ in range(_DRAWS):
        sizes = random.choice(SIZES, patients, replace=False)
        chances = random.beta(first, second, size=(repeats // _DRAWS, patients))
        rows, hits = np.broadcast_to(sizes.astype(float), chances.shape), random.binomial(sizes, chances).astype(float)
        for name, candidate in CANDIDATES.items():
            bounds[name].append(np.stack(candidate(rows, hits)))
    found = {}
    for name, parts in bounds.items():
        low, high = np.concatenate(parts, axis=1)
        holds = (low <= truth) & (truth <= high)
        numbers = {"coverage": holds, "width": high - low, "without_width": high <= low}
        found[name] = {key: round(float(values.mean()), 4) for key, values in numbers.items()}
    return found


def simulated_rows(random: np.random.Generator, sizes: np.ndarray, *, by_patient: bool = False) -> Rows:
    """Rows of patients of one class each; half of the noise's variance is the patient's."""
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    labels = random.choice(3, size=len(sizes), p=CLASS_SHARES)
    of_patients, of_slices = (0.5**0.5 * random.normal(size=(count, 3)) for count in (len(sizes), len(clusters)))
    logits = 3 * (2 * np.eye(3)[labels[clusters]] + of_patients[clusters] + of_slices)
    if not by_patient:
        return Rows(logits, labels[clusters], Clusters(clusters))
    means = Clusters(clusters).sums(logits) / sizes[:, None]
    return Rows(means, labels, Clusters(np.arange(len(sizes))))


def metric_coverage(patients: int, repeats: int, *, by_patient: bool) -> dict[str, dict[str, float]]:
    """By metric: its truth, coverage and mean width, over the data sets that define an interval."""
    random = np.random.default_rng([patients, by_patient])
    population = simulated_rows(random, random.choice(SIZES, _POPULATION), by_patient=by_patient)
    # One cluster: only the values of all rows are wanted.
    whole = Rows(population.logits, population.labels, Clusters(np.zeros(len(population.labels), np.int64)))
    values, _ = left_out_values(whole)
    truths = {name: float(values[name][0]) for name in METRICS}
    bounds = {name: [] for name in METRICS}
    for _ in range(repeats):
        sizes = random.choice(SIZES, patients, replace=False)
        found = measure(simulated_rows(random, sizes, by_patient=by_patient))
        for name in METRICS:
            bounds[name] += [found.main[name].ci95] if found.main[name].ci95 else []
    result = {}
    for name, pairs in bounds.items():
        low, high = np.array(pairs).T
        holds = (low <= truths[name]) & (truths[name] <= high)
        numbers = {"truth": truths[name], "coverage": holds.mean(), "width": (high - low).mean()}
        result[name] = {key: round(float(value), 4) for key, value in numbers.items()}
    return result


def simulate(repeats: int, metric_repeats: int) -> dict[str, Any]:
    """The contents of coverage.json."""
    accuracy = [
        {"patients": patients, "correlation": correlation, "truth": truth}
        | {"intervals": accuracy_coverage(patients, correlation, truth, repeats)}
        for patients in PATIENTS
        for correlation in CORRELATIONS
        for truth in TRUTHS
    ]
    metrics = [
        {"patients": patients, "by_patient": by_patient}
        | {"metrics": metric_coverage(patients, metric_repeats, by_patient=by_patient)}
        for patients in (20, 46, 233)
        for by_patient in (False, True)
    ]
    return {"repeats": repeats, "metric_repeats": metric_repeats, "coverage": accuracy, "metrics": metrics}


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=2000, help="simulated data sets of each setting of accuracy")
    parser.add_argument("--metric_repeats", type=int, default=500, help="the same of the metrics of three classes")
    results = pathlib.Path(__file__).resolve().parent / "results" / "coverage.json"
    parser.add_argument("--out", type=pathlib.Path, default=results, help="the results file")
    arguments = parser.parse_args()
    write_json(arguments.out, simulate(arguments.repeats, arguments.metric_repeats), seal=False)


if __name__ == "__main__":
    main()
