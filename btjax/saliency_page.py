"""A saliency report drawn: figures, and one page of tables beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from btjax.data.slices import CLASSES
from btjax.errors import InputError
from btjax.explanation import Maps, Subject, maps_of, stratified
from btjax.figures import saliency as figures
from btjax.figures.gallery import render_gallery
from btjax.runs import Run
from btjax.saliency.faithfulness import MEASURES
from btjax.saliency.scores import SCORES
from btjax.saliency_report import HEADLINE, PERMUTED


def write_saliency_report(
    run: Run,
    report: dict[str, Any],
    values: Mapping[str, Mapping[str, np.ndarray]],
    subject: Subject,
    maps: Mapping[str, Maps],
    slices: Sequence[str],
) -> None:
    """Writes saliency.json, saliency.html and figures/ into the folder.

    Args:
      run: the folder.
      report: of `saliency_report`.
      values: of `saliency_report`.
      subject: what was explained.
      maps: of each method, by name.
      slices: ids of the test slices to draw; none for two of each class.

    Raises:
      InputError: an id that is no test slice's, or of which a method has no map.
    """
    rows = _drawn_rows(subject, maps, slices)
    drawn = {"gallery": _gallery(subject, maps, rows)}
    if "gradient" in maps:
        drawn["panels"] = _panels(subject, maps, rows)
    if values:
        drawn |= _score_figures(report, values, subject)
    if report["randomisation"]["rows"]:
        drawn["randomisation"] = figures.randomisation_curves(report["randomisation"]["rows"])
    for name, figure in drawn.items():
        run.write_figure(name, figure)
    run.write_json("saliency.json", report)
    run.write_text("saliency.html", _page(report, drawn))


def _drawn_rows(subject: Subject, maps: Mapping[str, Maps], slices: Sequence[str]) -> list[int]:
    """The named slices, or two of each class of those that every method has a map of."""
    tested = subject.tested
    common = sorted(set.intersection(*(set(rows.tolist()) for rows, _ in maps.values())))
    if not slices:
        return [common[place] for place in stratified(tested.labels[common], 2 * len(CLASSES), 0)]
    unknown = set(slices) - set(tested.ids[common])
    if unknown:
        raise InputError(f"--slices={min(unknown)}: no test slice of that id has a map by every method")
    return [row for row in common if tested.ids[row] in slices]


def _titles(subject: Subject, rows: list[int]) -> list[str]:
    """What stands beside a row of pictures: the class, what the network says, the slice."""
    tested = subject.tested
    return [
        f"{CLASSES[tested.labels[row]]},\ncalled {CLASSES[subject.predicted[row]]}\n{tested.ids[row]}" for row in rows
    ]


def _gallery(subject: Subject, maps: Mapping[str, Maps], rows: list[int]):
    tested = subject.tested
    found = {name: maps_of(known, np.array(rows)) for name, known in maps.items()}
    masks = None if tested.masks is None else tested.masks[rows]
    return figures.gallery(tested.images[rows], _titles(subject, rows), found, masks)


def _panels(subject: Subject, maps: Mapping[str, Maps], rows: list[int]):
    """The paper's Figures 13 and 14: five panels for each slice.

    Image, U-Net's output, final U-Net's output, gradient, gradient over the image; of a network beside which no final
    U-Net stands, Grad-CAM and Grad-CAM over the image take the place of the two outputs.
    """
    grey = np.repeat(subject.tested.images[rows, ..., None] / np.float32(255), 3, axis=-1)
    pictures = {"slice and tumour": grey}
    pictures |= {name: np.asarray(draw(subject.inputs[rows])) for name, draw in subject.pictures.items()}
    heat = figures.heat(maps_of(maps["gradient"], np.array(rows)))
    pictures |= {"gradient": heat, "gradient over the slice": (grey + heat) / 2}
    if not subject.pictures and "grad_cam" in maps:
        heat = figures.heat(maps_of(maps["grad_cam"], np.array(rows)))
        pictures |= {"Grad-CAM": heat, "Grad-CAM over the slice": (grey + heat) / 2}
    masks = None if subject.tested.masks is None else subject.tested.masks[rows]
    return figures.panels(_titles(subject, rows), pictures, masks)


def _score_figures(report: dict, values: Mapping[str, Mapping[str, np.ndarray]], subject: Subject) -> dict:
    drawn = {}
    for score in (HEADLINE, "pointing", "energy"):
        rows = [
            row | {"control": kind == "controls"}
            for kind in ("scores", "controls")
            for row in report[kind]
            if row["group"] == "all" and row["score"] == score
        ]
        drawn[f"scores_{score}"] = figures.score_bars(
            rows, score, report["chance"][score], SCORES[score].higher_is_better
        )
    areas = subject.tested.masks.mean(axis=(1, 2))
    best = sorted(values, key=lambda name: -values[name][HEADLINE].mean())
    whole = [name for name in best if len(values[name][HEADLINE]) == len(areas)][:6]
    of_whole = {name: values[name][HEADLINE] for name in whole}
    return drawn | {"by_size": figures.score_by_size(areas, of_whole, HEADLINE)}


_CAPTIONS = {
    "gallery": "Maps of test slices, the tumour outlined in green.",
    "panels": "As the paper's Figures 13 and 14; the tumour is outlined in red.",
    "by_size": "Average precision by lesion size.",
    "randomisation": "What is left of the maps when layers are made random, from the top down.",
}


def _page(report: dict, drawn: Mapping) -> str:
    """saliency.html."""
    shown = [{"figure": one, "caption": _CAPTIONS.get(name, name.replace("_", " "))} for name, one in drawn.items()]
    tables = [_comparison_table(report, score) for score in report.get("chance", ())]
    tables += [_faithfulness_table(report["faithfulness"]), _randomisation_table(report["randomisation"])]
    sections = [
        {"title": "Figures", "tables": [], "figures": shown},
        {"title": "Scores", "tables": tables, "figures": []},
    ]
    lead = [f"Accuracy on these slices: {report['accuracy']:.3f}. {report['data']}."]
    lead += [f"Left out: {name}: {reason}" for name, reason in report["left_out"].items()]
    title = f"Saliency of {report['run']['experiment']}: {report['test_slices']} test slices, "
    return render_gallery(f"{title}protocol {report['protocol']}", sections, lead)


def _interval(bounds: Sequence[float] | None) -> str:
    return "" if bounds is None else f" ({bounds[0]:.3f} to {bounds[1]:.3f})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _comparison_table(report: dict, score: str) -> dict:
    rows = [row for row in report["comparison"] if row["group"] == "all" and row["score"] == score]
    body = [
        [
            row["method"],
            row["slices"],
            _number(row["mean"]),
            row["best_control"],
            _number(row["control_mean"]),
            f"{row['difference']:+.3f}{_interval(row['difference_ci95'])}",
            "yes" if row["beats_best_control"] else "no",
        ]
        for row in sorted(rows, key=lambda row: -row["difference"])
    ]
    direction, chance = report["directions"][score], report["chance"][score]
    return {
        "title": f"{score.replace('_', ' ')}: {direction} is better, chance {chance:.3f}",
        "head": ["method", "slices", "mean", "best control", "its mean", "better by (95%)", "beats it"],
        "rows": body,
    }


def _faithfulness_table(found: dict) -> dict:
    head = [
        f"{name.replace('_', ' ')} ({'higher' if measure.higher_is_better else 'lower'} is better)"
        for name, measure in MEASURES.items()
    ]
    return {
        "title": f"What the network does with the map's pixels, on {found['slices']} slices; noise is chance",
        "head": ["method", *head],
        "rows": [[row["method"], *(_number(row[name]) for name in MEASURES)] for row in found["rows"]],
    }


def _randomisation_table(found: dict) -> dict:
    """The rows of networks that have learned nothing: every layer random, and permuted labels."""
    last = [row["layer"] for row in found["rows"] if row["layer"] != PERMUTED][-1:]
    rows = [row for row in found["rows"] if row["layer"] in (*last, PERMUTED)]
    body = [
        [
            row["method"],
            PERMUTED if row["layer"] == PERMUTED else "every layer random",
            _number(row["spearman"]),
            _number(row["ssim"]),
            _number(row.get(HEADLINE)),
            f"{_number(row.get('lost'))}{_interval(row.get('lost_ci95'))}",
        ]
        for row in rows
    ]
    return {
        "title": f"Maps of networks that have learned nothing, beside the trained one's, on {found['slices']} slices",
        "head": ["method", "network", "Spearman", "SSIM", "average precision", "lost (95%)"],
        "rows": body,
    }
