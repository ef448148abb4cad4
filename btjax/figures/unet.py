"""The paper's Figures 7 to 14: the U-Net's loss, its outputs over the epochs, its classifier, its saliency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from btjax.figures.curves import COLOURS

# Read off Figure 7, by epoch from 1 on, to about 0.01.
_PUBLISHED_LOSS = {"train": (0.19, 0.07, 0.045), "validation": (0.66, 0.48, 0.46, 0.18, 0.09, 0.10, 0.08)}


def loss_by_epoch(metrics: Sequence[dict], published: bool = True) -> Figure:
    """Figure 7: mean absolute error against epoch.

    Args:
      metrics: rows with `epoch`, `train_loss` and `validation_loss`.
      published: draws the first epochs of the paper's curves beside, as far as they can be read.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    panel = figure.subplots()
    epochs = [row["epoch"] for row in metrics]
    for part in ("train", "validation"):
        if published:
            values = _PUBLISHED_LOSS[part]
            label = f"{'training' if part == 'train' else part}, paper's first epochs"
            panel.plot(
                range(1, len(values) + 1), values, color=COLOURS[part], alpha=0.4, linestyle=(0, (2, 1.5)), label=label
            )
        values = [row[f"{part}_loss"] for row in metrics]
        panel.plot(
            epochs, values, color=COLOURS[part], linewidth=2, label="training" if part == "train" else "validation"
        )
    _style(panel, "mean absolute error of colours in [0, 1]")
    panel.set_ylim(bottom=0)
    panel.legend(frameon=False)
    return figure


def accuracy_by_epoch(metrics: Sequence[dict], first: int = 80, last: int = 100) -> Figure:
    """Figure 11: the encoder classifier's accuracy, epochs `first` to `last`, or all where there are no such."""
    rows = [row for row in metrics if first <= row["epoch"] <= last] or list(metrics)
    figure = Figure(figsize=(6, 4), layout="constrained")
    panel = figure.subplots()
    for part in ("train", "validation"):
        values = [row[f"{part}_accuracy"] for row in rows]
        label = "training" if part == "train" else "validation"
        panel.plot([row["epoch"] for row in rows], values, color=COLOURS[part], linewidth=2, label=label)
    _style(panel, "share correct")
    panel.set_ylim(top=1.005)
    panel.legend(frameon=False)
    return figure


def _style(panel, quantity: str) -> None:
    panel.set_xlabel("epoch")
    panel.set_ylabel(quantity)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(color="0.9", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def outputs_by_epoch(outputs: Mapping[int, np.ndarray], scores: Mapping[int, float]) -> Figure:
    """Figures 8, 9 and 10: what a model makes of one slice after some epochs.

    Args:
      outputs: epoch -> float32 [S, S, 3], drawn clipped to [0, 1].
      scores: epoch -> mean absolute error over the test slices, written above.
    """
    columns = min(3, len(outputs))
    rows = -(-len(outputs) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.65 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, (epoch, image) in zip(panels, outputs.items(), strict=False):
        panel.imshow(np.clip(image, 0, 1))
        panel.set_title(f"epoch {epoch}, MAE {scores[epoch]:.3f}", fontsize=9)
    return figure


def confusion_by_epoch(matrices: Mapping[int, np.ndarray], classes: Sequence[str]) -> Figure:
    """Figure 12: confusion matrices of held-out slices after some epochs.

    Args:
      matrices: epoch -> int [C, C], rows true, columns predicted.
      classes: C names.
    """
    figure = Figure(figsize=(2.5 * len(matrices) + 0.6, 3.1), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(matrices), sharey=True))
    for panel, (epoch, matrix) in zip(panels, matrices.items(), strict=True):
        matrix = np.asarray(matrix)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(matrix.shape):
            colour = "white" if shares[row, column] > 0.5 else "black"
            panel.text(column, row, matrix[row, column], ha="center", va="center", color=colour)
        panel.set_xticks(range(len(classes)), [name[:3] for name in classes])
        panel.set_yticks(range(len(classes)), classes)
        panel.set_title(f"epoch {epoch}: {np.trace(matrix) / matrix.sum():.1%}", fontsize=10)
        panel.set_xlabel("predicted")
        panel.tick_params(length=0)
    panels[0].set_ylabel("true")
    return figure
