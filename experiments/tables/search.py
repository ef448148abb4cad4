"""The table of a search for hyper-parameters."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import number, percent
from btjax.reports.search import point_in_words
from experiments.tables.cells import table

SHOWN = 5
"""How many of the best trials stand in the table."""


def search_table(result: dict[str, Any]) -> str:
    """The best trials, what became of the others, and which dimensions mattered; values are of validation rows."""
    data, trials, loss = result["config"]["data"], result["trials"], result["metric"].endswith("loss")
    states = [trial["state"] for trial in trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed"))
    ranked = sorted((one for one in trials if one["value"] is not None), key=lambda one: -one["value"])[:SHOWN]

    def told(value: float) -> str:
        return number(-value) if loss else percent(value)

    rows = [
        [one["number"], told(one["value"]), one["epochs"], one["state"], f"`{point_in_words(one['flags'])}`"]
        for one in ranked
    ]
    metric = result["metric"].replace("_", " ")
    shares = sorted(result["importance"].items(), key=lambda one: -one[1])
    parts = [
        f"{len(trials)} trials ({counts}) at {data['image_size']} px under `{data['protocol']}`, fold {data['fold']}: "
        f"trained on {result['counts']['train']} slices, compared on {result['counts']['validation']} validation "
        "slices; no test slice was looked at. The score of the best of many trials is biased upwards.",
        table(["trial", f"{metric} (none)", "epochs", "state", "options"], rows),
    ]
    if shares:
        told_shares = ", ".join(f"`--{name}` {percent(share)}" for name, share in shares)
        parts.append(f"Share of the differences by dimension (functional ANOVA): {told_shares}.")
    return "\n\n".join(parts)
