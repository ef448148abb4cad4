"""The tables of saliency runs: how they were measured, and the best method beside the best control."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import UNDEFINED, number, number_interval, percent
from experiments.tables.cells import NONE, table

Results = dict[str, dict[str, Any]]
"""Saliency results by the name of their run, such as "cnn, family"."""


def settings_table(results: Results) -> str:
    """What differs between the runs: the network's training, the passes of the methods, and what is missing."""
    head = ["run", "accuracy", "trained epochs", "removed pixels", "arithmetic", "gradients averaged", "RISE masks"]
    head += ["Score-CAM channels", "slices of the checks", "methods that are missing"]
    every = {row["method"] for result in results.values() for row in result["localisation"]["scores"]}
    every -= {"final_output", "final_difference"}
    rows = []
    for name, result in results.items():
        how, missing = result["saliency"], every - {row["method"] for row in result["localisation"]["scores"]}
        rows.append(
            [
                name,
                f"{percent(result['accuracy'])} of {result['test_slices']}",
                result["run"]["training"]["epochs"],
                how["baseline"],
                how["arithmetic"].replace("_", " "),
                how["samples"],
                how["rise_masks"],
                how["score_cam_channels"] or "all",
                result["faithfulness"]["slices"],
                ", ".join(sorted(missing)) or "none",
            ]
        )
    return (
        "Runs differ in more than their network. The checks are faithfulness and randomisation; on a handful of slices "
        f"they tell little.\n\n{table(head, rows)}"
    )


def saliency_table(results: Results, score: str = "average_precision") -> str:
    """For every mix of slices and for each class the method that is best beside the best control."""
    head = ["run", "slices", "of each class", "noise", "gradient", "best method", "mean (95%)", "best control"]
    head += ["better by (95%)", "best outline taught by masks"]
    rows = []
    for name, result in results.items():
        title = name
        for group, value in groups(result):
            for part in mixes(result, score, group, value):
                cells = _row(result, score, (group, value), part)
                rows.append([title, *cells, _best_outline(results, result, score, (group, value), part[0]["slices"])])
                title = ""
    return (
        f"{score.replace('_', ' ').capitalize()} of the map's pixels against the tumour mask, mean over slices; "
        "`gradient` is the paper's map, noise is chance. Methods of many passes explain drawn slices, as many of each "
        "class, and the others explain every test slice, of which glioma has most: their means do not compare, so they "
        "stand in rows of their own. The best method is the one with the largest difference to its best control; it is "
        "named after the fact, on these slices, which biases it upwards. Noise, gradient and controls are means "
        "without an interval. The last column is the highest mean of other networks that learned to outline from "
        "masks, on the same slices at their own size; it is chosen afterwards, has no interval, and is empty where "
        f"none was measured.\n\n{table(head, rows)}"
    )


def groups(result: dict[str, Any]) -> list[tuple[str, str]]:
    """All slices, and each class that was tested."""
    tested = {row["value"] for row in result["localisation"]["comparison"] if row["group"] == "class"}
    return [("all", "all"), *(("class", label) for label in result["classes"] if label in tested)]


def saliency_rows(result: dict[str, Any], name: str, **wanted: str) -> list[dict[str, Any]]:
    """The rows of a table of a saliency result that have the wanted values."""
    rows = result["localisation"][name]
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def mixes(result: dict[str, Any], score: str, group: str, value: str) -> list[list[dict[str, Any]]]:
    """The compared methods of a group, by the number of slices that they explain: the largest first.

    Methods that explain as many slices explain the same: `stratified` draws them by one seed.
    """
    rows = saliency_rows(result, "comparison", score=score, group=group, value=value)
    counts = sorted({row["slices"] for row in rows}, reverse=True)
    return [[row for row in rows if row["slices"] == count] for count in counts]


def of_each_class(result: dict[str, Any], method: str) -> str:
    """How many slices of each class a method explains, in the order of the classes."""
    rows = saliency_rows(result, "comparison", method=method, score="average_precision", group="class")
    found = {row["value"]: row["slices"] for row in rows}
    return ", ".join(f"{found[label]} {label}" for label in result["classes"] if label in found)


def _row(result: dict[str, Any], score: str, place: tuple[str, str], part: list[dict[str, Any]]) -> list[str]:
    """The cells of one mix of slices; noise and gradient are known where every slice is explained."""
    keys = {"score": score, "group": place[0], "value": place[1]}
    (noise,) = saliency_rows(result, "controls", method="noise", **keys)
    gradient = next((number(row["mean"]) for row in part if row["method"] == "gradient"), "")
    best = max(part, key=lambda row: row["difference"])
    patients = "" if best["patients"] is None else f" ({best['patients']} patients)"
    whole = best["slices"] == noise["slices"]
    kind = place[1] if place[0] == "class" else "every" if whole else "drawn"
    return [
        f"{kind}: {best['slices']}{patients}",
        of_each_class(result, best["method"]) if place[0] == "all" else "",
        number(noise["mean"]) if whole else "",
        gradient,
        best["method"],
        mean(best),
        f"{best['best_control']} {number(best['control_mean'])}",
        difference(best),
    ]


def _best_outline(results: Results, result: dict[str, Any], score: str, place: tuple[str, str], slices: int) -> str:
    """The highest mean of the maps of networks that outline, on the same split and as many slices; "" without any."""
    wanted = {"score": score, "group": place[0], "value": place[1], "method": "outline"}
    alike = [one for one in results.values() if one is not result and one["split"] == result["split"]]
    rows = [row for one in alike for row in saliency_rows(one, "comparison", **wanted) if row["slices"] == slices]
    return number(max(row["mean"] for row in rows)) if rows else ""


def mean(row: dict[str, Any] | None) -> str:
    """A method's mean with its interval; a dash where nothing was measured."""
    if row is None:
        return UNDEFINED
    bounds = number_interval(row.get("mean_ci95") or row.get("ci95"))
    return f"{number(row['mean'])} ({bounds})" if bounds else f"{number(row['mean'])} {NONE}"


def difference(row: dict[str, Any]) -> str:
    """By how much a method beats its best control, with the interval."""
    bounds = row["difference_ci95"]
    return f"{row['difference']:+.3f} " + (f"({bounds[0]:+.3f} to {bounds[1]:+.3f})" if bounds else NONE)
