"""Queries beside the slices that were found for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from btjax.figures.mistakes import OUTLINE
from btjax.figures.style import outline, plain_text, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from btjax.readers.slices import Slices

RIGHT, WRONG = "#009E73", "#D55E00"
"""Frames of slices of the query's class and of another: the green and vermilion of Okabe and Ito's palette."""


@plain_text
def query_rows(slices: Slices, queries: np.ndarray, nearest: np.ndarray, notes: Sequence[str]) -> Figure:
    """Draws each query with its nearest slices, in a row; those of another class have a dashed frame too.

    Args:
      slices: of the data set, with labels.
      queries: int [Q], rows.
      nearest: int [Q, K], rows.
      notes: Q texts, such as the query's average precision.
    """
    labels = slices.labels
    if labels is None:
        raise ValueError("expected labelled slices")
    columns = nearest.shape[1] + 1
    figure = Figure(figsize=(1.75 * columns, 2.25 * len(queries) + 0.2), layout="constrained")
    panels = figure.subplots(len(queries), columns, squeeze=False)
    for row, (query, found) in enumerate(zip(queries, nearest, strict=True)):
        for panel, place in zip(panels[row], [query, *found], strict=True):
            panel.imshow(slices.images[place], cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
            outline(panel, None if slices.masks is None else slices.masks[place], OUTLINE, 0.9)
            panel.set_xticks([])
            panel.set_yticks([])
            right = labels[place] == labels[query]
            for spine in panel.spines.values():
                spine.set(visible=place != query, linewidth=2.5, color=RIGHT if right else WRONG)
                spine.set_linestyle("-" if right else "--")
            name = wrapped(f"{slices.classes[labels[place]]}, slice {slices.ids[place]}", 26)
            panel.set_title(name, fontsize=7.5, loc="left")
        panels[row][0].set_xlabel(wrapped(f"query: {notes[row]}", 28), fontsize=7.5, loc="left")
    return figure
