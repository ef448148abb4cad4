"""A ladder of protocols as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from btjax.figures.style import light_axes, plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DOT, _POOLED = "#56B4E9", "#0072B2"


@plain_text
def accuracies_by_rung(
    cells: Mapping[str, Sequence[tuple[int, int, float]]],
    pooled: Mapping[str, tuple[float, tuple[float, float] | None]],
) -> Figure:
    """Draws the accuracy of every run and of each protocol's test rows together.

    Args:
      cells: protocol -> (fold, seed, accuracy in [0, 1]) of its runs.
      pooled: protocol -> accuracy and its 95% interval, or None.
    """
    figure = Figure(figsize=(9, 0.7 + 0.62 * len(cells)), layout="constrained")
    axes = figure.subplots()
    for place, (name, runs) in enumerate(cells.items()):
        seeds = sorted({seed for _, seed, _ in runs})
        for fold, seed, accuracy in runs:
            # Seeds lie on lines of their own, so that dots do not hide each other.
            height = place + 0.12 * (seeds.index(seed) - (len(seeds) - 1) / 2) + 0.24
            label = "one fold and seed" if (place, fold, seed) == (0, *runs[0][:2]) else None
            axes.plot(100 * accuracy, height, "o", color=_DOT, markersize=5, alpha=0.8, label=label)
        value, bounds = pooled[name]
        error = None if bounds is None else 100 * np.abs(np.array([[value - bounds[0]], [bounds[1] - value]]))
        label = "all test rows, 95% interval" if place == 0 else None
        axes.errorbar(
            100 * value, place - 0.12, xerr=error, fmt="D", color=_POOLED, markersize=7, capsize=4, label=label
        )
    axes.set_yticks(range(len(cells)), list(cells))
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.set_xlabel("test accuracy (%)")
    light_axes(axes)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure
