"""One table of every system: what is claimed, and what it reaches here under every protocol."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from btjax.data.dataset import PHANTOM
from btjax.reports.numbers import UNDEFINED, amount, duration
from btjax.reports.page import Cell, Section, Table, render
from btjax.systems.presets import preset, preset_names
from btjax.systems.system import find_system, system_names
from experiments.tables.cells import points, table, with_interval
from experiments.tables.ladders import cells_in_words
from experiments.tables.presets import other_options, preset_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Results = dict[str, dict[str, Any]]

PROTOCOLS = ("slice", "official", "patient", "family")
"""The columns, from the one that leaks to the strictest."""

HEAD = (
    "system",
    "options",
    "claimed",
    *(f"`{name}` (95%)" for name in PROTOCOLS),
    "`slice` over `family`, points (95%)",
    "macro F1 (95%)",
    "lowest recall (95%)",
    "calibration error (95%)",
    "parameters",
    "GFLOP a slice",
    "training, a run",
    "missing",
)

LEAD = (
    "Test accuracy, all folds of a protocol together unless a cell says otherwise; intervals by family or patient. "
    "*`slice` over `family`* compares `slice` with as many training slices, on the predictions that both made. Macro "
    "F1, the lowest recall of a class and the calibration error are those of the strictest protocol with a number. "
    "Sorted by accuracy under `family`. An empty cell was not measured: *missing* names the command, to which "
    "`--data_dir=DATA --workdir=DIR` (and `--weights=FILE`) are added; parameters, operations and step times come from "
    "`python -m experiments.costs`. The same as a page to sort: `systems.html`."
)

_WITHOUT = {
    "efficientnet_b3_paper": "ImageNet weights of B3; a GPU",
    "inception_cpu": "ImageNet weights of InceptionV3",
    "cnn_paper": "a GPU",
    "pathways_paper": "a GPU",
    "joint_efficientnet_b0": "a GPU",
    "joint_resnet50": "a GPU",
    "joint_vgg16": "a GPU",
    "hdl2bt_cpu": "patient ids: its set of four classes has none",
    "cnn_four_class_cpu": "patient ids: its set of four classes has none",
}
"""What else than hours a preset is without."""

_NO_CLASSIFIERS = ("segmenter", "cheng2016", "unet")
"""Systems that do not classify slices."""

_NO_LADDER = ("unet_cpu", "hdl2bt_cpu", "cnn_four_class_cpu")
"""Presets that no ladder runs: several stages, or no patients."""

_NO_CLAIM = ("cnn_fast", "cnn_irmak_cpu", "cnn_irmak_best", "cnn_four_class_cpu")
"""Presets whose options or data are not those that their system's claim is of."""


@dataclasses.dataclass(frozen=True)
class Reached:
    """What one set of options reaches under one protocol.

    Attributes:
      scores: a results file's scores.
      what: the folds and seeds, in words.
    """

    scores: dict[str, Any]
    what: str


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: a system with one set of options.

    Attributes:
      system: name of the system.
      options: name of the preset.
      reached: by protocol.
      inflation: the comparison of a ladder's leak, or None.
      seconds: of a run's training, the mean, or None.
      others: flags by which the runs differ from the preset.
    """

    system: str
    options: str
    reached: dict[str, Reached]
    inflation: dict[str, Any] | None = None
    seconds: float | None = None
    others: str = ""

    @property
    def family(self) -> float:
        """Accuracy under `family`, -1 without one: what rows are sorted by."""
        found = self.reached.get("family")
        return found.scores["accuracy"] if found else -1.0


def overview_table(results: Results) -> str:
    """The section of the results' page."""
    return f"## Every system\n\n{LEAD}\n\n{table(HEAD, [_cells(row, results) for row in overview_rows(results)])}"


def overview_page(results: Results) -> str:
    """The same as a page, in two tables whose columns can be sorted by."""
    rows = [
        [cell.replace("`", "").replace("**", "") for cell in _cells(row, results)] for row in overview_rows(results)
    ]
    head = [name.replace("`", "").removesuffix(" (95%)") for name in HEAD]
    scores = [place for place, name in enumerate(HEAD) if "(95%)" in name]
    costs = [place for place, _ in enumerate(HEAD) if place > 1 and place not in scores]
    sections = [
        Section(title, [_part(title, head, rows, [0, 1, *places])])
        for title, places in (("Accuracy by protocol", scores), ("Claims and costs", costs))
    ]
    return render("Every system under every protocol", sections, lead=[LEAD.replace("`", "").replace("*", "")])


def _part(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], places: Sequence[int]) -> Table:
    """Some columns, intervals and remarks below their number."""
    told = {"Accuracy by protocol": "Intervals of 95% below each number.", "Claims and costs": "Of one run."}[title]
    cells = [[Cell(*_divided(row[place])) for place in places] for row in rows]
    return Table(told, [head[place] for place in places], cells, sortable=True)


def _divided(text: str) -> tuple[str, str]:
    """A number, and its interval with what follows; whole texts of words."""
    number, bracket, rest = text.partition(" (")
    if not bracket or not re.fullmatch(r"[+-]?[\d.]+%?", number):
        return text, ""
    bounds, _, remark = rest.partition(")")
    return number, bounds + remark


def overview_rows(results: Results) -> list[Row]:
    """The rows, the best under `family` first; every preset of a classifier has one, and every system."""
    rows = list(_measured(results))
    told = {row.options for row in rows}
    for name in preset_names():
        config = preset(name)
        if name not in told and config.system not in _NO_CLASSIFIERS and config.data.data_dir != PHANTOM:
            rows.append(Row(config.system, name, {}))
    told = {row.system for row in rows}
    rows += [Row(name, "", {}) for name in system_names() if name not in told and name not in _NO_CLASSIFIERS]
    return sorted(rows, key=lambda row: (-row.family, row.system, row.options))


