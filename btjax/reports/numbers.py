"""How pages and tables write numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btjax.base.numbers import UNDEFINED, number, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "UNDEFINED",
    "amount",
    "duration",
    "interval",
    "number",
    "number_interval",
    "number_with_interval",
    "percent",
    "percent_with_interval",
    "signed",
]


def interval(bounds: Sequence[float] | None) -> str:
    """The bounds of a share in percent, without the sign; nothing for None.

    Example:
      >>> interval((0.9, 0.97))
      '90.0 to 97.0'
    """
    return "" if bounds is None else " to ".join(percent(bound, sign="") for bound in bounds)


def number_interval(bounds: Sequence[float] | None, digits: int = 3) -> str:
    """The bounds of a number; nothing for None.

    Example:
      >>> number_interval((0.1, 0.25), 2)
      '0.10 to 0.25'
    """
    return "" if bounds is None else " to ".join(number(bound, digits) for bound in bounds)


def percent_with_interval(value: float | None, bounds: Sequence[float] | None, undefined: str = UNDEFINED) -> str:
    """A share in percent and its interval in one line.

    Example:
      >>> percent_with_interval(0.9375, (0.9, 0.97))
      '93.8% (90.0 to 97.0)'
    """
    return _beside(percent(value, undefined=undefined), interval(bounds))


def number_with_interval(
    value: float | None, bounds: Sequence[float] | None, digits: int = 3, undefined: str = UNDEFINED
) -> str:
    """A number and its interval in one line.

    Example:
      >>> number_with_interval(0.0123, (0.01, 0.02), 4)
      '0.0123 (0.0100 to 0.0200)'
    """
    return _beside(number(value, digits, undefined), number_interval(bounds, digits))


def _beside(text: str, bounds: str) -> str:
    return f"{text} ({bounds})" if bounds else text


def signed(value: float | None, digits: int = 3, undefined: str = UNDEFINED) -> str:
    """A difference, with its sign.

    Example:
      >>> signed(0.0514), signed(-0.2, 1), signed(-0.01, 1)
      ('+0.051', '-0.2', '0.0')
    """
    if value is None:
        return undefined
    return f"{value:+.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"


def amount(value: int | None) -> str:
    """A count, in groups of three digits from 10,000 on.

    Example:
      >>> amount(2452), amount(12345), amount(None)
      ('2452', '12,345', 'not known')
    """
    if value is None:
        return "not known"
    return f"{value:,}" if value >= 10_000 else str(value)


def duration(seconds: float) -> str:
    """A time in hours and minutes, or in seconds below one minute.

    Example:
      >>> duration(59.2), duration(3723)
      ('59 s', '1 h 2 min')
    """
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def capitalised(name: str) -> str:
    """The first letter alone: what follows may be an abbreviation."""
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]
