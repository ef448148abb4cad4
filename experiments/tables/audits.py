"""Markdown of audits of shortcuts, and of what differs between runs and their papers' experiments."""

from __future__ import annotations

from typing import Any

from btjax.base.errors import InputError
from btjax.reports.audit import FLOOR_NAMES
from btjax.reports.numbers import interval, number, number_interval, percent
from btjax.systems.config import Config
from btjax.systems.deviations import Deviation, deviations_of
from btjax.systems.system import system_names


def audits_table(audits: dict[str, dict[str, Any]]) -> str:
    """A table of audits beside their floors, one row each; then what each of them found, in sentences."""
    floors = [name for name in FLOOR_NAMES if any(_floor(one, name) for one in audits.values())]
    head = ["audited", "tested rows (runs)", "accuracy (95%)", *(FLOOR_NAMES[name] for name in floors)]
    lines = [
        "What else than the tumour could explain an accuracy: models that see no tumour, trained and tested under the "
        "same splits. `python -m experiments.audit`.\n",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
    ]
    for one in audits.values():
        cells = [_title(one), f"{one['rows']} ({one['runs']})", f"**{_share(one['accuracy'])}**"]
        cells += [_share(found["accuracy"]) if (found := _floor(one, name)) else "" for name in floors]
        lines.append(f"| {' | '.join(cells)} |")
    for one in audits.values():
        lines += ["", f"{_title(one)}:", ""]
        lines += [f"- {flag['sentence']}" for flag in one["flags"]] or ["- nothing stands out"]
        lines += [f"- {line}" for line in (*_gap_lines(one), *alone_lines(one))]
        lines += [f"- not measured: {part}, since {reason}" for part, reason in one["left_out"].items()]
    return "\n".join(lines)


def _title(one: dict[str, Any]) -> str:
    """An audit's title, with the number of classes where they are not the three."""
    return one["title"] if len(one["classes"]) == 3 else f"{one['title']}, {len(one['classes'])} classes"


def _gap_lines(one: dict[str, Any]) -> list[str]:
    """How classes are recognised by source, where no flag says it."""
    flagged = {flag["evidence"].get("class") for flag in one["flags"] if flag["name"] == "recall"}
    return [
        f"Recall of {gap['class_name']} is {_share(gap['recall'])} for source {gap['value']} and "
        f"{_share(gap['elsewhere'])} for the others: no significant difference."
        for gap in one["gaps"]
        if gap["group"] == "source" and gap["class_name"] not in flagged and gap["gap"]["value"] is not None
    ]


def alone_lines(one: dict[str, Any]) -> list[str]:
    """The balanced accuracy on one source alone, and the probe's areas, where no flag says them."""
    lines = [
        f"On {row['source']} ids alone the model's balanced accuracy is {_share(row['model'])}, that of the linear "
        f"model {_share(row['linear_all'])}, and {_share(row['linear_alone'])} where it learned from these alone."
        for row in one["alone"]
    ]
    flagged = {flag["evidence"].get("within") for flag in one["flags"] if flag["name"] == "probe"}
    for row in one["probes"]:
        area = row["features"]
        if row["within"] != "all" and row["within"] not in flagged and area["value"] is not None:
            lines.append(
                f"Within {row['within']} a linear probe of the model's features tells source {row['source']} with an "
                f"area under the curve of {number(area['value'])} ({number_interval(area['ci95'])})."
            )
    return lines


def _floor(one: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((row for row in one["floors"] if row["name"] == name), None)


def _share(measured: dict[str, Any]) -> str:
    bounds = f" ({interval(measured['ci95'])})" if measured["ci95"] else ""
    return f"{percent(measured['value'])}{bounds}"


def paper_like(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of some runs the first under the paper's protocol, else the first."""
    return next((run for run in runs if run["protocol"] == "slice"), runs[0])


def deviations_table(run: dict[str, Any]) -> str:
    """What differs between a run and its paper's experiment, from the run's report or summary; "" without a paper."""
    rows = _deviations(run)
    differing = [row for row in rows if row.differs]
    if not rows:
        return ""
    about = f"data, slices and protocol as of the `{run['protocol']}` runs"
    if not any(row.name == "data set" for row in rows):
        about += "; without the data set, which this results file does not name"
    lines = [f"From the paper's experiment these runs differ in {len(differing)} of {len(rows)} points ({about})."]
    if differing:
        lines += ["", "| | paper | here | the paper's value is |", "|---|---|---|---|"]
    lines += [f"| {row.name} | {row.paper} | {row.here} | {row.basis} |" for row in differing]
    return "\n".join(lines)


def _deviations(run: dict[str, Any]) -> list[Deviation]:
    config, data = run.get("config", {}), run.get("data") or {}
    data = {"form": data} if isinstance(data, str) else data  # a U-Net's report holds the words alone
    if config.get("system") not in system_names() or data.get("synthetic", False):
        return []
    try:
        parsed = Config.from_json(config, "a results file")
    except InputError:  # a file of an earlier version, whose options are not all known
        return []
    found = {"data": data["form"]} if "form" in data else {}
    counts = run.get("counts", {})
    if {"train", "validation", "test"} <= counts.keys():
        found["rows"] = " / ".join(str(counts[side]["slices"]) for side in ("train", "validation", "test"))
    return deviations_of(parsed, found)
