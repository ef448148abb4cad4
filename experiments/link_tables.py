"""The table of experiments/results/links_cheng.json: how well slices that belong together are found."""

from __future__ import annotations

from typing import Any

from btjax.base.numbers import percent


def links_table(result: dict[str, Any]) -> str:
    """Figures of the measured half of the families beside those of all slices, and of changed copies."""
    half, whole, near = result["neighbours"], result["neighbours_of_all"], result["near"]
    lines = [
        f"Chosen on half of the families, measured on the other {result['families_measured']}; all slices beside them "
        "include those that the rule was chosen on.",
        "",
        "| | measured half | all slices |",
        "|---|---|---|",
    ]
    for name, key in (
        ("slices", "slices"),
        ("linked pairs", "pairs"),
        ("consecutive slices of a patient", "true_pairs"),
    ):
        lines.append(f"| {name} | {half[key]} | {whole[key]} |")
    for name, key in (
        ("linked pairs that are of one family", "precision"),
        ("consecutive slices that are linked", "recall"),
    ):
        lines.append(f"| {name} | {percent(half[key])} | {percent(whole[key])} |")
    groups = [one["groups"] for one in (half, whole)]
    for name, key in (
        ("groups", "groups"),
        ("slices of the largest group", "largest"),
        ("families", "families"),
        ("groups that mix families", "mixed"),
        ("slices in these", "mixed_slices"),
    ):
        lines.append(f"| {name} | {groups[0][key]} | {groups[1][key]} |")
    for name, key in (
        ("pairs in a group that are of one family", "pair_precision"),
        ("pairs of a family and plane in one group", "plane_recall"),
        ("homogeneity", "homogeneity"),
        ("completeness", "completeness"),
    ):
        lines.append(f"| {name} | {percent(groups[0][key])} | {percent(groups[1][key])} |")
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
