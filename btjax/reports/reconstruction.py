"""report.html of an autoencoder's run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btjax.figures.unet import loss_by_epoch
from btjax.reports.deviations import deviation_section
from btjax.reports.page import Picture, Section, Table, flattened, render
from btjax.reports.unet import score_cells
from btjax.runs.report import write_report
from btjax.runs.run import REPORT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.runs.folder import RunFolder
    from btjax.runs.report import ReconstructionReport
    from btjax.systems.deviations import Deviation


def write_reconstruction_report(
    folder: RunFolder, report: ReconstructionReport, differences: Sequence[Deviation] = ()
) -> None:
    """Writes report.json, report.html and figures/ into a run's folder.

    Args:
      folder: of the run.
      report: its scores.
      differences: how the run differs from its paper's experiment.
    """
    loss = loss_by_epoch(folder.history(), published=not report.data.synthetic)
    folder.write_figure("loss", loss)
    rows = [
        ["test", report.test.slices, *score_cells(report.test)],
        ["validation", report.validation.slices, *score_cells(report.validation)],
    ]
    table = Table(
        "Reconstruction, with 95% intervals by patient; validation chose the checkpoint",
        ["side", "slices", "MAE", "PSNR (dB)", "SSIM"],
        rows,
    )
    picture = Picture(loss, "Mean absolute error by epoch, in the form of the paper's Figure 7.")
    sections = [
        Section("Scores", [table], [picture]),
        deviation_section(differences),
        Section("Configuration", pairs=flattened(report.config)),
    ]
    title = f"{report.title}: {report.test.slices} test slices, protocol {report.protocol}"
    folder.write_text("report.html", render(title, sections, lead=[f"Data: {report.data.form}."]))
    write_report(folder.path / REPORT, report)
