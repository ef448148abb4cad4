"""Several classifiers in one picture: their training, their reliability, and their risk by coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from btjax.figures.style import light_axes, plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


@plain_text
def learning_curves(histories: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> Figure:
    """Draws validation accuracy by epoch; one line for each run, one colour for each entry.

    Args:
      histories: entry -> run -> rows of metrics.jsonl.
    """
    figure, axes = _panel("epoch", "validation accuracy (%)")
    for number, (name, runs) in enumerate(histories.items()):
        for place, rows in enumerate(runs.values()):
            known = [row for row in rows if row.get("validation_accuracy") is not None]
            values = [100 * row["validation_accuracy"] for row in known]
            label = name if place == 0 else None
            axes.plot([row["epoch"] for row in known], values, color=_colour(number), linewidth=1.4, label=label)
    _legend(figure)
    return figure


@plain_text
def reliability_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draws the share of correct predictions against their confidence.

    Args:
      curves: entry -> mean confidence and accuracy of each bin, in [0, 1].
    """
    figure, axes = _panel("confidence (%)", "correct (%)")
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=1, linestyle=":")
    for number, (name, (confidence, accuracy)) in enumerate(curves.items()):
        style = {"marker": "o", "markersize": 4, "linewidth": 1.4, "label": name}
        axes.plot(100 * confidence, 100 * accuracy, color=_colour(number), **style)
    lowest = min(float(np.nanmin([*confidence, *accuracy])) for confidence, accuracy in curves.values())
    axes.set_xlim(100 * lowest - 2, 101)
    axes.set_ylim(100 * lowest - 2, 101)
    _legend(figure)
    return figure


@plain_text
def risk_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draws the share of mistakes among the most confident slices against how many are answered.

    Args:
      curves: entry -> coverage and risk, in [0, 1].
    """
    figure, axes = _panel("slices answered, the most confident first (%)", "mistakes among them (%)")
    for number, (name, (coverage, risk)) in enumerate(curves.items()):
        axes.plot(100 * coverage, 100 * risk, color=_colour(number), linewidth=1.6, label=name)
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    _legend(figure)
    return figure


def _panel(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    light_axes(axes)
    return figure, axes


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _legend(figure: Figure) -> None:
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
