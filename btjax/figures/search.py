"""A search for hyper-parameters as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from btjax.figures.style import light_axes, plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DONE, _PRUNED, _BEST = "#0072B2", "#E69F00", "#333333"


@plain_text
def search_history(trials: Sequence[tuple[int, float, str]], label: str) -> Figure:
    """Draws what each trial reached, and the best so far.

    Args:
      trials: number, value and state (complete or pruned) of each.
      label: of the values' axis.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    for state, colour, marker in (("complete", _DONE, "o"), ("pruned", _PRUNED, "x")):
        some = [(number, value) for number, value, found in trials if found == state]
        if some:
            told = "trained to the end" if state == "complete" else "stopped early"
            axes.plot(*zip(*some, strict=True), marker, color=colour, label=told)
    done = [(number, value) for number, value, state in trials if state == "complete"]
    if done:
        numbers, values = zip(*done, strict=True)
        axes.step(numbers, np.maximum.accumulate(values), where="post", color=_BEST, linewidth=1, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(label)
    light_axes(axes)
    axes.legend(frameon=False)
    return figure


@plain_text
def search_importance(importance: Mapping[str, float]) -> Figure:
    """Draws the share of the values' variance that each dimension accounts for."""
    figure = Figure(figsize=(8, 0.8 + 0.4 * len(importance)), layout="constrained")
    axes = figure.subplots()
    names = list(importance)[::-1]
    axes.barh(names, [100 * importance[name] for name in names], color=_DONE)
    axes.set_xlabel("share of the variance (%)")
    light_axes(axes)
    return figure
