"""The table of segmenters: how well predicted outlines agree with true ones."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import duration
from experiments.tables.cells import NONE, estimate, table


def segmenter_table(result: dict[str, Any]) -> str:
    """One row for each run; its test slices."""
    runs = result["outlined"]
    total = sum(run["test"]["slices"] for run in runs)
    mean = sum(run["test"]["slices"] * run["test"]["dice"]["value"] for run in runs) / total
    chosen = runs[0]["checkpoint"]["criterion"].replace("_", " ")
    lead = (
        f"Test slices, intervals by {runs[0]['test']['interval']['unit']}; the checkpoint was chosen by {chosen}. Of "
        f"all {total} slices together the mean Dice is {mean:.3f} {NONE}."
    )
    return f"{lead}\n\n{_outlines([(run, run['test']) for run in runs])}"


def ladder_outlines(rows: list[tuple[str, dict[str, Any]]]) -> str:
    """The outlines of the runs of each protocol together, by its name; empty where the network outlines nothing."""
    if not rows:
        return ""
    lead = f"Outlines of the same predictions, intervals by {rows[0][1]['interval']['unit']}:"
    return f"{lead}\n\n{_scores_table(['protocol', 'predictions'], rows)}"


def joint_table(runs: list[dict[str, Any]]) -> str:
    """The outlines of networks that classify by them; empty where no run has any."""
    outlined = [(run, run["outlines"]) for run in runs if run.get("outlines")]
    if not outlined:
        return ""
    unit = outlined[0][1]["interval"]["unit"]
    return f"Outlines of the same test slices, intervals by {unit}:\n\n{_outlines(outlined)}"


def _outlines(runs: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """A row for each run and the scores of its outlines."""
    rows = [
        (f"`{run['protocol']}`, fold {run['split']['fold']}, seed {run['config']['seed']}", scores)
        for run, scores in runs
    ]
    return _scores_table(["run", "test slices"], rows, [duration(run["training"]["seconds"]) for run, _ in runs])


def _scores_table(
    first: list[str], outlines: list[tuple[str, dict[str, Any]]], training: list[str] | None = None
) -> str:
    """A row for each named scores of outlines, with the time of training where it is known; `first` heads it."""
    classes = list(dict.fromkeys(name for _, scores in outlines for name in scores["by_class"]))
    rows = [
        [
            name,
            scores["slices"],
            f"**{estimate(scores['dice'])}**",
            *(estimate(scores["by_class"][name]["dice"]) if name in scores["by_class"] else "" for name in classes),
            estimate(scores["pointing"]),
            estimate(scores["empty"]),
        ]
        for name, scores in outlines
    ]
    head = [*first, "Dice (95%)", *(f"Dice of {name}" for name in classes)]
    head += ["most certain pixel in the tumour", "without an outline"]
    if training is None:
        return table(head, rows)
    return table([*head, "training"], [[*row, time] for row, time in zip(rows, training, strict=True)])


def ceiling_lines(runs: list[dict[str, Any]]) -> str:
    """What a network reaches that learned from masks: what maps could reach on these slices.

    Args:
      runs: of segmenters, as their results file holds them.
    """
    if not runs:
        return ""
    lines = [
        f"- `{run['protocol']}`, fold {run['split']['fold']}, {run['test']['slices']} slices: the most certain pixel "
        f"lies in the tumour in {estimate(run['test']['pointing'])} of them; Dice of the outline "
        f"{estimate(run['test']['dice'])}"
        for run in runs
    ]
    lead = (
        "For comparison, a small segmenter (`segmenter_cpu.flags`), trained on the masks of other patients, on its "
        "test slices:"
    )
    return f"{lead}\n\n" + "\n".join(lines)
