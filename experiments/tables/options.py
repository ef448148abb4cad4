"""The table of runs that differ in their options: what each option gains, on validation rows and on test rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from btjax.reports.numbers import duration, percent
from experiments.tables.cells import NONE, difference, estimate, option_flag, points, table, with_interval
from experiments.tables.classifiers import run_name

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def settings(runs: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Indices of the runs, grouped by equal options and seed, in the order of the first of each group."""
    found: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        found.setdefault(repr((options_of(run["config"]), run["config"]["seed"])), []).append(number)
    return list(found.values())


def options_table(result: dict[str, Any]) -> str:
    """One row for each run, named by the options that differ among the runs; then a row for the folds of each.

    The last row of a setting of the options says what it gains on the first setting, over all its folds.
    """
    runs = result["by_options"]
    options = [options_of(run["config"]) for run in runs]
    labels, methods = _labels(options), list(dict.fromkeys(row["method"] for run in runs for row in run["maps"]))
    head = [
        "options", "rows held out", "validation accuracy", "validation Dice", "test accuracy (95%)", "Dice (95%)",
        "most certain pixel in the tumour", *(f"pointing of {name} (95%), less the best control" for name in methods),
        "training", "gain on validation rows, points (95%)", "gain on test rows, points (95%)",
    ]  # fmt: skip
    rows = _rows(result, labels, methods)
    filled = [column for column in range(len(head)) if any(row[column] for row in rows)]
    kept = [[row[column] for column in filled] for row in rows]
    return f"{_lead(result, options)}\n\n{table([head[column] for column in filled], kept)}"


def _differing(options: Sequence[dict[str, Any]]) -> list[str]:
    """The options that are not the same in all runs."""
    names = dict.fromkeys(name for one in options for name in one)
    return [name for name in names if any(one.get(name) != options[0].get(name) for one in options)]


def _labels(options: Sequence[dict[str, Any]]) -> list[str]:
    """A name for each run: the first's values of all options that differ, and of another run what differs from them."""
    first, differing = options[0], _differing(options)
    named = [differing if one == first else [n for n in differing if one.get(n) != first.get(n)] for one in options]
    return [" ".join(option_flag(n, one.get(n, "")) for n in own) for one, own in zip(options, named, strict=True)]


def _lead(result: dict[str, Any], options: Sequence[dict[str, Any]]) -> str:
    """What stands above the table."""
    runs, differing = result["by_options"], _differing(options)
    same = {name: value for name, value in options[0].items() if name not in differing}
    shown = " ".join(option_flag(name, same[name]) for name in ("system", "image_size", "epochs") if name in same)
    outlined = next((one for one in map(outlines_of, runs) if one), None)
    unit = (outlined or runs[0]["test"])["interval"]["unit"]
    lead = (
        f"Protocol `{runs[0]['protocol']}`, intervals by {unit}; {shown}, and what a row does not name is as in the "
        "first row. Choose options by the validation columns only; accuracy and Dice have no intervals there."
    )
    lead += " Outlines are scored on true masks." if outlined else ""
    if not result.get("gains"):
        return lead
    chosen = " Each run's epoch was chosen on its validation rows." if "val" in options[0].get("select", "") else ""
    return lead + (
        " Gains are paired differences in accuracy over the first row's options, in percentage points, all folds "
        "together, with intervals by family of patients, or by slice where patients are not known. These cover other "
        f"patients, not another seed, and are not corrected for the number of rows.{chosen}"
    )


def _rows(result: dict[str, Any], labels: Sequence[str], methods: list[str]) -> list[list[str]]:
    """The table's rows, with every column."""
    runs = result["by_options"]
    gains = {tuple(one["runs"]): one for one in result.get("gains", [])}
    rows = []
    for numbers in settings(runs):
        group, label = [runs[number] for number in numbers], labels[numbers[0]]
        told = [
            [label, f"{run_name(run)}, seed {run['config']['seed']}", *_cells(run, methods), "", ""] for run in group
        ]
        if len(group) > 1:
            told.append([label, f"{len(group)} folds together", *_together(group, methods), "", ""])
        if tuple(numbers) in gains:
            told[-1][-2:] = _gained(gains[tuple(numbers)])
        rows += told
    return rows


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


def _gained(gain: dict[str, Any]) -> list[str]:
    """What a setting gains on validation rows and on test rows; empty where there are none."""
    return ["" if one is None else points(one["value"], one["ci95"]) for one in (gain["validation"], gain["test"])]


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
