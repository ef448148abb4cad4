"""The table of what gets no answer."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import percent


def unknown_table(result: dict[str, Any]) -> str:
    """The sets of slices that a run should not answer, beside its own."""
    told = f"{result['system']}, {result['image_size']} px, `{result['protocol']}`"
    lines = [
        f"{told}: {percent(result['threshold'])} of the validation slices get an answer by construction, "
        f"{percent(result['test_answered'])} of the {result['test_slices']} test slices do. AUROC is against the test "
        "slices; 0.5 means that the set looks like them.",
        "",
        "| slices | number | AUROC | distance alone | neighbours alone | energy alone | answered all the same |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in result["unknown"]:
        parts = " | ".join(f"{one['auroc_of'][name]:.3f}" for name in ("distance", "neighbours", "energy"))
        row = f"| {one['name']} | {one['slices']} | **{one['auroc']:.3f}** | {parts} "
        lines.append(f"{row}| {percent(one['answered'])} |")
    return "\n".join(lines)
