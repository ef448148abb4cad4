"""The slices that a classifier got most wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

OUTLINE = "#F0E442"
"""The tumour's outline: the yellow of Okabe and Ito's palette, clear against every grey."""

_COLUMNS = 4


def worst_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
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
      ids: str [N], shown under each slice.
      masks: bool [N, S, S], tumour masks, outlined.
      most: the number of slices drawn at most.

    Returns:
      A figure of up to `most` slices; without mistakes, a figure that says so.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    predictions = probabilities.argmax(axis=1) if len(labels) else labels
    wrong = np.flatnonzero(predictions != labels)
    confidence = probabilities[wrong, predictions[wrong]]
    drawn = wrong[np.argsort(-confidence, kind="stable")][:most]
    if len(drawn) == 0:
        return _message(f"No mistakes: all {len(labels)} slices are classified correctly.")
    columns = min(_COLUMNS, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(2.5 * _COLUMNS, 3.05 * rows + 0.35), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for panel, row in zip(panels.flat, drawn, strict=False):
        _draw_slice(panel, images[row], None if masks is None else masks[row])
        truth, guess = classes[labels[row]], classes[predictions[row]]
        panel.set_title(
            f"true: {truth}\npredicted: {guess}, {_percent(probabilities[row, predictions[row]])}",
            fontsize=9.5, loc="left", linespacing=1.35, parse_math=False,
        )  # fmt: skip
        if ids is not None:
            panel.text(
                0, -0.02, f"slice {ids[row]}", transform=panel.transAxes, fontsize=8, color="0.35", va="top",
                parse_math=False,
            )  # fmt: skip
    shown = "all shown" if len(drawn) == len(wrong) else f"the {len(drawn)} most confident shown"
    outline = ", tumour outlined" if masks is not None else ""
    figure.suptitle(
        f"{len(wrong)} of {len(labels)} slices wrong, {shown}{outline}", x=0.005, ha="left", fontsize=11,
        fontweight="bold",
    )  # fmt: skip
    return figure


def _draw_slice(panel: Axes, image: np.ndarray, mask: np.ndarray | None) -> None:
    panel.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    if mask is not None and mask.any() and not mask.all():
        panel.contour(mask.astype(np.float32), levels=[0.5], colors=[OUTLINE], linewidths=1.2)


def _percent(probability: float) -> str:
    """Never rounds up to 100%: a wrong answer given with certainty deserves its last digit."""
    return ">99.9%" if probability > 0.999 else f"{probability:.1%}"


def _message(text: str) -> Figure:
    figure = Figure(figsize=(10, 1.2), layout="constrained")
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=12)
    return figure
