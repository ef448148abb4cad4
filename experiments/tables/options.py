"""The table of runs that differ in their options: what each option gains, on validation rows and on test rows."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import duration, percent
from experiments.tables.cells import NONE, table, with_interval
from experiments.tables.classifiers import run_name
from experiments.tables.segmenter import estimate

HELD_OUT = ("protocol", "fold", "folds", "split_seed")
"""Options that say which rows are held out, not how a network learns."""


def options_of(config: dict[str, Any]) -> dict[str, Any]:
    """How a network learns, by option: a run's config without its seed and without which rows are held out.

    Example:
      >>> options_of({"seed": 0, "system": "cnn", "data": {"fold": 1, "image_size": 64}, "extra": {"weight": 0.5}})
      {'system': 'cnn', 'image_size': 64, 'weight': 0.5}
    """
    found = {"system": config["system"]}
    for values in config.values():
        if isinstance(values, dict):
            found |= {name: value for name, value in values.items() if name not in HELD_OUT}
    return found


def options_table(result: dict[str, Any]) -> str:
    """One row for each run, named by the options that differ among the runs; then a row for the folds of each."""
    runs = result["by_options"]
    options = [options_of(run["config"]) for run in runs]
    names = list(dict.fromkeys(name for one in options for name in one))
    differing = [name for name in names if any(one.get(name) != options[0].get(name) for one in options)]
    labels = [" ".join(_flag(name, one[name]) for name in differing if name in one) for one in options]
    methods = list(dict.fromkeys(row["method"] for run in runs for row in run["maps"]))
    rows = []
    for label in dict.fromkeys(labels):
        group = [run for run, own in zip(runs, labels, strict=True) if own == label]
        rows += [[label, run_name(run), *_cells(run, methods)] for run in group]
        rows += [[label, f"{len(group)} folds together", *_together(group, methods)]] if len(group) > 1 else []
    head = [
        "options", "rows held out", "validation", "test accuracy (95%)", "Dice (95%)",
        "most certain pixel in the tumour", *(f"pointing of {name}, less the best control" for name in methods),
        "training",
    ]  # fmt: skip
    filled = [column for column in range(len(head)) if any(row[column] for row in rows)]
    lead = (
        f"{runs[0]['title']}: {runs[0]['counts']['train']['slices']} training slices of `{runs[0]['protocol']}`, "
        f"{runs[0]['config']['training']['epochs']} epochs, {runs[0]['config']['data']['image_size']} px; what the "
        "rows do not name is the same in all of them. Validation, the accuracy or the Dice that chose the checkpoint, "
        "is what an option may be chosen by. One seed each."
    )
    kept = [[row[column] for column in filled] for row in rows]
    return f"{lead}\n\n{table([head[column] for column in filled], kept)}"


def _flag(name: str, value: Any) -> str:
    shown = ",".join(map(str, value)) if isinstance(value, list) else value
    return f"`--{'no' * (value is False)}{name}{'' if isinstance(value, bool) else f'={shown}'}`"


def _cells(run: dict[str, Any], methods: list[str]) -> list[str]:
    """What a run scored; empty where its network has no such score."""
    maps = {row["method"]: row for row in run["maps"]}
    shares = [
        "" if name not in maps else f"{estimate(_estimate(maps[name], 'mean'))}, {maps[name]['difference']:+.3f}"
        for name in methods
    ]
    outlines = outlines_of(run)
    return [
        validation_of(run),
        "" if "accuracy" not in run["test"] else f"**{with_interval(run['test'], 'accuracy')}**",
        "" if outlines is None else estimate(outlines["dice"]),
        "" if outlines is None else estimate(outlines["pointing"]),
        *shares,
        duration(run["training"]["seconds"]),
    ]


def validation_of(run: dict[str, Any]) -> str:
    """The accuracy or the Dice of a run's validation rows; empty where it has none."""
    scores = run["validation"]
    if scores is None:
        return ""
    return percent(scores["accuracy"]) if "accuracy" in scores else f"{scores['dice']['value']:.3f}"


def outlines_of(run: dict[str, Any]) -> dict[str, Any] | None:
    """How well a run's network outlines the tumours of the test rows; None for one that outlines none."""
    return run["test"] if "dice" in run["test"] else run.get("outlines")


def _estimate(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {"value": row[name], "ci95": row[f"{name}_ci95"]}


def _together(runs: list[dict[str, Any]], methods: list[str]) -> list[str]:
    """What the slices of several folds score together, without intervals: the folds share no test slice."""
    slices = [run["test"]["slices"] for run in runs]

    def pooled(values: list[float | None]) -> float | None:
        if any(value is None for value in values):
            return None
        return sum(n * float(value or 0) for n, value in zip(slices, values, strict=True)) / sum(slices)

    def number(values: list[float | None]) -> str:
        value = pooled(values)
        return "" if value is None else f"{value:.3f} {NONE}"

    accuracy = pooled([run["test"].get("accuracy") for run in runs])
    outlines = [outlines_of(run) or {} for run in runs]
    validation = [run["validation"] and run["validation"].get("accuracy") for run in runs]
    pointing = [{row["method"]: row for row in run["maps"]} for run in runs]
    return [
        "" if None in validation else percent(sum(validation) / len(runs)),
        "" if accuracy is None else f"**{percent(accuracy)}** {NONE}",
        *(number([one[name]["value"] if one else None for one in outlines]) for name in ("dice", "pointing")),
        *(number([one[name]["mean"] if name in one else None for one in pointing]) for name in methods),
        duration(sum(run["training"]["seconds"] for run in runs)),
    ]
