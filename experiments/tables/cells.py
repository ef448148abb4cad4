"""Cells that several tables share. A number whose results file holds no interval says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from btjax.reports.numbers import UNDEFINED, interval, number, number_interval, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE = "(none)"
"""Stands where other numbers have their interval."""

LEGEND = (
    f"Parentheses after a value hold its 95% interval, by patient unless a table says otherwise; {NONE} where the "
    "results file holds no interval. Baselines, validation accuracies, controls, and the tables of speed and of links "
    "are without intervals."
)
"""What stands above the tables."""


def with_interval(scores: dict[str, Any], name: str) -> str:
    """A share with its interval, in percent; a dash for one that is undefined."""
    if scores[name] is None:
        return UNDEFINED
    return f"{percent(scores[name])} {_told(interval(scores.get(f'{name}_ci95')))}"


def number_cell(scores: dict[str, Any], name: str, digits: int = 3) -> str:
    """A number with its interval."""
    return f"{number(scores[name], digits)} {_told(number_interval(scores.get(f'{name}_ci95'), digits))}"


def _told(bounds: str) -> str:
    return f"({bounds})" if bounds else NONE


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table.

    Example:
      >>> print(table(["run", "slices"], [["cnn", 192]]))
      | run | slices |
      |---|---|
      | cnn | 192 |
    """
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])
