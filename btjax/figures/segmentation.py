"""Outlines drawn: slices with the true and the predicted outline, and training by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from btjax.figures.style import COLOURS, NAMES, light_axes, no_axes, outline, plain_text, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

TRUE, PREDICTED = "#F0E442", "#56B4E9"
"""Colours of the outlines: yellow and sky blue of Okabe and Ito's palette, clear against every grey."""


@plain_text
def outline_panels(
    groups: Mapping[str, Sequence[int]], images: np.ndarray, masks: Mapping[str, np.ndarray], titles: Sequence[str]
) -> Figure:
    """Slices with both outlines, a row of panels for each group.

    Args:
      groups: name, such as "worst", -> row numbers of slices; all of the same number, at least one.
      images: uint8 [N, S, S], grey.
      masks: `true` and `predicted`, bool [N, S, S] each; one may be empty, and then has no outline.
      titles: N, written over the slices.
    """
    columns = max(len(rows) for rows in groups.values())
    figure = Figure(figsize=(2.3 * columns + 0.4, 2.75 * len(groups) + 0.5), layout="constrained")
    grid = figure.subplots(len(groups), columns, squeeze=False)
    for (name, rows), line in zip(groups.items(), grid, strict=True):
        for panel in line:
            no_axes(panel)
        line[0].set_ylabel(name, fontsize=10)
        for panel, row in zip(line, rows, strict=False):
            panel.imshow(images[row], cmap="gray", vmin=0, vmax=255)
            outline(panel, masks["true"][row], TRUE, 1.4)
            outline(panel, masks["predicted"][row], PREDICTED, 1.4)
            panel.set_title(wrapped(titles[row], 30), fontsize=8)
    lines = [Line2D([], [], color=colour, linewidth=2) for colour in (TRUE, PREDICTED)]
    legend = figure.legend(lines, ["true outline", "predicted"], loc="outside lower center", ncols=2, facecolor="0.25")
    for text in legend.get_texts():
        text.set_color("white")
    return figure


@plain_text
def dice_curves(metrics: Sequence[Mapping[str, Any]], checkpoint_epoch: float | None = None) -> Figure:
    """Dice and loss against epoch, of training and validation.

    Args:
      metrics: rows with `epoch` and any of `train_dice`, `validation_dice`, `train_loss`, `validation_loss`.
      checkpoint_epoch: the epoch of the checkpoint that was chosen, marked by a vertical line.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    names = {"dice": "mean Dice at half size", "loss": "cross-entropy and soft Dice"}
    for panel, (quantity, name) in zip(panels, names.items(), strict=True):
        for part, told in NAMES.items():
            rows = [row for row in metrics if row.get(f"{part}_{quantity}") is not None]
            if rows:
                values = [row[f"{part}_{quantity}"] for row in rows]
                epochs = [row["epoch"] for row in rows]
                panel.plot(epochs, values, color=COLOURS[part], linewidth=2, marker="o", markersize=3.5, label=told)
        if checkpoint_epoch is not None:
            panel.axvline(checkpoint_epoch, color="0.35", linewidth=1, linestyle=":", zorder=1, label="checkpoint")
        panel.set_title(quantity.capitalize(), loc="left", fontweight="bold")
        panel.set_xlabel("epoch")
        panel.set_ylabel(name)
        panel.set_ylim(bottom=0)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        light_axes(panel)
    panels[0].set_ylim(top=1.005)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure
