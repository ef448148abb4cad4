"""The table of the simulation of intervals, and which intervals the results files hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from btjax.reports.numbers import number, percent
from experiments.tables.cells import table

if TYPE_CHECKING:
    from collections.abc import Iterator

EARLIER = "percentile bootstrap"
"""The method of results files that name none."""


def coverage_table(result: dict[str, Any]) -> str:
    """How often each kind of interval holds the truth, at worst and by the number of patients."""
    cells = result["coverage"]
    told = {key: _range(sorted({cell[key] for cell in cells})) for key in ("correlation", "truth")}
    lead = (
        f"How often 95% intervals hold the truth, in {result['repeats']} simulated data sets of each of {len(cells)} "
        "settings (`python -m experiments.coverage`): patients with the numbers of slices of the 233 real ones, "
        f"intraclass correlations {told['correlation']}, accuracies {told['truth']}. The columns of patients give the "
        "lowest coverage over correlations and accuracies. Without a width: the largest share of intervals that are a "
        "single point."
    )
    shown = f"The same of metrics of three classes, in {result['metric_repeats']} data sets of each setting."
    return "\n\n".join([lead, _accuracy_table(cells), shown, _metrics_table(result["metrics"])])


def _accuracy_table(cells: list[dict[str, Any]]) -> str:
    counts, rows = sorted({cell["patients"] for cell in cells}), []
    for name in cells[0]["intervals"]:
        found = [cell["intervals"][name] for cell in cells]
        worst = [
            min(one["coverage"] for cell, one in zip(cells, found, strict=True) if cell["patients"] == patients)
            for patients in counts
        ]
        shown = [name, percent(min(worst))] if rows else [f"**{name}** (ours)", f"**{percent(min(worst))}**"]
        width = number(sum(one["width"] for one in found) / len(found))
        rows.append([*shown, *map(percent, worst), width, percent(max(one["without_width"] for one in found))])
    head = ["interval of an accuracy", "lowest coverage", *(f"{count} patients" for count in counts)]
    return table([*head, "mean width", "without a width"], rows)


def _metrics_table(cells: list[dict[str, Any]]) -> str:
    rows = [
        [
            name.replace("_", " "),
            cell["patients"],
            "one a patient" if cell["by_patient"] else "slices",
            number(one["truth"]),
            percent(one["coverage"]),
            number(one["width"]),
        ]
        for cell in cells
        for name, one in cell["metrics"].items()
    ]
    return table(["metric", "patients", "predictions", "truth", "coverage", "mean width"], rows)


def _range(values: list[float]) -> str:
    return f"{values[0]} to {values[-1]}"


def methods_sentence(results: dict[str, dict[str, Any]]) -> str:
    """Which results files hold intervals of an earlier method, which hold the truth less often than they say."""
    earlier = [f"`{name}`" for name, result in results.items() if EARLIER in set(_methods(result))]
    if not earlier:
        return ""
    return (
        f"Some or all intervals in {', '.join(earlier)} were computed before the present ones: by the {EARLIER}, which "
        "is too narrow (see Intervals)."
    )


def _methods(value: Any) -> Iterator[str]:
    """Every method of intervals that a result names."""
    if isinstance(value, dict):
        if "localisation" in value:
            yield value.get("intervals", EARLIER)
            return
        if isinstance(value.get("interval"), dict):
            yield value["interval"].get("method", EARLIER)
        elif "accuracy_ci95" in value and "interval" not in value and "by_patient" in value:
            yield EARLIER
        for name, part in value.items():
            if name != "by_patient":  # its method is that of the scores by slice, which name it
                yield from _methods(part)
    elif isinstance(value, list):
        for part in value:
            yield from _methods(part)
