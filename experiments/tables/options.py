"""The table of runs that differ in their options: what each option gains, on validation rows and on test rows."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import duration, percent
from experiments.tables.cells import NONE, difference, estimate, option_flag, table, with_interval
from experiments.tables.classifiers import run_name

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
    labels = [" ".join(option_flag(name, one[name]) for name in differing if name in one) for one in options]
    places = [(label, run["config"]["seed"]) for label, run in zip(labels, runs, strict=True)]
    methods = list(dict.fromkeys(row["method"] for run in runs for row in run["maps"]))
    rows = []
    for place in dict.fromkeys(places):
        group = [run for run, own in zip(runs, places, strict=True) if own == place]
        rows += [[place[0], f"{run_name(run)}, seed {place[1]}", *_cells(run, methods)] for run in group]
        rows += [[place[0], f"{len(group)} folds together", *_together(group, methods)]] if len(group) > 1 else []
    head = [
        "options", "rows held out", "validation accuracy", "validation Dice", "test accuracy (95%)", "Dice (95%)",
        "most certain pixel in the tumour", *(f"pointing of {name} (95%), less the best control" for name in methods),
        "training",
    ]  # fmt: skip
    filled = [column for column in range(len(head)) if any(row[column] for row in rows)]
    same = {name: value for name, value in options[0].items() if name not in differing}
    shown = " ".join(option_flag(name, same[name]) for name in ("system", "image_size", "epochs") if name in same)
    outlined = next((one for one in map(outlines_of, runs) if one), None)
    unit = (outlined or runs[0]["test"])["interval"]["unit"]
    lead = (
        f"Protocol `{runs[0]['protocol']}`, intervals by {unit}; {shown}, and what the rows do not name is the same in "
        "all of them. Choose options by the validation columns only; they have no intervals. Outlines are scored on "
        "true masks."
    )
    kept = [[row[column] for column in filled] for row in rows]
    return f"{lead}\n\n{table([head[column] for column in filled], kept)}"


def _cells(run: dict[str, Any], methods: list[str]) -> list[str]:
    """What a run scored; empty where its network has no such score."""
    maps = {row["method"]: row for row in run["maps"]}
    outlines, validation = outlines_of(run), run["validation"] or {}
    seen = run.get("outlines_validation") or validation
    return [
        percent(validation["accuracy"]) if "accuracy" in validation else "",
        f"{seen['dice']['value']:.3f}" if "dice" in seen else "",
        "" if "accuracy" not in run["test"] else f"**{with_interval(run['test'], 'accuracy')}**",
        "" if outlines is None else estimate(outlines["dice"]),
        "" if outlines is None else estimate(outlines["pointing"]),
        *(_pointing(maps[name]) if name in maps else "" for name in methods),
        duration(run["training"]["seconds"]),
    ]


def _pointing(row: dict[str, Any]) -> str:
    """The share of maps whose highest value lies in the tumour, and its difference from that of the best control."""
    own = estimate({"value": row["mean"], "ci95": row["mean_ci95"]})
    return f"{own}, {difference(row['difference'], row['difference_ci95'])}"


def outlines_of(run: dict[str, Any]) -> dict[str, Any] | None:
    """How well a run's network outlines the tumours of the test rows; None for one that outlines none."""
    return run["test"] if "dice" in run["test"] else run.get("outlines")


def _together(runs: list[dict[str, Any]], methods: list[str]) -> list[str]:
    """The means over the slices of several folds; intervals would need the slices themselves."""

    def number(values: list[float | None], counts: list[int], form: str = f"{{:.3f}} {NONE}") -> str:
        if any(value is None for value in values):
            return ""
        return form.format(sum(n * float(value or 0) for n, value in zip(counts, values, strict=True)) / sum(counts))

    slices = [run["test"]["slices"] for run in runs]
    sides, held = [run["validation"] or {} for run in runs], [run["counts"]["validation"]["slices"] for run in runs]
    seen = [run.get("outlines_validation") or side for run, side in zip(runs, sides, strict=True)]
    outlines = [outlines_of(run) or {} for run in runs]
    maps = [{row["method"]: row for row in run["maps"]} for run in runs]
    return [
        number([side.get("accuracy") for side in sides], held, "{:.1%}"),
        number([side.get("dice", {}).get("value") for side in seen], held, "{:.3f}"),
        number([run["test"].get("accuracy") for run in runs], slices, f"**{{:.1%}}** {NONE}"),
        *(number([one.get(name, {}).get("value") for one in outlines], slices) for name in ("dice", "pointing")),
        *(
            number(
                [one.get(name, {}).get("mean") for one in maps], [one.get(name, {}).get("slices", 0) for one in maps]
            )
            for name in methods
        ),
        duration(sum(run["training"]["seconds"] for run in runs)),
    ]
