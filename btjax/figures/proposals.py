"""Region proposals drawn: slices with the tumour's box and the first boxes of a map and of the controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from btjax.figures.style import no_axes, plain_text, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

TRUE, PROPOSED = "#F0E442", "#56B4E9"
"""Colours of the boxes: yellow and sky blue of Okabe and Ito's palette."""


@plain_text
def proposal_panels(
    images: np.ndarray, true: np.ndarray, boxes: Mapping[str, np.ndarray], titles: Sequence[str]
) -> Figure:
    """Slices in columns, a row for each source of boxes.

    Args:
      images: uint8 [N, S, S], grey.
      true: int [N, 4], the tumours' boxes.
      boxes: by source int [N, K, 4]; the first is drawn thick.
      titles: N, over the columns.
    """
    figure = Figure(figsize=(2.3 * len(images) + 0.6, 2.4 * len(boxes) + 0.5), layout="constrained")
    grid = figure.subplots(len(boxes), len(images), squeeze=False)
    for (name, own), line in zip(boxes.items(), grid, strict=True):
        line[0].set_ylabel(name.replace("_", " "), fontsize=9)
        for column, panel in enumerate(line):
            no_axes(panel)
            panel.imshow(images[column], cmap="gray", vmin=0, vmax=255)
            for place, box in enumerate(own[column][::-1]):
                first = place == len(own[column]) - 1
                panel.add_patch(_rectangle(box, PROPOSED, 2.0 if first else 0.6))
            panel.add_patch(_rectangle(true[column], TRUE, 1.4))
            if line is grid[0]:
                panel.set_title(wrapped(titles[column], 26), fontsize=8)
    return figure


def _rectangle(box: np.ndarray, colour: str, width: float) -> Rectangle:
    top, left, bottom, right = (int(value) for value in box)
    return Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=width)
