"""What the saliency runs show, a line for each finding."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import percent
from experiments.tables.saliency import difference, saliency_rows


def saliency_findings(results: dict[str, dict[str, Any]]) -> str:
    """What the saliency runs show, a line for each: which methods surely beat their best control."""
    lines = ["Methods whose interval over their best control lies above 0, by average precision:\n"]
    for name, result in results.items():
        for group, value in (("all", "all"), *(("class", label) for label in result["classes"])):
            rows = saliency_rows(result, "comparison", score="average_precision", group=group, value=value)
            sure = sorted((row for row in rows if row["beats_best_control"]), key=lambda row: -row["difference"])
            shown = ", ".join(f"{row['method']} {difference(row)}" for row in sure[:3])
            more = f" and {len(sure) - 3} more" if len(sure) > 3 else ""
            lines.append(f"- {name}, {value}: {shown + more if sure else 'none'}")
    lines += ["", "By the pointing game over all slices:\n"]
    for name, result in results.items():
        rows = saliency_rows(result, "comparison", score="pointing", group="all", value="all")
        best = max(rows, key=lambda row: row["difference"])
        lines.append(
            f"- {name}: the peak of {best['method']} lies in or near the tumour in {percent(best['mean'])} of "
            f"{best['slices']} slices, that of {best['best_control']} in {percent(best['control_mean'])} "
            f"(difference {difference(best)})"
        )
    return "\n".join(lines)
