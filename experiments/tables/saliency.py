"""The tables of saliency runs."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import number, percent


def saliency_table(results: dict[str, dict[str, Any]], score: str = "average_precision") -> str:
    """A table of saliency runs: for all test slices and each class the best method beside the best control."""
    lines = [
        f"{score.replace('_', ' ').capitalize()} of the map's pixels against the tumour mask, mean over test slices; "
        "`gradient` is the paper's map, noise is chance. The method that beats its best control by most is named after "
        "the fact, on these slices, which flatters it. Methods of many passes explain a drawn part of the slices, as "
        "many of each class; the difference and its interval are always of the same slices. Intervals resample "
        "patients.\n",
        "| run | removed pixels | slices | noise | gradient | best method | its slices | mean | best control "
        "| better by (95%) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        title = f"{name}: {result['test_slices']} slices, accuracy {percent(result['accuracy'])}"
        baseline = result["saliency"]["baseline"]
        tested = {row["value"] for row in result["localisation"]["comparison"] if row["group"] == "class"}
        for group, value in (("all", "all"), *(("class", label) for label in result["classes"] if label in tested)):
            lines.append(f"| {title} | {baseline} | {_saliency_row(result, score, group, value)} |")
            title = baseline = ""
    return "\n".join(lines)


def _saliency_row(result: dict[str, Any], score: str, group: str, value: str) -> str:
    keys = {"score": score, "group": group, "value": value}
    (noise,) = saliency_rows(result, "controls", method="noise", **keys)
    compared = saliency_rows(result, "comparison", **keys)
    gradient = next((number(row["mean"]) for row in compared if row["method"] == "gradient"), "")
    best = max(compared, key=lambda row: row["difference"])
    patients = "" if best["patients"] is None else f" ({best['patients']} patients)"
    return (
        f"{value} | {number(noise['mean'])} | {gradient} | {best['method']} | {best['slices']}{patients} "
        f"| {number(best['mean'])} | {best['best_control']} {number(best['control_mean'])} | {difference(best)}"
    )


def saliency_rows(result: dict[str, Any], table: str, **wanted: str) -> list[dict[str, Any]]:
    """The rows of a table of a saliency result that have the wanted values."""
    rows = result["localisation"][table]
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def difference(row: dict[str, Any]) -> str:
    """By how much a method beats its best control, with the interval."""
    bounds = row["difference_ci95"]
    shown = f" ({bounds[0]:+.3f} to {bounds[1]:+.3f})" if bounds else ""
    return f"{row['difference']:+.3f}{shown}"
