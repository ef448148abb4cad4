"""A saliency report drawn: figures, and one page of tables beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from btjax.base.errors import InputError
from btjax.data.slices import CLASSES
from btjax.figures import saliency as figures
from btjax.reports.gallery import render_gallery
from btjax.runs.run import Run
from btjax.saliency.faithfulness import MEASURES
from btjax.saliency.scores import SCORES
from btjax.studies.explanation import Maps, Subject, maps_of, stratified
from btjax.studies.saliency import HEADLINE, PERMUTED


def drawn_rows(subject: Subject, explained: Sequence[np.ndarray], slices: Sequence[str]) -> list[int]:
    """Row numbers of the named test slices, or of two of each class of those that every method explains.

    Args:
      subject: what is explained.
      explained: the rows that each method explains.
      slices: ids; none for two of each class.

    Raises:
      InputError: an id that is no test slice's, or one that a method does not explain.
    """
    tested = subject.tested
    common = sorted(set.intersection(*(set(rows.tolist()) for rows in explained)))
    if not slices:
        return [common[place] for place in stratified(tested.labels[common], 2 * len(CLASSES), 0)]
    unknown = set(slices) - set(tested.ids[common])
    if unknown:
        known = "a test slice that every method explains" if set(slices) <= set(tested.ids) else "a test slice's id"
        raise InputError(f"--slices={min(unknown)}: expected {known}, such as {tested.ids[common[0]]}")
    return [row for row in common if tested.ids[row] in slices]


def write_saliency_report(
    run: Run,
    report: dict[str, Any],
    values: Mapping[str, Mapping[str, np.ndarray]],
    subject: Subject,
    maps: Mapping[str, Maps],
    rows: list[int],
) -> None:
    """Writes saliency.html and figures/ into the folder.

    Args:
      run: the folder.
      report: of `saliency_report`.
      values: of `saliency_report`.
      subject: what was explained.
      maps: of each method, by name.
      rows: numbers of the test slices to draw, of `drawn_rows`.
    """
    drawn = {"gallery": _gallery(subject, maps, rows)}
    if "gradient" in maps:
        drawn["panels"] = _panels(subject, maps, rows)
    if values:
        drawn |= _score_figures(report, values, subject)
    if report["randomisation"]["rows"]:
        drawn["randomisation"] = figures.randomisation_curves(report["randomisation"]["rows"])
    for name, figure in drawn.items():
        run.write_figure(name, figure)
    run.write_text("saliency.html", _page(report, drawn))


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
    """The panels of the paper's Figures 13 and 14, a row for each slice.

    Image, U-Net's output, final U-Net's output, gradient, gradient over the image; of a network beside which no final
    U-Net stands, Grad-CAM and Grad-CAM over the image stand at the end in the place of the two outputs.
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
    drawn, whole = {}, len(subject.tested)
    for score in (HEADLINE, "pointing", "energy"):
        rows = []
        for kind in ("scores", "controls"):
            for row in report[kind]:
                if row["group"] == "all" and row["score"] == score:
                    part = f" ({row['slices']} slices)" if row["slices"] < whole else ""
                    rows.append(row | {"control": kind == "controls", "method": row["method"] + part})
        drawn[f"scores_{score}"] = figures.score_bars(
            rows, score, report["chance"][score], SCORES[score].higher_is_better
        )
    of_all = {name: scores[HEADLINE] for name, scores in values.items() if len(scores[HEADLINE]) == whole}
    best = sorted(of_all, key=lambda name: -of_all[name].mean())
    controls = {row["method"] for row in report["controls"]}
    methods = [name for name in best if name not in controls][:6]
    if methods:
        beside = [next(name for name in best if name in controls - {"noise"}), "noise"]
        areas = subject.tested.masks.mean(axis=(1, 2))
        drawn["by_size"] = figures.score_by_size(
            areas, {name: of_all[name] for name in methods}, {name: of_all[name] for name in beside}, HEADLINE
        )
    return drawn


_CAPTIONS = {
    "gallery": "Maps of test slices, the tumour outlined in green.",
    "panels": "Slices as the paper shows them in its Figures 13 and 14; the tumour is outlined in red.",
    "by_size": "Average precision by lesion size, beside the best control and noise, which is chance.",
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
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in report["saliency"].items())
    lead = [f"Accuracy on these slices: {report['accuracy']:.3f}. {report['data']}.", f"Settings: {settings}."]
    if any(row["slices"] < report["test_slices"] for row in report.get("scores", ()) if row["group"] == "all"):
        lead.append(
            "Methods of many passes explain a drawn part of the slices, as many of each class: compare them by their "
            "difference to the best control, which is of the same slices."
        )
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
    measured = {(row["method"], row["score"]): row for row in found["rows"]}
    body = []
    for method in dict.fromkeys(row["method"] for row in found["rows"]):
        cells = [measured.get((method, name)) for name in MEASURES]
        body.append([method, *("" if row is None else _number(row["mean"]) + _interval(row["ci95"]) for row in cells)])
    head = [
        f"{name.replace('_', ' ')} ({'higher' if measure.higher_is_better else 'lower'} is better)"
        for name, measure in MEASURES.items()
    ]
    return {
        "title": f"What the network does with the map's pixels, on {found['slices']} slices; noise: random maps",
        "head": ["method", *head],
        "rows": body,
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
    title = f"Maps of networks that have not learned the task, beside the trained one's, on {found['slices']} slices"
    if "permuted_train_accuracy" in found:
        title += f"; of its permuted labels the network knows {found['permuted_train_accuracy']:.1%}"
    return {
        "title": title,
        "head": ["method", "network", "Spearman", "SSIM", "average precision", "lost (95%)"],
        "rows": body,
    }
