"""Pairs of slices side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from btjax.figures.style import no_axes, plain_text, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

_PER_ROW = 4
_LETTERS = 22


@plain_text
def linked_pairs(
    first: np.ndarray, second: np.ndarray, titles: Sequence[tuple[str, str]], heads: Sequence[str]
) -> Figure:
    """Draws pairs of slices, four pairs in a row.

    Args:
      first: uint8 [P, S, S].
      second: uint8 [P, T, T], drawn beside the first ones.
      titles: what stands over each of the two slices of each pair.
      heads: what stands under each pair.

    Raises:
      ValueError: no pairs, or other numbers of titles.
    """
    count = len(first)
    if not count or {count} != {len(second), len(titles), len(heads)}:
        raise ValueError(f"expected as many slices, titles and heads, at least one, found {count} slices")
    rows = -(-count // _PER_ROW)
    figure = Figure(figsize=(3.2 * _PER_ROW, 2.1 * rows), layout="constrained")
    panels = figure.subplots(rows, 2 * _PER_ROW, squeeze=False)
    for panel in panels.flat:
        no_axes(panel)
    for place in range(count):
        row, column = divmod(place, _PER_ROW)
        for part, image in enumerate((first[place], second[place])):
            panel = panels[row, 2 * column + part]
            panel.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
            panel.set_title(wrapped(titles[place][part], _LETTERS), fontsize=7, loc="left")
        panels[row, 2 * column].set_xlabel(heads[place], fontsize=8, loc="left")
    return figure
