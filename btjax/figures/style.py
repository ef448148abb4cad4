"""What the figures have in common: colours, axes, outlines of tumours, and text that is drawn as it is."""

from __future__ import annotations

import contextlib
import functools
import io
import textwrap
from typing import TYPE_CHECKING, ParamSpec

import matplotlib
import numpy as np
from matplotlib.figure import Figure  # noqa: TC002, pages take it from here, after Matplotlib was imported safely
from matplotlib.text import Text

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

_Arguments = ParamSpec("_Arguments")

COLOURS = {"train": "#0072B2", "validation": "#D55E00"}
"""Blue and vermilion of Okabe and Ito's palette, told apart with any colour vision."""

NAMES = {"train": "training", "validation": "validation"}
"""The sides of a split as legends name them."""

PAPER_LINE = (0, (2, 1.5))
"""The dashes of the paper's own curves."""

LETTER = 0.085
"""Width in inches of a letter of 10 points."""


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Within it Matplotlib has its own settings, not those of a matplotlibrc or a notebook (LaTeX, dark styles)."""
    kept = ("backend", "backend_fallback", "interactive", "toolbar", "timezone", "date.epoch")
    with matplotlib.rc_context():
        matplotlib.rcParams.update({k: v for k, v in matplotlib.rcParamsDefault.items() if k not in kept})
        yield


def save_png(figure: Figure, path: pathlib.Path, dpi: int) -> None:
    """Writes a figure as a PNG, drawn by Agg."""
    with own_settings():
        figure.savefig(path, format="png", dpi=dpi, backend="agg")


def png_bytes(figure: Figure, dpi: int) -> bytes:
    """The figure as a PNG, drawn by Agg."""
    buffer = io.BytesIO()
    with own_settings():
        figure.savefig(buffer, format="png", dpi=dpi, backend="agg")
    return buffer.getvalue()


def svg_bytes(figure: Figure) -> bytes:
    """The figure as an SVG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with own_settings(), matplotlib.rc_context({"svg.hashsalt": "btjax"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def plain_text(draw: Callable[_Arguments, Figure]) -> Callable[_Arguments, Figure]:
    """Decorates a function that draws a figure: under `own_settings`, and every text as it is.

    A `$` in a title, label or id is drawn, not read as mathematics.
    """

    @functools.wraps(draw)
    def drawn(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Figure:
        with own_settings():
            figure = draw(*args, **kwargs)
        for text in figure.findobj(Text):
            if isinstance(text, Text):
                text.set_parse_math(False)
        return figure

    return drawn


def outline(panel: Axes, mask: np.ndarray | None, colour: str, width: float) -> None:
    """Draws the outline of a mask (bool [S, S]); a mask that is None, empty or full has none."""
    if mask is not None and mask.any() and not mask.all():
        panel.contour(mask.astype(np.float32), levels=[0.5], colors=[colour], linewidths=width)


def light_axes(panel: Axes) -> None:
    """A light grid behind the data, and no frame at the top and right."""
    panel.grid(color="0.9", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def no_axes(panel: Axes) -> None:
    """Neither ticks nor frame; labels stay."""
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)


def wrapped(text: str, width: int, break_words: bool = True) -> str:
    """Breaks long lines at spaces and hyphens, and longer words if asked, into lines of at most `width` characters."""
    return "\n".join(textwrap.fill(line, width, break_long_words=break_words) for line in str(text).splitlines())


def short_names(names: Sequence[str], longest: int = 5) -> tuple[list[str], list[str]]:
    """Short names for the columns of a small matrix, and full names for its rows.

    Args:
      names: different names.
      longest: the number of letters that a short name may have.

    Returns:
      The first three letters of each name, or as many as tell all names apart; where more than `longest` would be
      needed, numbers from 1 on, which then also stand before the full names.
    """
    for length in range(3, longest + 1):
        short = [name[:length] for name in names]
        if len(set(short)) == len(names):
            return short, list(names)
    numbers = [str(index) for index in range(1, len(names) + 1)]
    return numbers, [f"{number} {name}" for number, name in zip(numbers, names, strict=True)]


def contrasting(colour: ArrayLike) -> str:
    """Black on a light colour (red, green and blue in [0, 1]), white on a dark one."""
    return "white" if np.dot(np.asarray(colour)[:3], (0.2126, 0.7152, 0.0722)) < 0.5 else "black"


def row_shares(matrix: np.ndarray) -> np.ndarray:
    """Each cell's share of its row: int [C, C] -> float64 [C, C], 0 in rows without counts."""
    totals = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)


def checked_matrix(matrix: ArrayLike, classes: Sequence[str]) -> np.ndarray:
    """A confusion matrix as an array [C, C]; ValueError for another shape than that of the classes."""
    matrix, size = np.asarray(matrix), len(classes)
    if matrix.shape != (size, size):
        raise ValueError(f"the matrix of {size} classes must be [{size}, {size}], found {matrix.shape}")
    return matrix


def longest_line(texts: Sequence[str]) -> int:
    """The number of letters of the longest line."""
    return max(len(line) for text in texts for line in text.splitlines())


def name_matrix_axes(panel: Axes, left: bool = True) -> None:
    """Names the axes of a confusion matrix, which has neither ticks nor frame; the rows only at the `left`."""
    panel.set_xlabel("predicted", labelpad=8)
    panel.set_ylabel("true" if left else "", labelpad=8)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
