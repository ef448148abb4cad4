"""The tables of Cheng's two systems: textures of regions, and retrieval."""

from __future__ import annotations

from typing import Any

from btjax.evaluation.cheng import BEST_CONFUSION
from btjax.reports.numbers import duration, percent, signed
from btjax.studies.regions import BEST
from experiments.tables.cells import NONE, table, with_interval

_TEXTURES = {"histogram": "grey levels", "glcm": "pairs of grey levels", "bow": "words"}
_STAGES = {
    "radius": "The outline dilated by a disk; 10 grey levels, pairs at a distance of 1",
    "rings": "Rings of the dilated outline; 20 grey levels, pairs at a distance of 4",
    "classifier": "Other classifiers of the words",
}


def regions_tables(result: dict[str, Any]) -> str:
    """Every cell of Cheng's table of 2015 beside the published one."""
    data, model = result["config"]["data"], result["config"]["model"]
    cells = result["cells"]
    gaps = [abs(100 * one["mean"] - one["cell"]["published"]) for one in cells]
    took = duration(sum(one["seconds"] for one in cells))
    lead = (
        f"Protocol `{data['protocol']}`, mean of {data['folds']} folds, {data['image_size']} px; {_outlines(result)} "
        f"Published / here, in percent. Rings are of a radius of {model['radius']}. The largest of {len(gaps)} "
        f"differences from the published mean is {max(gaps):.2f} points, the mean {sum(gaps) / len(gaps):.2f}. All "
        f"cells took {took}, one after the other; what a cell shares with an earlier one counts there."
    )
    parts = [lead]
    for stage, title in _STAGES.items():
        group = [one for one in cells if one["cell"]["stage"] == stage]
        if group:
            parts.append(f"{title}:\n\n{_stage_table(group)}")
    for one in cells:
        if one["cell"]["name"] == BEST:
            parts.append(
                f"The paper's best cell, `{BEST}`: {with_interval(one['scores'], 'accuracy')} of all slices, balanced "
                f"{with_interval(one['scores'], 'macro_recall')}; intervals by family."
            )
            parts.append(_confusion(one, result["classes"]))
    return "\n\n".join(parts)


def _outlines(result: dict[str, Any]) -> str:
    if result["config"].get("extra", {}).get("outlines"):
        return "**outlines of tested slices are predicted by a segmenter**, those of training slices are true."
    return "**true outlines, also of the slices that are tested**."


def _stage_table(cells: list[dict[str, Any]]) -> str:
    by_row: dict[str, dict[str, str]] = {}
    for one in cells:
        options, shown = one["cell"]["options"], f"{one['cell']['published']:.2f} / {100 * one['mean']:.2f}"
        if one["cell"]["stage"] == "radius":
            row, column = f"radius {options['radius']}", options["texture"]
        elif one["cell"]["stage"] == "rings":
            row = f"level {options['level']}{' and those below' * options['pyramid']}"
            column = options["texture"]
        else:
            row, column = one["cell"]["name"], "bow"
        by_row.setdefault(row, {})[column] = shown
    columns = [name for name in _TEXTURES if any(name in row for row in by_row.values())]
    rows = [[row, *(found.get(name, "") for name in columns)] for row, found in by_row.items()]
    return table(["", *(_TEXTURES[name] for name in columns)], rows)


def _confusion(one: dict[str, Any], classes: list[str]) -> str:
    matrix, order = one["scores"]["confusion_matrix"], ("meningioma", "glioma", "pituitary")
    places = [classes.index(name) for name in order]
    rows = [
        [name, *published, *(matrix[place][other] for other in places)]
        for name, published, place in zip(order, BEST_CONFUSION, places, strict=True)
    ]
    head = ["true class", *(f"called {name}, published" for name in order), *(f"{name}, here" for name in order)]
    return f"Words in rings of level 1, slices by what they are called:\n\n{table(head, rows)}"


def retrieval_tables(result: dict[str, Any]) -> str:
    """What each way to compare slices finds."""
    rows = []
    for one in result["compared"]:
        scores = one["scores"]
        rows.append(
            [
                one["title"],
                f"{one['published']:.2f}%" if one["published"] else "",
                f"{100 * one['mean']:.2f}% ({100 * min(one['folds']):.1f} to {100 * max(one['folds']):.1f})",
                _estimate(scores["average_precision"]),
                _estimate(scores["precision"]["10"]),
                _estimate(scores["precision"]["20"]),
                _estimate(one["others"]["average_precision"]),
            ]
        )
    head = [
        "compared by",
        "published mAP, `official`",
        "mAP, mean of folds (lowest to highest)",
        "mAP, all queries (95%)",
    ]
    head += ["nearest 10 (95%)", "nearest 20 (95%)", "mAP without the query's family (95%)"]
    first = result["compared"][0]
    gain = first["scores"]["average_precision"]["value"] - first["others"]["average_precision"]["value"]
    lead = (
        f"Protocol `{result['protocol']}`; {_outlines(result)} Queries are the test slices, the database is the other "
        f"slices; intervals by family. Chance is {percent(first['scores']['chance'])}. Slices of the query's own "
        f"family make up {signed(100 * gain, 2)} points of the first row's mean average precision. Features of "
        "networks see the whole slice and no outline."
    )
    return f"{lead}\n\n{table(head, rows)}"


def _estimate(one: dict[str, Any]) -> str:
    bounds = one["ci95"]
    told = NONE if bounds is None else f"({100 * bounds[0]:.1f} to {100 * bounds[1]:.1f})"
    return f"{percent(one['value'])} {told}"
