"""The confusion matrix: the form of the paper's Figures 16 and 17."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure


def confusion_matrix(matrix: np.ndarray, classes: Sequence[str], title: str | None = None) -> Figure:
    """Draws counts, coloured by and printed with their share of the row.

    Args:
      matrix: int [C, C], rows true, columns predicted, order of `classes`.
      classes: C names.
      title: above the matrix.

    Returns:
      A figure. A row without counts shows zeros, and no share.

    Raises:
      ValueError: a matrix of another shape.
    """
    matrix = np.asarray(matrix)
    size = len(classes)
    if matrix.shape != (size, size):
        raise ValueError(f"the matrix of {size} classes must be [{size}, {size}], found {matrix.shape}")
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    figure = Figure(figsize=(2.4 + 1.05 * size, 1.7 + 0.85 * size), layout="constrained")
    panel = figure.subplots()
    colours = colormaps["Blues"]
    panel.pcolormesh(shares, cmap=colours, vmin=0, vmax=1, edgecolors="0.85", linewidth=1)
    panel.invert_yaxis()
    for row in range(size):
        for column in range(size):
            share = shares[row, column]
            luminance = np.dot(colours(share)[:3], (0.2126, 0.7152, 0.0722))
            colour = "white" if luminance < 0.5 else "black"
            place = (column + 0.5, row + 0.5)
            panel.annotate(
                f"{matrix[row, column]}", place, (0, 5), textcoords="offset points",
                ha="center", va="center", color=colour, fontsize=15, fontweight="bold",
            )  # fmt: skip
            if totals[row, 0]:
                panel.annotate(
                    f"{share:.1%}", place, (0, -11), textcoords="offset points",
                    ha="center", va="center", color=colour, fontsize=9,
                )  # fmt: skip
    ticks = np.arange(size) + 0.5
    panel.set_xticks(ticks, classes, fontsize=10)
    panel.set_yticks(ticks, [f"{name}\nn = {total}" for name, total in zip(classes, totals[:, 0], strict=True)])
    panel.set_xlabel("predicted", labelpad=8)
    panel.set_ylabel("true", labelpad=8)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    if title:
        panel.set_title(title, loc="left", fontweight="bold", fontsize=11, pad=10)
    return figure
