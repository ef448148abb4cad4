"""The confusion matrix: the form of the paper's Figures 16 and 17."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from btjax.base.numbers import percent
from btjax.figures.style import (
    LETTER,
    checked_matrix,
    contrasting,
    longest_line,
    name_matrix_axes,
    plain_text,
    row_shares,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

_MANY = 5
"""More classes than this are drawn in smaller cells."""


@plain_text
def confusion_matrix(matrix: ArrayLike, classes: Sequence[str], title: str | None = None) -> Figure:
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
    matrix = checked_matrix(matrix, classes)
    size, totals, shares = len(classes), matrix.sum(axis=1), row_shares(matrix)
    cell, large, small = ((1.05, 0.85), 15, 9) if size <= _MANY else ((0.8, 0.62), 11, 7.5)
    rows = [f"{wrapped(name, 24)}\nn = {total}" for name, total in zip(classes, totals, strict=True)]
    columns, look, below = _column_names(classes, cell[0])
    margin = 0.6 + LETTER * longest_line(rows)
    figure = Figure(figsize=(margin + cell[0] * size, below + cell[1] * size + 0.45), layout="constrained")
    panel = figure.subplots()
    colours = colormaps["Blues"]
    panel.pcolormesh(shares, cmap=colours, vmin=0, vmax=1, edgecolors="0.85", linewidth=1)
    panel.invert_yaxis()
    for row, column in np.ndindex(matrix.shape):
        share, place = float(shares[row, column]), (column + 0.5, row + 0.5)
        text: dict[str, Any] = {"ha": "center", "va": "center", "textcoords": "offset points"}
        text["color"] = contrasting(colours(share))
        panel.annotate(f"{matrix[row, column]}", place, (0, large / 3), fontsize=large, fontweight="bold", **text)
        if totals[row]:
            panel.annotate(percent(share), place, (0, -0.75 * large), fontsize=small, **text)
    ticks = np.arange(size) + 0.5
    panel.set_xticks(ticks, columns, fontsize=10, **look)
    panel.set_yticks(ticks, rows)
    name_matrix_axes(panel)
    if title:
        panel.set_title(title, loc="left", fontweight="bold", fontsize=11, pad=10)
    return figure


def _column_names(classes: Sequence[str], width: float) -> tuple[list[str], dict[str, Any], float]:
    """The names under columns of some inches, how they are turned, and the height in inches that they take."""
    letters = int(width / LETTER)
    names = [wrapped(name, letters, break_words=False) for name in classes]
    if longest_line(names) <= letters:
        return names, {}, 0.75 + 0.17 * max(name.count("\n") for name in names)
    names = [wrapped(name, 24) for name in classes]
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    return names, turned, 0.75 + 0.7 * LETTER * longest_line(names)