def _measured(results: Results) -> Iterator[Row]:
    """A row for each preset with results: a ladder's rungs stand before single runs of the same protocol."""
    found: dict[tuple[str, str], list[Row]] = {}
    for name, result in results.items():
        options, row = preset_of(name) if "rungs" in result else name, None
        if "rungs" in result:
            row = _ladder_row(options, result)
        elif "runs" in result and not {"floors", "coverage"} & result.keys():
            row = _runs_row(options, result["runs"])
        elif "by_epoch" in result:
            row = _runs_row("unet_cpu", [result["classifier"]])
        elif "cells" in result and "compared" not in result and not result["config"]["extra"]["outlines"]:
            row = _regions_row(result)
        if row is not None:
            rows = found.setdefault((row.options, row.others), [])
            rows.insert(0 if "rungs" in result else len(rows), row)
    for rows in found.values():
        reached = {name: one for row in reversed(rows) for name, one in row.reached.items()}
        yield dataclasses.replace(rows[0], reached=reached)


def _ladder_row(options: str, result: dict[str, Any]) -> Row:
    rungs = {rung["name"]: rung for rung in result["rungs"]}
    cells = [cell for rung in rungs.values() for cell in rung["cells"]]
    leaks = [leak["comparison"] for leak in result["leaks"]
             if (leak["easier"], leak["harder"]) == ("slice_matched", "family")]  # fmt: skip
    return Row(
        result["system"],
        options,
        {name: Reached(rungs[name]["scores"], cells_in_words(rungs[name])) for name in PROTOCOLS if name in rungs},
        leaks[0] if leaks else None,
        sum(cell["seconds"] for cell in cells) / len(cells),
        other_options(options, result["config"]),
    )


def _runs_row(options: str, runs: Sequence[dict[str, Any]]) -> Row:
    """Of single runs the first of each protocol."""
    reached = {}
    for run in runs:
        fold = "" if run["protocol"] == "slice" else f"fold {run['split']['fold']}, "
        classes = f", {len(run['classes'])} classes" if len(run["classes"]) > 3 else ""
        reached.setdefault(run["protocol"], Reached(run["test"], f"{fold}seed {run['split']['seed']}{classes}"))
    seconds = [run["training"]["seconds"] for run in runs]
    return Row(runs[0]["config"]["system"], options, reached, None, sum(seconds) / len(seconds))


def _regions_row(result: dict[str, Any]) -> Row:
    best = max(result["cells"], key=lambda cell: cell["cell"]["published"])
    protocol = result["config"]["data"]["protocol"]
    return Row("cheng2015", "cheng2015", {protocol: Reached(best["scores"], "5 folds, true outlines")})


def _cells(row: Row, results: Results) -> list[str]:
    strict = next((row.reached[name] for name in reversed(PROTOCOLS) if name in row.reached), None)
    scores = strict.scores if strict else None
    cost = results.get("costs", {}).get("costs", {}).get(row.options, {})
    flops = cost.get("flops")
    system = find_system(row.system)
    return [
        system.title,
        " ".join(filter(None, [row.options and f"`{row.options}`", row.others])),
        (row.options not in _NO_CLAIM and system.claims) or UNDEFINED,
        *(_accuracy(row.reached.get(name)) for name in PROTOCOLS),
        _inflation(row.inflation),
        with_interval(scores, "macro_f1") if scores else "",
        _lowest_recall(scores) if scores else "",
        _calibration(scores) if scores else "",
        amount(cost["parameters"]) if cost else "",
        f"{flops / 1e9:.2g}" if flops else "",
        duration(row.seconds) if row.seconds is not None else "",
        _missing(row, cost),
    ]


def _accuracy(reached: Reached | None) -> str:
    if reached is None:
        return ""
    return f"**{with_interval(reached.scores, 'accuracy')}**, {reached.what}"


def _inflation(compared: dict[str, Any] | None) -> str:
    if compared is None:
        return ""
    return points(compared["difference"], compared["difference_ci95"])


def _lowest_recall(scores: dict[str, Any]) -> str:
    known = {name: one for name, one in scores.get("per_class", {}).items() if one["recall"] is not None}
    if not known:
        return ""
    name = min(known, key=lambda one: known[one]["recall"])
    return f"{name} {with_interval(known[name], 'recall')}"


def _calibration(scores: dict[str, Any]) -> str:
    name = "expected_calibration_error"  # which older results files do not have
    return with_interval(scores, name) if name in scores else "not kept"


def _missing(row: Row, cost: dict[str, Any]) -> str:
    """What a preset is without, and the command that fills its empty cells, with the measured cost of a step."""
    parts = [_WITHOUT[row.options]] if row.options in _WITHOUT else []
    empty = [name for name in PROTOCOLS if name not in row.reached]
    if empty and row.options not in ("", *_NO_LADDER) and not find_system(row.system).fitted:
        flags = " ".join(
            filter(None, [f"--preset={row.options}", row.others.replace("`", ""), f"--protocols={','.join(empty)}"])
        )
        command = f"`python -m experiments.ladder {flags}`"
        step = f", {_time(cost['step_ms'])} a step of {cost['batch_size']}" if cost else ""
        parts.append(f"{command}{step}")
    return "; ".join(parts)


def _time(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else duration(milliseconds / 1e3)
