"""The table of experiments/results/links_cheng.json: how well slices that belong together are found."""

from __future__ import annotations

from typing import Any

from btjax.base.numbers import percent

_PAIRS = {
    "slices": "slices",
    "linked pairs": "pairs",
    "linked pairs that are of one family": "precision",
    "consecutive slices of a patient": "true_pairs",
    "consecutive slices that are linked": "recall",
}
_GROUPS = {
    "groups": "groups",
    "slices of the largest group": "largest",
    "families": "families",
    "groups that mix families": "mixed",
    "slices in these": "mixed_slices",
    "pairs in a group that are of one family": "pair_precision",
    "pairs of a family and plane in one group": "plane_recall",
    "homogeneity": "homogeneity",
    "completeness": "completeness",
}


def links_table(result: dict[str, Any]) -> str:
    """Figures of the measured half of the families beside those of all slices, and of changed copies."""
    sets = [result["neighbours"], result["neighbours_of_all"]]
    lines = [
        f"Chosen on half of the families, measured on the other {result['families_measured']}; all slices, beside "
        "them, include those that the rule was chosen on.",
        "",
        "| | measured half | all slices |",
        "|---|---|---|",
        *(_row(name, [one[key] for one in sets]) for name, key in _PAIRS.items()),
        *(_row(name, [one["groups"][key] for one in sets]) for name, key in _GROUPS.items()),
        "",
        _near_line(result["near"]),
    ]
    if "against" in result:
        keys = ("name", "slices", "duplicated", "same_class", "linked")
        lines += ["", "| class of the other set | slices | copies or near-duplicates | same class | any link |"]
        lines.append("|---|---|---|---|---|")
        lines += [f"| {' | '.join(str(row[key]) for key in keys)} |" for row in result["against"]]
    return "\n".join(lines)


def _row(name: str, values: list[Any]) -> str:
    shown = [percent(value) if isinstance(value, float) else str(value) for value in values]
    return f"| {name} | {' | '.join(shown)} |"


def _near_line(near: dict[str, Any]) -> str:
    changes = "; ".join(f"{name} {percent(value)}" for name, value in near["recall_by_change"].items())
    of_slice, of_family = percent(near["precision"]), percent(near["same_family"])
    return (
        f"Changed copies of {near['slices']} slices of the measured half: {percent(near['recall'])} found ({changes}); "
        f"{of_slice} of the pairs found are of one slice, {of_family} of one family."
    )
