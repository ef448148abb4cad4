"""The table of experiments/results/links_cheng.json: how well slices that belong together are found."""

from __future__ import annotations

from typing import Any

from btjax.base.numbers import percent

_ROWS = {
    "slices": "slices",
    "pairs": "linked pairs",
    "true_pairs": "consecutive slices of a patient",
    "precision": "linked pairs that are of one family",
    "recall": "consecutive slices that are linked",
    "groups": "groups",
    "largest": "slices of the largest group",
    "families": "families",
    "mixed": "groups that mix families",
    "mixed_slices": "slices in these",
    "pair_precision": "pairs in a group that are of one family",
    "plane_recall": "pairs of a family and plane in one group",
    "homogeneity": "homogeneity",
    "completeness": "completeness",
}
_SHARES = ("precision", "recall", "pair_precision", "plane_recall", "homogeneity", "completeness")


def links_table(result: dict[str, Any]) -> str:
    """Figures of the measured half of the families beside those of all slices, and of changed copies."""
    half, whole, near = result["neighbours"], result["neighbours_of_all"], result["near"]
    columns = [half | half["groups"], whole | whole["groups"]]
    lines = [
        f"Chosen on half of the families, measured on the other {result['families_measured']}; all slices beside them "
        "include those that the rule was chosen on.",
        "",
        "| | measured half | all slices |",
        "|---|---|---|",
    ]
    for key, name in _ROWS.items():
        cells = [percent(column[key]) if key in _SHARES else column[key] for column in columns]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    changes = ", ".join(f"{name}: {percent(value)}" for name, value in near["recall_by_change"].items())
    lines += [
        "",
        f"Changed copies of {near['slices']} slices of the measured half: {percent(near['recall'])} found "
        f"({changes}); {percent(near['precision'])} of the pairs found are of one slice, "
        f"{percent(near['same_family'])} of one family.",
    ]
    if "against" in result:
        lines += ["", "| class of the other set | slices | copies or near-duplicates | same class | any link |"]
        lines += ["|---|---|---|---|---|"]
        for row in result["against"]:
            cells = (row["name"], row["slices"], row["duplicated"], row["same_class"], row["linked"])
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
