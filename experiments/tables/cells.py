"""Cells that several tables share."""

from __future__ import annotations

from typing import Any

from btjax.reports.numbers import interval, percent


def with_interval(scores: dict[str, Any], name: str) -> str:
    """A share with its interval, in percent."""
    return f"{percent(scores[name])}{bounds(scores, name)}"


def bounds(scores: dict[str, Any], name: str) -> str:
    """The interval of a share in parentheses, in percent; nothing where there is none."""
    found = scores.get(f"{name}_ci95")
    return f" ({interval(found)})" if found else ""
