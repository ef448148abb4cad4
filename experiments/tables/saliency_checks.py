"""The checks of saliency maps: what a network does with their pixels, and what is left where it has learned nothing."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import number
from btjax.saliency.faithfulness import MEASURES
from btjax.studies.saliency import PERMUTED
from experiments.tables.cells import difference, table
from experiments.tables.saliency import Results, mean

_SHOWN = ("noise", "gradient", "grad_cam", "outline", "final_output")
"""Chance, the maps that most works show, and the networks' own maps."""


def checks_table(results: Results) -> str:
    """Faithfulness and randomisation of the best-known methods of each run, beside noise."""
    names = [
        f"{name.replace('_', ' ')} ({'higher' if one.higher_is_better else 'lower'})" for name, one in MEASURES.items()
    ]
    head = ["run", "slices", "map", *names, "average precision", "lost, logits random", "lost, every stage random"]
    rows = []
    for name, result in results.items():
        measured = result["faithfulness"].get("rows", [])
        title = [name, result["faithfulness"]["slices"]]
        for method in _SHOWN:
            found = {row["score"]: row for row in measured if row["method"] == method}
            if found:
                cells = [mean(found.get(measure)) for measure in MEASURES]
                rows.append([*title, method, *cells, *_left(result["randomisation"]["rows"], method)])
                title = ["", ""]
    if not rows:
        return ""
    return (
        "### Checks\n\nWhat the network does with a map's pixels, beside noise as chance (in parentheses: whether "
        "higher or lower is better). Then the average precision that a map loses where the logits, and where all "
        "stages of the network, are random: one that comes from what was learned loses it. Intervals are 95%, by "
        "patient.\n\n"
        f"{table(head, rows)}"
    )


def _left(rows: list[dict[str, Any]], method: str) -> list[str]:
    """The average precision of a method's maps, and what it loses; empty where nothing was randomised."""
    found = [row for row in rows if row["method"] == method and row["layer"] != PERMUTED]
    if len(found) < 2 or found[0]["average_precision"] is None:
        return ["", "", ""]
    # The trained network comes first, then the stages from the logits down.
    lost = [difference(row["lost"], row["lost_ci95"]) for row in (found[1], found[-1])]
    return [number(found[0]["average_precision"]), *lost]
