"""Cells that several tables share. A number whose results file holds no interval says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from btjax.reports.numbers import UNDEFINED, interval, number, number_interval, percent, signed

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


def estimate(found: dict[str, Any]) -> str:
    """A number with its interval, in three digits; empty where it is not defined."""
    if found["value"] is None:
        return ""
    bounds = found["ci95"]
    return f"{found['value']:.3f} " + (NONE if bounds is None else f"({bounds[0]:.3f} to {bounds[1]:.3f})")


def difference(value: float, bounds: Sequence[float] | None) -> str:
    """A difference with its interval, all with their signs.

    Example:
      >>> difference(-0.0001, (-0.2, 0.31)), difference(0.25, None)
      ('0.000 (-0.200 to +0.310)', '+0.250 (none)')
    """
    told = NONE if bounds is None else f"({signed(bounds[0])} to {signed(bounds[1])})"
    return f"{signed(value)} {told}"


def points(value: float, bounds: Sequence[float] | None) -> str:
    """A difference in percentage points, with its interval."""
    told = NONE if bounds is None else f"({signed(100 * bounds[0], 1)} to {signed(100 * bounds[1], 1)})"
    return f"{signed(100 * value, 1)} {told}"


def option_flag(name: str, value: Any) -> str:
    """An option as its flag, for Markdown.

    Example:
      >>> option_flag("epochs", 8), option_flag("flip", False), option_flag("weights", "")
      ('`--epochs=8`', '`--noflip`', 'no `--weights`')
    """
    if value == "":
        return f"no `--{name}`"
    shown = ",".join(map(str, value)) if isinstance(value, list) else value
    return f"`--{'no' * (value is False)}{name}{'' if isinstance(value, bool) else f'={shown}'}`"


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
