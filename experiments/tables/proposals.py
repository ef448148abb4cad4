"""The table of region proposals: how often a tumour lies in one of the first boxes of a map, beside controls."""

from __future__ import annotations

from typing import Any

from experiments.tables.cells import difference, estimate, table


def proposals_tables(results: dict[str, dict[str, Any]]) -> str:
    """A table for each run whose maps proposed boxes: its sources, controls last, at both overlaps."""
    return "\n\n".join(_one(name, result) for name, result in results.items())


def _one(name: str, result: dict[str, Any]) -> str:
    rows = [row for row in result["recalls"] if row["group"] == "all"]
    places = [(row["count"], row["overlap"]) for row in rows if row["source"] == rows[0]["source"]]
    sources = sorted(dict.fromkeys(row["source"] for row in rows), key=lambda name: _is_control(rows, name))
    found = {(row["source"], row["count"], row["overlap"]): row for row in rows}
    shown = [[name, *(_cell(found[name, *place]) for place in places)] for name in sources]
    head = ["boxes of", *(f"first {count}, overlap {overlap}" for count, overlap in places)]
    config = result["settings"]["run"]
    lead = (
        f"`{name.removeprefix('proposals_')}`: {result['title']}, {config['data']['image_size']} px, "
        f"{config['training']['epochs']} epochs, protocol `{result['protocol']}`, fold {result['fold']}, "
        f"{result['slices']} test slices with a tumour; intervals by {result['unit']}. Share of tumours found by one "
        "of the boxes (intersection over union), and a map's difference from the better control."
    )
    return f"{lead}\n\n{table(head, shown)}"


def _is_control(rows: list[dict[str, Any]], name: str) -> bool:
    return any(row["control"] for row in rows if row["source"] == name)


def _cell(row: dict[str, Any]) -> str:
    over = row["over_control"]
    if over is None:
        return estimate(row["recall"])
    return f"{estimate(row['recall'])}, {difference(over['value'], over['ci95'])}"
