"""Accuracy and loss against epoch: the form of the paper's Figure 15."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from btjax.evaluation import published
from btjax.figures.style import COLOURS, NAMES, PAPER_LINE, light_axes, plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

_PUBLISHED = {
    ("train", "accuracy"): published.TRAIN_ACCURACY,
    ("validation", "accuracy"): published.VALIDATION_ACCURACY,
    ("train", "loss"): published.TRAIN_LOSS,
    ("validation", "loss"): published.VALIDATION_LOSS,
}


@plain_text
def training_curves(
    metrics: Sequence[Mapping[str, Any]], paper: bool = False, checkpoint_epoch: float | None = None
) -> Figure:
    """Draws training and validation accuracy and loss against epoch.

    Args:
      metrics: one dict for each row of `metrics.jsonl`, with `epoch` (1 is the first) and any of `train_accuracy`,
        `validation_accuracy`, `train_loss`, `validation_loss`; a missing or None value leaves a gap.
      paper: whether to draw the curves of the paper's Figure 15 as well, faintly.
      checkpoint_epoch: the epoch of the checkpoint that was chosen, marked by a vertical line.

    Returns:
      A figure with two panels. Like the paper's, the loss panel cuts off a first epoch that towers over the rest.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, quantity in zip(panels, ("accuracy", "loss"), strict=True):
        _style(panel, quantity)
        for part, name in NAMES.items():
            if paper:
                values = _PUBLISHED[part, quantity]
                look = {"color": COLOURS[part], "alpha": 0.4, "linestyle": PAPER_LINE}
                panel.plot(np.arange(1, len(values) + 1), values, label=f"{name}, paper", **look)
            epochs, values = _series(metrics, f"{part}_{quantity}")
            if len(values) and not np.isfinite(values).any():
                continue  # a run without validation slices
            marker = "o" if len(epochs) <= 40 else None
            panel.plot(epochs, values, color=COLOURS[part], linewidth=2, marker=marker, markersize=3.5, label=name)
        if checkpoint_epoch is not None:
            panel.axvline(checkpoint_epoch, color="0.35", linewidth=1, linestyle=":", zorder=1, label="checkpoint")
    panels[0].set_ylim(top=1.005)
    _limit_loss(panels[1], metrics)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def _style(panel: Axes, quantity: str) -> None:
    panel.set_title(f"{quantity.capitalize()}", loc="left", fontweight="bold")
    panel.set_xlabel("epoch")
    panel.set_ylabel({"accuracy": "share correct", "loss": "cross-entropy and penalties (nats)"}[quantity])
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    light_axes(panel)


def _series(metrics: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values, NaN where a row has none."""
    epochs = np.array([row["epoch"] for row in metrics], dtype=np.float64)
    values = np.array([np.nan if row.get(key) is None else row[key] for row in metrics], dtype=np.float64)
    return epochs, np.where(np.isfinite(values), values, np.nan)


def _limit_loss(panel: Axes, metrics: Sequence[Mapping[str, Any]]) -> None:
    """The loss axis starts at 0 and cuts off a first epoch that is over twice as high as all that follow."""
    panel.set_ylim(bottom=0)
    pairs = [_series(metrics, key)[1] for key in ("train_loss", "validation_loss")]
    first = [values[0] for values in pairs if len(values) and np.isfinite(values[0])]
    later = [value for values in pairs for value in values[1:] if np.isfinite(value)]
    if first and later and max(later) > 0 and max(first) > 2 * max(later):
        panel.set_ylim(top=1.25 * max(later))
