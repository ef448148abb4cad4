"""Saliency drawn: galleries with the tumour outlined, scores beside chance, by lesion size, under randomisation."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from btjax.figures.style import LETTER, light_axes, longest_line, no_axes, outline, plain_text, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_METHOD, _CONTROL = "#0072B2", "#999999"


@plain_text
def gallery(
    images: np.ndarray, titles: Sequence[str], maps: Mapping[str, np.ndarray], masks: np.ndarray | None
) -> Figure:
    """A row for each slice: the slice, then each method's map over it, from its least to its largest value.

    Args:
      images: uint8 [N, S, S], grey.
      titles: N, one for each row.
      maps: method -> float [N, S, S]; one that crosses zero is drawn in blue and red around it.
      masks: bool [N, S, S], outlined, or None; a slice's mask may be empty.
    """
    figure = Figure(figsize=(1.45 * (1 + len(maps)), 1.55 * len(images) + 0.6), layout="constrained")
    panels = figure.subplots(len(images), 1 + len(maps), squeeze=False)
    for row, line in enumerate(panels):
        line[0].imshow(images[row], cmap="gray", vmin=0, vmax=255)
        line[0].set_ylabel(wrapped(titles[row], 26), fontsize=7)
        for panel, found in zip(line[1:], maps.values(), strict=True):
            panel.imshow(_coloured(found[row]))
        for panel in line:
            no_axes(panel)
            outline(panel, None if masks is None else masks[row], "lime", 0.7)
    for panel, name in zip(panels[0], ("slice", *maps), strict=True):
        panel.set_title(name.replace("_", "\n"), fontsize=7)
    return figure


def _coloured(values: np.ndarray) -> np.ndarray:
    """Colours [S, S, 4] of a map [S, S]; its last half percents are cut: single pixels tower over gradient maps."""
    low, high = np.percentile(values, [0.5, 99.5])
    if low < 0 < high:
        bound = max(-low, high)
        return colormaps["RdBu_r"](np.clip(values / bound, -1, 1) / 2 + 0.5)
    return colormaps["inferno"](np.clip((values - low) / max(high - low, 1e-12), 0, 1))


@plain_text
def panels(titles: Sequence[str], pictures: Mapping[str, np.ndarray], masks: np.ndarray | None) -> Figure:
    """A row of pictures for each slice, as the paper's Figures 13 and 14; the tumour is outlined in the outer ones.

    Args:
      titles: N, one for each row.
      pictures: name -> float [N, S, S, 3], drawn clipped to [0, 1].
      masks: bool [N, S, S], or None; a slice's mask may be empty.
    """
    figure = Figure(figsize=(2.2 * len(pictures), 2.35 * len(titles) + 0.25), layout="constrained")
    grid = figure.subplots(len(titles), len(pictures), squeeze=False)
    for row, line in enumerate(grid):
        for panel, images in zip(line, pictures.values(), strict=True):
            panel.imshow(np.clip(images[row], 0, 1))
            no_axes(panel)
        for panel in {line[0], line[-1]}:
            outline(panel, None if masks is None else masks[row], "red", 0.8)
        line[0].set_ylabel(wrapped(titles[row], 36), fontsize=8)
    for panel, name in zip(grid[0], pictures, strict=True):
        panel.set_title(name, fontsize=9)
    return figure


def heat(maps: np.ndarray) -> np.ndarray:
    """Maps in the colours of viridis, each from its least to its largest value: float [N, S, S] -> [N, S, S, 3]."""
    above = maps - maps.min(axis=(1, 2), keepdims=True)
    return colormaps["viridis"](above / np.maximum(above.max(axis=(1, 2), keepdims=True), 1e-12))[..., :3]


@plain_text
def score_bars(rows: Sequence[Mapping[str, Any]], score: str, chance: float, higher: bool) -> Figure:
    """Each method's and each control's mean of one score with its interval, the best above; a line marks chance.

    Args:
      rows: with `method`, `mean`, `ci95` (or None) and `control` (bool).
      score: its name.
      chance: what a random map expects.
      higher: whether more is better.
    """
    rows = sorted(rows, key=lambda row: row["mean"], reverse=not higher)
    names = [row["method"].replace("_", " ") for row in rows]
    width = 5.2 + 0.8 * LETTER * max(map(len, names), default=0)
    figure = Figure(figsize=(width, 0.27 * len(rows) + 1), layout="constrained")
    panel = figure.subplots()
    for place, row in enumerate(rows):
        colour = _CONTROL if row["control"] else _METHOD
        panel.barh(place, row["mean"], color=colour, height=0.7)
        if row["ci95"] is not None:
            panel.plot(row["ci95"], [place, place], color="black", linewidth=1)
    panel.axvline(chance, color="#D55E00", linewidth=1.2, linestyle="--", label="chance")
    panel.set_yticks(range(len(rows)), names, fontsize=8)
    panel.set_xlabel(f"{score.replace('_', ' ')} ({'higher' if higher else 'lower'} is better); grey: controls")
    panel.legend(frameon=False, loc="lower right")
    panel.spines[["top", "right"]].set_visible(False)
    return figure


@plain_text
def score_by_size(
    areas: np.ndarray, values: Mapping[str, np.ndarray], controls: Mapping[str, np.ndarray], score: str
) -> Figure:
    """A score against the lesion's size: means over five groups of equal number.

    Args:
      areas: float [N], the tumour's share of the slice; N at least 1.
      values: method -> float [N].
      controls: control -> float [N], drawn in grey.
      score: its name.
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    panel = figure.subplots()
    groups = np.array_split(np.argsort(areas, kind="stable"), min(5, len(areas)))
    places = [100 * areas[rows].mean() for rows in groups]
    for (name, numbers), look in zip(values.items(), _looks(), strict=False):
        panel.plot(places, _means(numbers, groups), markersize=3.5, label=name.replace("_", " "), **look)
    for (name, numbers), dashes in zip(controls.items(), cycle(("--", ":")), strict=False):
        panel.plot(places, _means(numbers, groups), color="0.5", linestyle=dashes, label=name.replace("_", " "))
    panel.set_xlabel("tumour's share of the slice (%), mean of each fifth of the slices")
    panel.set_ylabel(score.replace("_", " "))
    figure.legend(frameon=False, fontsize=8, loc="outside right center")
    light_axes(panel)
    return figure


