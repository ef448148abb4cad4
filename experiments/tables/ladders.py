"""The tables of ladders: one system under several protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from btjax.reports.numbers import UNDEFINED, interval, number, percent
from experiments.tables.audits import alone_lines
from experiments.tables.cells import number_cell, points, table, with_interval
from experiments.tables.segmenter import ladder_outlines

if TYPE_CHECKING:
    from collections.abc import Iterator

_EASIER = ("slice", "slice_matched")


def ladder_tables(result: dict[str, Any]) -> str:
    """A ladder's scores, its reliance, its folds; then the size of the leak and of the source confound."""
    rungs = result["rungs"]
    parts = [
        f"Of all folds of a protocol together; intervals by {rungs[0]['scores']['interval']['unit']}. With several "
        "seeds every seed's predictions count. `slice_matched` is `slice` with as many training slices as the other "
        "protocols have.",
        _scores_table(rungs),
        _folds_table(rungs),
        ladder_outlines(
            [(f"`{rung['name']}`, {cells_in_words(rung)}", rung["outlines"]) for rung in rungs if rung.get("outlines")]
        ),
        _reliance_table(rungs),
        *(_conformal_table(rungs) if any(rung["conformal"] for rung in rungs) else []),
        "\n".join(f"- {line}" for line in (*leak_lines(result), *source_lines(result))),
    ]
    return "\n\n".join(filter(None, parts))


def _scores_table(rungs: list[dict[str, Any]]) -> str:
    head = [
        "protocol",
        "cells",
        "slices",
        "trained on",
        "accuracy (95%)",
        "by patient (95%)",
        "balanced accuracy (95%)",
    ]
    head += ["macro F1 (95%)", "ROC AUC (95%)", "MCC (95%)"]
    rows = []
    for rung in rungs:
        scores, trained = rung["scores"], sorted({cell["trained"] for cell in rung["cells"]})
        rows.append(
            [
                f"`{rung['name']}`",
                cells_in_words(rung),
                rung["tested"],
                f"{trained[0]} to {trained[-1]}" if len(trained) > 1 else trained[0],
                f"**{with_interval(scores, 'accuracy')}**",
                with_interval(scores["by_patient"], "accuracy") if scores["by_patient"] else UNDEFINED,
                *(with_interval(scores, name) for name in ("macro_recall", "macro_f1", "roc_auc")),
                number_cell(scores, "mcc"),
            ]
        )
    return table(head, rows)


def cells_in_words(rung: dict[str, Any]) -> str:
    """How many folds and seeds a rung has, and what is missing."""
    folds, seeds = (len({cell[name] for cell in rung["cells"]}) for name in ("fold", "seed"))
    text = f"{folds} fold{'s' * (folds > 1)}, {seeds} seed{'s' * (seeds > 1)}"
    missing = rung["planned"] - len(rung["cells"])
    return f"{text}, {missing} of {rung['planned']} runs missing" if missing else text


def _folds_table(rungs: list[dict[str, Any]]) -> str:
    """The accuracy of every fold, mean of its seeds: single folds, without intervals."""
    folds = sorted({cell["fold"] for rung in rungs for cell in rung["cells"]})
    rows = []
    for rung in rungs:
        each = []
        for fold in folds:
            values = [cell["accuracy"] for cell in rung["cells"] if cell["fold"] == fold]
            each.append(percent(sum(values) / len(values)) if values else "")
        rows.append([f"`{rung['name']}`", *each])
    lead = "Accuracy by fold, the mean of its seeds (no intervals):\n\n"
    return lead + table(["protocol", *(f"fold {fold}" for fold in folds)], rows)


