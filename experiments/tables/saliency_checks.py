"""The checks of saliency maps: what a network does with their pixels, and what is left where it has learned nothing."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import number, signed
from btjax.saliency.faithfulness import MEASURES
from btjax.studies.saliency import PERMUTED
from experiments.tables.cells import table
from experiments.tables.saliency import Results, mean

_SHOWN = ("noise", "gradient", "grad_cam", "outline", "final_output")
"""Chance; the two maps that papers show most; and the own maps of networks that outline and of the U-Net."""

_LEAST_PATIENTS = 10
"""Below this many an interval says too little to be shown."""

_LEAD = f"""### Checks

Insertion: the area under the target's probability while the map's pixels, the highest first, are put into a blurred
slice. Deletion: the same while they are removed. Sensitivity n: the correlation of the map's sum over random pixels
with what the target loses without them. Max sensitivity: by how much the map moves when the slice changes a little;
it compares maps, and noise has none. In parentheses: whether higher or lower is better. Random maps (`noise`) are the
chance level of the first three. Differences from noise were not kept; whether two means differ cannot be read off
intervals that overlap. Intervals are by patient, and shown from {_LEAST_PATIENTS} patients on, unless they are
percentile bootstraps, which are too narrow.

Then the average precision of the maps, and the mean of what it loses where the logits, and where all stages of the
network, are random. A map that does not depend on what the network learned loses nothing; one near chance has nothing
to lose; and an outline does not pass through the logits."""


def checks_table(results: Results) -> str:
    """Faithfulness and randomisation of the best-known methods of each run, beside noise."""
    names = [
        f"{name.replace('_', ' ')} ({'higher' if one.higher_is_better else 'lower'})" for name, one in MEASURES.items()
    ]
    head = ["run", "slices", "map", *names, "average precision", "lost, logits random", "lost, every stage random"]
    rows = []
    for name, result in results.items():
        title = [name, result["faithfulness"]["slices"]]
        for method in _SHOWN:
            found = {row["score"]: row for row in result["faithfulness"]["rows"] if row["method"] == method}
            if found:
                cells = [_mean(result, found.get(measure)) for measure in MEASURES]
                rows.append([*title, method, *cells, *_lost(result["randomisation"]["rows"], method)])
                title = ["", ""]
    return f"{_LEAD}\n\n{table(head, rows)}" if rows else ""


def _mean(result: dict[str, Any], row: dict[str, Any] | None) -> str:
    """A mean with its interval, where that is worth showing."""
    if row is not None and (result.get("intervals") is None or (row["patients"] or 0) < _LEAST_PATIENTS):
        row = row | {"ci95": None}
    return mean(row)


def _lost(rows: list[dict[str, Any]], method: str) -> list[str]:
    """The average precision of a method's maps, and what it loses; empty where nothing was randomised."""
    found = [row for row in rows if row["method"] == method and row["layer"] != PERMUTED]
    if len(found) < 2 or found[0]["average_precision"] is None:
        return ["", "", ""]
    # The trained network comes first, then the stages from the logits down.
    lost = [
        "unchanged" if row["spearman"] == row["ssim"] == 1 else signed(row["lost"]) for row in (found[1], found[-1])
    ]
    return [number(found[0]["average_precision"]), *lost]
