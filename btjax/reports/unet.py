"""unet.html: the U-Net's scores and the paper's Figures 7 to 14."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from btjax.figures import saliency
from btjax.figures import unet as figures
from btjax.reports.deviations import deviation_section
from btjax.reports.numbers import number, number_with_interval
from btjax.reports.page import Picture, Section, Table, render
from btjax.runs.folder import RunFolder
from btjax.studies.composed import AUTOENCODER, CLASSIFIER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from btjax.evaluation.reconstruction import LatentEffect, ReconstructionScores
    from btjax.readers.slices import Slices
    from btjax.studies.unet import UNetPictures, UNetReport
    from btjax.systems.deviations import Deviation

_CAPTIONS = {
    "figure_07": "Figure 7: mean absolute error by epoch.",
    "figure_08": "Figure 8: the U-Net's output after some epochs.",
    "figure_09": "Figure 9: the right model's, which has the location branch alone.",
    "figure_10": "Figure 10: the left model's, whose location branch is another random one.",
    "figure_11": "Figure 11: the encoder classifier's accuracy.",
    "figure_12": "Figure 12: confusion matrices of the held-out slices.",
    "figure_13": "Figure 13: saliency. The tumour is outlined in red.",
    "figure_14": "Figure 14: saliency of other slices.",
}


def write_unet_report(
    folder: RunFolder,
    report: UNetReport,
    pictures: UNetPictures,
    tested: Slices,
    differences: Mapping[str, Sequence[Deviation]],
) -> None:
    """Writes unet.json, unet.html and figures/ into the experiment's folder.

    Args:
      folder: of the experiment.
      report: of `btjax.studies.unet.unet_report`.
      pictures: of the same.
      tested: the test slices.
      differences: of each trained model from the paper's, by its name.
    """
    drawn = _figures(folder, report, pictures, tested)
    for name, figure in drawn.items():
        folder.write_figure(name, figure)
    folder.write_json("unet.json", msgspec.to_builtins(report, str_keys=True))
    folder.write_text("unet.html", _page(report, drawn, differences))


def _figures(folder: RunFolder, report: UNetReport, pictures: UNetPictures, tested: Slices) -> dict[str, Figure]:
    """Figures 7 to 14 by name."""
    drawn = {"figure_07": figures.loss_by_epoch(RunFolder(folder.path / AUTOENCODER).history())}
    for place, name in (("08", "full"), ("09", "right"), ("10", "left")):
        errors = {epoch: scores.mae for epoch, scores in report.by_epoch[name].items()}
        drawn[f"figure_{place}"] = figures.outputs_by_epoch(pictures.by_epoch[name], errors)
    drawn["figure_11"] = figures.accuracy_by_epoch(RunFolder(folder.path / CLASSIFIER).history())
    matrices = {epoch: np.array(matrix) for epoch, matrix in report.confusion_by_epoch.items()}
    drawn["figure_12"] = figures.confusion_by_epoch(matrices, report.classes)
    for place, rows in zip(("13", "14"), pictures.rows, strict=True):
        drawn[f"figure_{place}"] = _saliency_panels(report, pictures, tested, rows)
    return drawn


def _saliency_panels(report: UNetReport, pictures: UNetPictures, tested: Slices, rows: np.ndarray) -> Figure:
    """Figures 13 and 14: a row for each slice."""
    inputs = np.stack([pictures.inputs[row] for row in rows])
    heat = saliency.heat(np.stack([pictures.gradients[row] for row in rows]))
    shown = {
        "slice and tumour": inputs,
        "U-Net's output": np.stack([pictures.full[row] for row in rows]),
        "final U-Net's output": np.stack([pictures.final[row] for row in rows]),
        "gradient": heat,
        "gradient over the slice": (inputs + heat) / 2,
    }
    labels: Any = tested.labels
    titles = [
        f"{report.classes[labels[row]]}, called {report.classes[pictures.predicted[row]]}\n{tested.ids[row]}"
        for row in rows
    ]
    return saliency.panels(titles, shown, None if tested.masks is None else tested.masks[rows])


def _page(report: UNetReport, drawn: dict[str, Figure], differences: Mapping[str, Sequence[Deviation]]) -> str:
    """unet.html."""
    scores = [
        [name, epoch, *score_cells(one)] for name, epochs in report.by_epoch.items() for epoch, one in epochs.items()
    ]
    scores += [["full, best epoch", "", *score_cells(report.reconstruction)], ["final", "", *score_cells(report.final)]]
    spread = [
        [epoch, one.draws, number(one.mae, 4), number(one.psnr, 2), number(one.ssim, 4)]
        for epoch, one in report.right_spread.items()
    ]
    latent = [
        [name, *_effect_cells(report.latent[name]), *_effect_cells(report.final_latent[name])] for name in report.latent
    ]
    tables = [
        Table(
            "Reconstruction of the test slices, with 95% intervals by patient",
            ["output", "epoch", "MAE", "PSNR (dB)", "SSIM"],
            scores,
        ),
        Table(
            "The right model's colorer is fresh: standard deviation of its means over several draws",
            ["epoch", "draws", "MAE", "PSNR (dB)", "SSIM"],
            spread,
        ),
        Table(
            "What decides the output: its mean absolute change when a part is replaced, and that as a share of the "
            "difference between two images' outputs",
            ["replaced", "U-Net: change", "share", "final U-Net: change", "share"],
            latent,
        ),
    ]
    pictures = [Picture(figure, _CAPTIONS[name]) for name, figure in drawn.items()]
    title = f"U-Net: {report.test_slices} test slices, protocol {report.protocol}, {report.data}"
    differing = [
        dataclasses.replace(section, title=f"{name.capitalize()}: {section.title[:1].lower()}{section.title[1:]}")
        for name, rows in differences.items()
        if not (section := deviation_section(rows)).empty
    ]
    return render(title, [Section("Scores", tables), *differing, Section("The paper's figures", pictures=pictures)])


def score_cells(scores: ReconstructionScores) -> list[str]:
    """MAE, PSNR and SSIM with their intervals, as text."""
    return [
        number_with_interval(scores.mae, scores.mae_ci95, 4),
        number_with_interval(scores.psnr, scores.psnr_ci95, 1),
        number_with_interval(scores.ssim, scores.ssim_ci95, 3),
    ]


def _effect_cells(effect: LatentEffect) -> list[str]:
    return [
        number_with_interval(effect.effect, effect.effect_ci95, 4),
        number_with_interval(effect.share, effect.share_ci95, 3),
    ]