def _reliance_table(rungs: list[dict[str, Any]]) -> str:
    head = ["protocol", "log loss (95%)", "with temperature", "Brier score (95%)", "calibration error (95%)"]
    head += ["with temperature", "temperature", "accuracy, surest 80% (95%)", "mirrored: gain", "seeds together: gain"]
    rows = []
    for rung in rungs:
        scores, after, selective = rung["scores"], rung["calibrated"] or {}, rung["selective"]
        rows.append(
            [
                f"`{rung['name']}`",
                number_cell(scores, "log_loss"),
                number(after.get("log_loss")),
                number_cell(scores, "brier_score"),
                with_interval(scores, "expected_calibration_error"),
                percent(after.get("calibration_error")),
                number(after.get("value"), 2),
                with_interval(selective, "accuracy"),
                _gain(rung["mirrored"]),
                _gain(rung["seeds"]),
            ]
        )
    fitted = (
        "Each run's temperature is fitted on its validation slices. " if any(r["calibrated"] for r in rungs) else ""
    )
    lead = (
        f"Calibration, abstaining and ensembles. {fitted}Gains "
        "are in percentage points of accuracy: a slice with its mirror image over the slice alone, and all seeds "
        "together over one.\n\n"
    )
    return lead + table(head, rows)


def _gain(gain: dict[str, Any] | None) -> str:
    return "" if gain is None else points(gain["gain"], gain["gain_ci95"])


def _conformal_table(rungs: list[dict[str, Any]]) -> Iterator[str]:
    classes = list(rungs[0]["scores"]["per_class"])
    rows = [
        [
            f"`{rung['name']}`",
            percent(one["level"]),
            with_interval(one, "coverage"),
            percent(one["coverage_by_patient"]),
            *(percent(one["coverage_by_class"][name]) for name in classes),
            number(one["mean_size"], 2),
            percent(one["single"]),
        ]
        for rung in rungs
        for one in rung["conformal"]
    ]
    yield (
        "Conformal prediction sets, by class, calibrated by patient on each run's validation slices: how often they "
        "hold the true class.\n\n"
    ) + table(
        ["protocol", "promised", "slices (95%)", "mean of patients", *classes, "classes named", "one class alone"], rows
    )


def leak_lines(result: dict[str, Any]) -> list[str]:
    """The size of the leak in sentences, matched for training size where that was run."""
    matched = [leak for leak in result["leaks"] if leak["easier"] == "slice_matched"]
    lines = []
    for leak in matched or result["leaks"]:
        one = leak["comparison"]
        size = "trained on as many slices" if matched else "trained on more slices"
        lines.append(
            f"With slices divided at random the {result['title']} scores "
            f"{points(one['difference'], one['difference_ci95'])} percentage points over `{leak['harder']}`, {size}, "
            f"on the {one['rows']} predictions that both made."
        )
    return lines


def source_lines(result: dict[str, Any]) -> list[str]:
    """The size of the source confound in sentences, under the strictest protocol."""
    rung = [rung for rung in result["rungs"] if rung["name"] not in _EASIER] or result["rungs"]
    audit = rung[-1]["audit"]
    lines = []
    for gap in audit["gaps"]:
        if gap["group"] == "source" and gap["gap"]["value"] is not None:
            lines.append(
                f"Under `{rung[-1]['name']}` the {result['title']} recognises {_share(gap['recall'])} of "
                f"{gap['class_name']} slices with {gap['value']} ids and {_share(gap['elsewhere'])} of the others: "
                f"{points(gap['gap']['value'], gap['gap']['ci95'])} percentage points."
            )
    return lines + alone_lines(audit)


def _share(estimate: dict[str, Any]) -> str:
    bounds = f" ({interval(estimate['ci95'])})" if estimate["ci95"] else ""
    return f"{percent(estimate['value'])}{bounds}"


def ladder_headline(result: dict[str, Any]) -> str:
    """For the README: the accuracy under three protocols, else under all, and by patient under the last of them."""
    rungs = [rung for rung in result["rungs"] if rung["name"] in ("slice", "official", "family")] or result["rungs"]
    words = [cells_in_words(rung) for rung in rungs]
    alike = len(set(words)) == 1
    parts = [
        f"`{rung['name']}` **{with_interval(rung['scores'], 'accuracy')}** of {rung['tested']} slices"
        + ("" if alike else f" ({cells})")
        for rung, cells in zip(rungs, words, strict=True)
    ]
    text = (f"{words[0]}: " if alike else "") + ", ".join(parts)
    votes = rungs[-1]["scores"]["by_patient"]
    by_patient = f"; one vote a patient under `{rungs[-1]['name']}`: " if votes else ""
    return text + by_patient + (with_interval(votes, "accuracy") if votes else "")
