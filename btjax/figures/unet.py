"""The paper's Figures 7 to 12: the U-Net's loss and outputs by epoch, its classifier's accuracy and matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from btjax.base.numbers import number, percent
from btjax.figures.style import (
    COLOURS,
    LETTER,
    NAMES,
    PAPER_LINE,
    checked_matrix,
    contrasting,
    light_axes,
    longest_line,
    name_matrix_axes,
    plain_text,
    row_shares,
    short_names,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

# Read off Figure 7, by epoch from 1 on, to about 0.01.
_PUBLISHED_LOSS = {"train": (0.19, 0.07, 0.045), "validation": (0.66, 0.48, 0.46, 0.18, 0.09, 0.10, 0.08)}


@plain_text
def loss_by_epoch(metrics: Sequence[Mapping[str, Any]], published: bool = True) -> Figure:
    """Figure 7: mean absolute error against epoch.

    Args:
      metrics: rows with `epoch`, `train_loss` and `validation_loss`.
      published: whether to draw the first epochs of the paper's curves as well, as far as they can be read.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    panel = figure.subplots()
    epochs = [row["epoch"] for row in metrics]
    for part, name in NAMES.items():
        if published:
            values = _PUBLISHED_LOSS[part]
            look = {"color": COLOURS[part], "alpha": 0.4, "linestyle": PAPER_LINE}
            panel.plot(range(1, len(values) + 1), values, label=f"{name}, paper's first epochs", **look)
        panel.plot(epochs, [row[f"{part}_loss"] for row in metrics], color=COLOURS[part], linewidth=2, label=name)
    _style(panel, "mean absolute error of colours in [0, 1]")
    panel.set_ylim(bottom=0)
    panel.legend(frameon=False)
    return figure


@plain_text
def accuracy_by_epoch(metrics: Sequence[Mapping[str, Any]], first: int = 80, last: int = 100) -> Figure:
    """Figure 11: the encoder classifier's accuracy, epochs `first` to `last`, or all where there are no such.

    Args:
      metrics: rows with `epoch`, `train_accuracy` and `validation_accuracy`.
      first: the first epoch drawn.
      last: the last.
    """
    rows = [row for row in metrics if first <= row["epoch"] <= last] or list(metrics)
    figure = Figure(figsize=(6, 4), layout="constrained")
    panel = figure.subplots()
    for part, name in NAMES.items():
        values = [row[f"{part}_accuracy"] for row in rows]
        panel.plot([row["epoch"] for row in rows], values, color=COLOURS[part], linewidth=2, label=name)
    _style(panel, "share correct")
    panel.set_ylim(top=1.005)
    panel.legend(frameon=False)
    return figure


def _style(panel: Axes, quantity: str) -> None:
    panel.set_xlabel("epoch")
    panel.set_ylabel(quantity)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    light_axes(panel)


@plain_text
def outputs_by_epoch(outputs: Mapping[int, np.ndarray], scores: Mapping[int, float]) -> Figure:
    """Figures 8, 9 and 10: a model's reconstruction of one slice after some epochs.

    Args:
      outputs: epoch -> float32 [S, S, 3], drawn clipped to [0, 1]; at least one.
      scores: epoch -> mean absolute error over the test slices, written above.
    """
    columns = min(3, len(outputs))
    rows = -(-len(outputs) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.65 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, (epoch, image) in zip(panels, outputs.items(), strict=False):
        panel.imshow(np.clip(image, 0, 1))
        panel.set_title(f"epoch {epoch}, MAE {number(scores[epoch])}", fontsize=9)
    return figure


@plain_text
def confusion_by_epoch(matrices: Mapping[int, ArrayLike], classes: Sequence[str]) -> Figure:
    """Figure 12: confusion matrices of held-out slices after some epochs, with the accuracy above each.

    Args:
      matrices: epoch -> int [C, C], rows true, columns predicted; at least one.
      classes: C names.

    Raises:
      ValueError: a matrix of another shape.
    """
    columns, rows = short_names(classes)
    rows = [wrapped(name, 24) for name in rows]
    side = max(2.3, 0.4 * len(classes) + 0.4)
    across = min(len(matrices), max(2, int(12.5 // side)))
    down = -(-len(matrices) // across)
    margin = 0.5 + LETTER * longest_line(rows)
    figure = Figure(figsize=(margin + side * across, (side + 0.75) * down), layout="constrained")
    panels = figure.subplots(down, across, sharey=True, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for panel, (epoch, matrix) in zip(panels.flat, matrices.items(), strict=False):
        counts = checked_matrix(matrix, classes)
        panel.set_axis_on()
        _draw_counts(panel, counts)
        panel.set_xticks(range(len(classes)), columns)
        panel.set_yticks(range(len(classes)), rows)
        name_matrix_axes(panel, left=panel in panels[:, 0])
        accuracy = np.trace(counts) / counts.sum() if counts.sum() else None
        panel.set_title(f"epoch {epoch}: {percent(accuracy)}", fontsize=10)
    return figure


def _draw_counts(panel: Axes, matrix: np.ndarray) -> None:
    """Counts in cells that are coloured by their share of the row."""
    colours, shares = colormaps["Blues"], row_shares(matrix)
    panel.imshow(shares, cmap=colours, vmin=0, vmax=1)
    for row, column in np.ndindex(matrix.shape):
        panel.text(
            column,
            row,
            str(matrix[row, column]),
            ha="center",
            va="center",
            fontsize=10 if len(matrix) <= 5 else 8,
            color=contrasting(colours(shares[row, column])),
        )
