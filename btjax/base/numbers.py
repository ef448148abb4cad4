"""Numbers as text, for figures, pages and tables."""

from __future__ import annotations

UNDEFINED = "\N{EN DASH}"
"""What is written for a value that is None."""


def percent(value: float | None, sign: str = "%", undefined: str = UNDEFINED) -> str:
    """A share in percent, of one decimal place. A share below 1 never rounds up to 100%.

    Args:
      value: in [0, 1], or None.
      sign: follows the number.
      undefined: what is written for None.

    Example:
      >>> percent(0.9375), percent(0.99999), percent(1), percent(None, undefined="none")
      ('93.8%', '99.9%', '100.0%', 'none')
    """
    if value is None:
        return undefined
    return f"{'99.9' if 0.9995 <= value < 1 else f'{100 * value:.1f}'}{sign}"


def number(value: float | None, digits: int = 3, undefined: str = UNDEFINED) -> str:
    """A number with a fixed number of decimal places.

    Args:
      value: the number, or None.
      digits: decimal places.
      undefined: what is written for None.

    Example:
      >>> number(0.12345), number(28.06, 1), number(None, undefined="none")
      ('0.123', '28.1', 'none')
    """
    return undefined if value is None else f"{value:.{digits}f}"
