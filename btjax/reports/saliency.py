"""A saliency report drawn: figures, and one page of tables beside them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import InputError
from btjax.figures import saliency as figures
from btjax.reports.numbers import number, number_interval, number_with_interval, percent, signed
from btjax.reports.page import Picture, Section, Table, flattened, render
from btjax.saliency.faithfulness import MEASURES
from btjax.saliency.scores import SCORES
from btjax.studies.maps import Maps, maps_of
from btjax.studies.saliency import HEADLINE, PERMUTED, Explained, Values
from btjax.studies.subject import Subject, stratified

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from btjax.runs.folder import RunFolder
    from btjax.studies.saliency_rows import ComparisonRow, Faithfulness, Localisation, Randomisation, SaliencyReport


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
        return [common[place] for place in stratified(subject.labels[common], 2 * len(tested.classes), 0)]
    unknown = set(slices) - set(tested.ids[common])
    if unknown:
        known = "a test slice that every method explains" if set(slices) <= set(tested.ids) else "a test slice's id"
        raise InputError(f"--slices={min(unknown)}: expected {known}, such as {tested.ids[common[0]]}")
    return [row for row in common if tested.ids[row] in slices]


def write_saliency_report(
    folder: RunFolder, report: SaliencyReport, values: Values, explained: Explained, rows: list[int]
) -> None:
    """Writes saliency.html and figures/ into the folder.

    Args:
      folder: of the study.
      report: of `saliency_report`.
      values: of `saliency_report`.
      explained: subject and maps.
      rows: numbers of the test slices to draw, of `drawn_rows`.
    """
    subject, maps = explained.subject, explained.maps
    drawn = {"gallery": _gallery(subject, maps, rows)}
    if "gradient" in maps:
        drawn["panels"] = _panels(subject, maps, rows)
    if report.localisation is not None:
        drawn |= _score_figures(report.localisation, values, subject)
    if report.randomisation.rows:
        # Quantities that need masks are absent without them.
        found = [dataclasses.asdict(row) for row in report.randomisation.rows]
        drawn["randomisation"] = figures.randomisation_curves(
            [{name: value for name, value in row.items() if value is not None} for row in found]
        )
    for name, figure in drawn.items():
        folder.write_figure(name, figure)
    folder.write_text("saliency.html", _page(report, drawn))


def _titles(subject: Subject, rows: list[int]) -> list[str]:
    """What stands beside a row of pictures: the class, what the network says, the slice."""
    tested, classes = subject.tested, subject.run.classes
    return [
        f"{classes[subject.labels[row]]},\ncalled {classes[subject.predicted[row]]}\n{tested.ids[row]}" for row in rows
    ]


def _gallery(subject: Subject, maps: Mapping[str, Maps], rows: list[int]) -> Figure:
    tested = subject.tested
    found = {name: maps_of(known, np.array(rows)) for name, known in maps.items()}
    masks = None if tested.masks is None else tested.masks[rows]
    return figures.gallery(tested.images[rows], _titles(subject, rows), found, masks)


def _panels(subject: Subject, maps: Mapping[str, Maps], rows: list[int]) -> Figure:
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


def _score_figures(report: Localisation, values: Values, subject: Subject) -> dict[str, Figure]:
    masks = subject.tested.masks
    whole = len(subject.tested) - report.without_mask
    drawn = {}
    for score in (HEADLINE, "pointing", "energy"):
        rows = []
        for control, kind in ((False, report.scores), (True, report.controls)):
            for row in kind:
                if row.group == "all" and row.score == score:
                    part = f" ({row.slices} slices)" if row.slices < whole else ""
                    rows.append(dataclasses.asdict(row) | {"control": control, "method": row.method + part})
        drawn[f"scores_{score}"] = figures.score_bars(rows, score, report.chance[score], SCORES[score].higher_is_better)
    of_all = {name: scores[HEADLINE] for name, scores in values.items() if len(scores[HEADLINE]) == whole}
    best = sorted(of_all, key=lambda name: -of_all[name].mean())
    controls = {row.method for row in report.controls}
    methods = [name for name in best if name not in controls][:6]
    if methods and masks is not None:
        beside = [next(name for name in best if name in controls - {"noise"}), "noise"]
        areas = masks.mean(axis=(1, 2))
        drawn["by_size"] = figures.score_by_size(
            areas[(areas > 0) & (areas < 1)],
            {name: of_all[name] for name in methods},
            {name: of_all[name] for name in beside},
            HEADLINE,
        )
    return drawn


_CAPTIONS = {
    "gallery": "Maps of test slices; a tumour with a mask is outlined in green.",
    "panels": "Slices as the paper shows them in its Figures 13 and 14; a tumour with a mask is outlined in red.",
    "by_size": "Average precision by lesion size, beside the best control and noise, which is chance.",
    "randomisation": "What is left of the maps when layers are made random, from the top down.",
}


def _page(report: SaliencyReport, drawn: Mapping[str, Figure]) -> str:
    """saliency.html."""
    pictures = [Picture(one, _CAPTIONS.get(name, name.replace("_", " "))) for name, one in drawn.items()]
    found = report.localisation
    tables = [] if found is None else [_comparison_table(found, score) for score in found.chance]
    tables += [] if found is None else [_correctness_table(found)]
    tables += [_faithfulness_table(report.faithfulness), _randomisation_table(report.randomisation)]
    title = f"Saliency of {report.run['system']}: {report.test_slices} test slices, protocol {report.protocol}"
    sections = [Section("Figures", pictures=pictures), Section("Scores", tables)]
    sections += [Section("Settings", pairs=flattened(report.saliency)), Section("Run", pairs=flattened(report.run))]
    return render(title, sections, lead=_lead(report))


def _lead(report: SaliencyReport) -> list[str]:
    """What a reader must know of the slices, settings and methods."""
    lead = [
        f"Accuracy on these slices: {percent(report.accuracy)}. Maps explain the predicted class; wrongly classified "
        f"slices are scored too, and apart from the others in a table below. Data: {report.data}."
    ]
    found = report.localisation
    if found is None:
        lead.append("No mask of these data shows a tumour, or there are none: maps are drawn and checked, not scored.")
    elif any(row.slices < report.test_slices - found.without_mask for row in found.scores if row.group == "all"):
        lead.append(
            "Methods of many passes explain a drawn part of the slices, as many of each class: compare them by their "
            "difference to the best control, which is of the same slices."
        )
    if found is not None and found.without_mask:
        lead.append(f"{found.without_mask} test slices have no tumour in their mask and are not scored.")
    lead += [f"{name}: {count} of its maps are zero everywhere." for name, count in report.zero_maps.items()]
    return lead + [f"Left out: {name}: {reason}" for name, reason in report.left_out.items()]


def _comparison_table(report: Localisation, score: str) -> Table:
    rows = [row for row in report.comparison if row.group == "all" and row.score == score]
    body = [
        [
            row.method,
            row.slices,
            number_with_interval(row.mean, row.mean_ci95),
            row.best_control,
            number(row.control_mean),
            _signed_with_interval(row.difference, row.difference_ci95),
            "yes" if row.beats_best_control else "no",
        ]
        for row in sorted(rows, key=lambda row: -row.difference)
    ]
    return Table(
        f"{score.replace('_', ' ')}: {report.directions[score]} is better, chance {number(report.chance[score])}",
        ["method", "slices", "mean (95%)", "best control", "its mean", "better by (95%)", "beats it"],
        body,
    )


def _correctness_table(report: Localisation) -> Table:
    """Each method where the network is right and where it is wrong, since a map explains what the network says."""
    kept = [row for row in report.comparison if (row.group, row.score) == ("correctness", HEADLINE)]
    found = {(row.method, row.value): row for row in kept}
    body = []
    for method in dict.fromkeys(row.method for row in kept):
        cells = [method]
        for value in ("correct", "wrong"):
            row = found.get((method, value))
            cells += ["none", "", ""] if row is None else [row.slices, *_mean_and_difference(row)]
        body.append(cells)
    head = [
        f"{value}: {part}" for value in ("correct", "wrong") for part in ("slices", "mean (95%)", "better by (95%)")
    ]
    title = f"{HEADLINE.replace('_', ' ')} of correctly and wrongly classified slices: maps explain the predicted class"
    return Table(title, ["method", *head], body)


def _mean_and_difference(row: ComparisonRow) -> list[str]:
    return [
        number_with_interval(row.mean, row.mean_ci95),
        _signed_with_interval(row.difference, row.difference_ci95),
    ]


def _faithfulness_table(found: Faithfulness) -> Table:
    measured = {(row.method, row.score): row for row in found.rows}
    body = []
    for method in dict.fromkeys(row.method for row in found.rows):
        cells = [measured.get((method, name)) for name in MEASURES]
        body.append([method, *("" if row is None else number_with_interval(row.mean, row.ci95) for row in cells)])
    head = [
        f"{name.replace('_', ' ')} ({'higher' if measure.higher_is_better else 'lower'} is better)"
        for name, measure in MEASURES.items()
    ]
    title = f"What the network does with the map's pixels, on {found.slices} slices; noise: random maps"
    return Table(title, ["method", *head], body)


def _randomisation_table(found: Randomisation) -> Table:
    """The rows of networks that have learned nothing: every stage random, and permuted labels."""
    last = [row.layer for row in found.rows if row.layer != PERMUTED][-1:]
    body = [
        [
            row.method,
            PERMUTED if row.layer == PERMUTED else "every layer random",
            number(row.spearman),
            number(row.ssim),
            number(row.average_precision, undefined=""),
            number_with_interval(row.lost, row.lost_ci95, undefined=""),
        ]
        for row in found.rows
        if row.layer in (*last, PERMUTED)
    ]
    title = f"Maps of networks that have not learned the task, beside the trained one's, on {found.slices} slices"
    if found.permuted_train_accuracy is not None:
        title += f"; its accuracy on the permuted labels is {percent(found.permuted_train_accuracy)}"
    return Table(title, ["method", "network", "Spearman", "SSIM", "average precision", "lost (95%)"], body)


def _signed_with_interval(value: float, bounds: tuple[float, float] | None) -> str:
    return signed(value) if bounds is None else f"{signed(value)} ({number_interval(bounds)})"
