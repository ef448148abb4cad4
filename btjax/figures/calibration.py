"""Whether confidence comes true, and what a classifier scores if it may abstain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from btjax.figures.style import COLOURS, light_axes, plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from btjax.evaluation.calibration import Reliability
    from btjax.evaluation.selective import Selective

_LINES = ((COLOURS["train"], "o", "-"), (COLOURS["validation"], "s", "--"))


@plain_text
def reliability_diagram(curves: Mapping[str, Reliability]) -> Figure:
    """Draws the accuracy of predictions against their confidence, in bins of equally many.

    Args:
      curves: name -> bins, at most two.

    Returns:
      A figure; a calibrated classifier's points lie on the diagonal.
    """
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":", label="calibrated")
    for (name, one), (colour, marker, line) in zip(curves.items(), _LINES, strict=False):
        panel.plot(
            one.confidence, one.accuracy, color=colour, marker=marker, linestyle=line, markersize=4.5, label=name
        )
    values = [value for one in curves.values() for value in (*one.confidence, *one.accuracy)]
    low = max(0, min(values, default=0) - 0.03)
    panel.set_xlim(low, 1.01)
    panel.set_ylim(low, 1.02)
    panel.set_xlabel("mean probability of the predicted class")
    panel.set_ylabel("share correct")
    panel.legend(frameon=False, loc="upper left")
    light_axes(panel)
    return figure


@plain_text
def risk_coverage(curve: Selective) -> Figure:
    """Draws the error against the share of slices that are answered, the surest first."""
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    panel = figure.subplots()
    panel.plot(curve.coverage, curve.risk, color=COLOURS["train"], linewidth=2)
    panel.axvline(curve.answered, color="0.6", linewidth=1, linestyle=":")
    panel.set_xlim(0, 1)
    panel.set_ylim(0, max(0.02, 1.1 * max(curve.risk)))
    panel.set_xlabel("share of slices answered, the surest first")
    panel.set_ylabel("share of these wrong")
    light_axes(panel)
    return figure