def _looks() -> Iterator[dict[str, Any]]:
    """Ten colours, then the same with another marker and dashes, so that forty lines can be told apart."""
    for marker, dashes in cycle((("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."))):
        for index in range(10):
            yield {"color": f"C{index}", "marker": marker, "linestyle": dashes}


def _means(values: np.ndarray, groups: Sequence[np.ndarray]) -> list[float]:
    return [float(values[rows].mean()) for rows in groups]


@plain_text
def randomisation_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Similarity to the trained network's maps, and the score, as layers are made random from the top down.

    Args:
      rows: with `method`, `layer`, `spearman`, `ssim` and perhaps `average_precision`, in order; at least one.
    """
    quantities = [name for name in ("spearman", "ssim", "average_precision") if rows[0].get(name) is not None]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    layers = [row["layer"] for row in rows if row["method"] == methods[0]]
    height = max(3.2 + 0.7 * LETTER * longest_line(layers), 0.2 * len(methods) + 0.6)
    width = max(4.2, 0.16 * len(layers) + 0.8) * len(quantities) + 0.6 + 0.8 * LETTER * longest_line(methods)
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(1, len(quantities), squeeze=False)[0]
    for panel, quantity in zip(panels, quantities, strict=True):
        for method, look in zip(methods, _looks(), strict=False):
            part = [row[quantity] for row in rows if row["method"] == method]
            panel.plot(range(len(part)), part, markersize=3.5, label=method.replace("_", " "), **look)
        panel.set_xticks(range(len(layers)), layers, rotation=90, fontsize=7)
        panel.set_title(quantity.replace("_", " "), fontsize=10)
        light_axes(panel)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    return figure
