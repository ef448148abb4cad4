"""The slices that a classifier got most wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from btjax.base.numbers import percent
from btjax.figures.style import outline, plain_text, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

OUTLINE = "#F0E442"
"""The tumour's outline: the yellow of Okabe and Ito's palette, clear against every grey."""

_COLUMNS = 4
_TITLE_LETTERS, _ID_LETTERS = 32, 38
"""How many letters of a title and of an id fit over and under a slice."""


@plain_text
def worst_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    ids: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    most: int = 12,
) -> Figure:
    """Draws the wrongly classified slices, the most confident first.

    Args:
      images: uint8 [N, S, S], grey.
      labels: int [N], true classes.
      probabilities: float [N, C], of which the highest is the prediction.
      classes: C names.
      ids: str [N], written under each slice.
      masks: bool [N, S, S], tumour masks, outlined.
      most: the number of slices drawn at most.

    Returns:
      A figure of up to `most` slices; without mistakes, a figure that says so.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    predictions = probabilities.argmax(axis=1) if len(labels) else labels
    wrong = np.flatnonzero(predictions != labels)
    confidence = probabilities[wrong, predictions[wrong]]
    drawn = wrong[np.argsort(-confidence, kind="stable")][:most].tolist()
    if not drawn:
        return _message(f"No mistakes: all {len(labels)} slices are classified correctly.")
    titles = []
    for row in drawn:
        truth, guess = classes[int(labels[row])], classes[int(predictions[row])]
        told = f"true: {truth}\npredicted: {guess}, {_confidence(float(probabilities[row].max()))}"
        titles.append(wrapped(told, _TITLE_LETTERS))
    names = ["" if ids is None else wrapped(f"slice {ids[row]}", _ID_LETTERS) for row in drawn]
    figure, panels = _panels(titles, names)
    for panel, row, title, name in zip(panels, drawn, titles, names, strict=False):
        _draw_slice(panel, images[row], title, name)
        outline(panel, None if masks is None else masks[row], OUTLINE, 1.2)
    shown = "all shown" if len(drawn) == len(wrong) else f"the {len(drawn)} most confident shown"
    heading = f"{len(wrong)} of {len(labels)} slices wrong, {shown}{'' if masks is None else ', tumour outlined'}"
    figure.suptitle(heading, x=0.005, ha="left", fontsize=11, fontweight="bold")
    return figure


def _panels(titles: Sequence[str], names: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """A figure of empty panels, four in a row, with room for the longest title and name."""
    rows = -(-len(titles) // _COLUMNS)
    lines = max(title.count("\n") for title in titles) - 1 + max(name.count("\n") for name in names)
    figure = Figure(figsize=(2.5 * _COLUMNS, (3.05 + 0.18 * lines) * rows + 0.35), layout="constrained")
    panels = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for panel in panels:
        panel.set_axis_off()
    return figure, panels


def _draw_slice(panel: Axes, image: np.ndarray, title: str, name: str) -> None:
    panel.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    panel.set_title(title, fontsize=9.5, loc="left", linespacing=1.35)
    if name:
        panel.text(0, -0.02, name, transform=panel.transAxes, fontsize=8, color="0.35", va="top")


def _confidence(probability: float) -> str:
    """A wrong answer is never said to have been given with 100%."""
    return ">99.9%" if probability > 0.999 else percent(probability)


def _message(text: str) -> Figure:
    figure = Figure(figsize=(10, 1.2), layout="constrained")
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=12)
    return figure
