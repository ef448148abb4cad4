"""The table of classifiers' runs."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import interval, number, percent
from experiments.tables.cells import bounds, with_interval


def classifier_table(runs: list[dict[str, Any]]) -> str:
    """A table of runs: one row each, or one for the folds of a protocol; then the means of those that share one."""
    lines = [
        "| protocol | seed | test slices (patients) | test accuracy (95%) | by patient (95%) | macro F1 (95%) "
        "| log loss | calibration error | validation | linear model | class prior | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    by_protocol = {protocol: [run for run in runs if run["protocol"] == protocol] for protocol in _protocols(runs)}
    for protocol, group in by_protocol.items():
        for seed in dict.fromkeys(run["config"]["seed"] for run in group):
            of_seed = [run for run in group if run["config"]["seed"] == seed]
            lines += [_fold_row(protocol, of_seed)] if is_whole(of_seed) else [_run_row(run) for run in of_seed]
    for protocol, group in by_protocol.items():
        if protocol == "slice" and len(group) > 1:
            test, held_out, validation = (mean_accuracy(group, side) for side in ("test", "held_out", "validation"))
            lines.append(
                f"\nMean of the {len(group)} `{protocol}` runs: **{percent(test)}** test, {percent(validation)} "
                f"validation, {percent(held_out)} over both (validation chose the checkpoint)."
            )
    if any(not is_whole(group) and protocol != "slice" for protocol, group in by_protocol.items()):
        lines.append("\nRows that name a fold are that single fold and seed, not a cross-validation.")
    return "\n".join(lines)


def _protocols(runs: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(run["protocol"] for run in runs))


def _run_row(run: dict[str, Any]) -> str:
    counts, test = run["counts"]["test"], run["test"]
    cells = [
        run_name(run),
        run["config"]["seed"],
        f"{counts['slices']} ({counts['patients']})",
        f"**{percent(test['accuracy'])}**{bounds(test, 'accuracy')}",
        "" if test["by_patient"] is None else with_interval(test["by_patient"], "accuracy"),
        with_interval(test, "macro_f1"),
        _optional(test, "log_loss"),
        _optional(test, "expected_calibration_error", percent),
        percent(run["validation"]["accuracy"]),
        *(percent(run["baselines"][name]["accuracy"]) for name in ("linear_model", "class_prior")),
        f"{run['training']['seconds'] / 60:.0f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _fold_row(protocol: str, runs: list[dict[str, Any]]) -> str:
    """One row for the folds of a protocol: every slice is tested once, accuracies are pooled over all of them."""
    slices = [run["test"]["slices"] for run in runs]
    patients = [run["counts"]["test"]["patients"] for run in runs]

    def pooled(values: list[Any], weights: list[int]) -> str:
        if None in values:
            return ""
        return percent(sum(n * value for n, value in zip(weights, values, strict=True)) / sum(weights))

    accuracies = [run["test"]["accuracy"] for run in runs]
    of_patients = [(run["test"]["by_patient"] or {}).get("accuracy") for run in runs]
    cells = [
        f"{protocol}, {len(runs)} folds",
        runs[0]["config"]["seed"],
        f"{sum(slices)} ({sum(patients)})",
        f"**{pooled(accuracies, slices)}** (folds {interval([min(accuracies), max(accuracies)])}, no interval)",
        pooled(of_patients, patients),
        pooled([run["test"]["macro_f1"] for run in runs], slices),
        "",
        "",
        pooled([run["validation"]["accuracy"] for run in runs], slices),
        *(
            pooled([run["baselines"][name]["accuracy"] for run in runs], slices)
            for name in ("linear_model", "class_prior")
        ),
        f"{sum(run['training']['seconds'] for run in runs) / 60:.0f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _optional(scores: dict[str, Any], name: str, form: Any = number) -> str:
    """A value that older files do not have."""
    return form(scores[name]) if name in scores else ""


def is_whole(runs: list[dict[str, Any]]) -> bool:
    """Whether runs are all folds of a protocol whose folds test every slice once."""
    folds = sorted(run["split"]["fold"] for run in runs)
    return runs[0]["protocol"] != "slice" and folds == list(range(runs[0]["split"]["folds"]))


def mean_accuracy(runs: list[dict[str, Any]], side: str) -> float:
    """The mean of some runs' accuracies on a side."""
    return sum(run[side]["accuracy"] for run in runs) / len(runs)


def run_name(run: dict[str, Any]) -> str:
    """The protocol of a run, with its fold where that is one of several."""
    return run["protocol"] if run["protocol"] == "slice" else f"{run['protocol']}, fold {run['split']['fold']}"
