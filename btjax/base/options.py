"""Options: fields of frozen dataclasses that document themselves, turn into JSON and come back."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any

import numpy as np

from btjax.base.errors import InputError

_MOST_WHOLE = 2**31 - 1


def option(
    default: Any,
    help: str,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """A dataclass field with its meaning beside it; experiments make a flag of each.

    Args:
      default: the default value, immutable (a tuple, not a list).
      help: one sentence: meaning, unit or shape, range.
      choices: the accepted strings, if only some are.
      minimum: the smallest accepted value, of a number or of each element of a tuple.
      maximum: the largest accepted value.
    """
    metadata = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum}
    return dataclasses.field(default=default, metadata=metadata)


def options(group: type) -> dict[str, dataclasses.Field]:
    """The fields of a dataclass (or Flax module) that were made by `option`, by name, in order."""
    return {field.name: field for field in dataclasses.fields(group) if "help" in field.metadata}


def option_type(group: type, name: str) -> tuple[type, type | None]:
    """The type of an option: (bool, int, float, str or tuple) and, for a tuple, its elements' type."""
    hint = typing.get_type_hints(group)[name]
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        return tuple, typing.get_args(hint)[0]
    return hint, None


def to_dict(group: Any) -> dict[str, Any]:
    """The options of a dataclass as plain JSON values: tuples become lists."""
    values = {name: getattr(group, name) for name in options(type(group))}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def plain(value: Any) -> Any:
    """A NumPy number, alone or in a tuple, as Python's own, which goes into JSON and comes back equal.

    Example:
      >>> plain(np.int64(7)), plain((np.float64(0.5), 1))
      (7, (0.5, 1))
    """
    if isinstance(value, tuple):
        return tuple(plain(one) for one in value)
    return value.item() if isinstance(value, np.generic) else value


def from_dict(group: type, values: dict[str, Any], where: str) -> Any:
    """Builds a dataclass from `to_dict`'s output; an option that is missing takes its default.

    Args:
      group: the dataclass.
      values: name -> value.
      where: the file that the values come from, named in an error.

    Raises:
      InputError: an unknown name, or a value of another type or outside its range.
    """
    known = options(group)
    if not isinstance(values, dict):
        raise InputError(f"{where}: found {type(values).__name__}, expected options by name")
    if values.keys() - known.keys():
        raise InputError(f"{where}: unknown options for {group.__name__}: {', '.join(sorted(values.keys() - known))}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, value in values.items():
        check_option(group, name, value, f"{where}: {name}")
    try:
        return group(**values)
    except InputError as error:  # options that do not go together
        raise InputError(f"{where}: {error}") from None


def check_option(group: type, name: str, value: Any, where: str) -> None:
    """Checks one value of a dataclass's option.

    Args:
      group: the dataclass.
      name: the option.
      value: its value.
      where: names the flag, or the file and option, in an error.

    Raises:
      InputError: a value of another type, not among the choices, outside the range, or not finite.
    """
    value_type, element_type = option_type(group, name)
    rules = options(group)[name].metadata
    elements, kind = (value,), value_type
    if isinstance(value, tuple) and element_type is not None:
        if not value:
            raise InputError(f"{where}: empty, expected at least one value")
        elements, kind = value, element_type
    accepted = (int, float) if kind is float else kind
    for element in elements:
        if not isinstance(element, accepted) or (isinstance(element, bool) and kind is not bool):
            raise InputError(f"{where} is {element!r}, expected {kind.__name__}")
        if rules["choices"] is not None and element not in rules["choices"]:
            raise InputError(f"{where} is {element!r}, expected one of {', '.join(rules['choices'])}")
        if isinstance(element, str) and not element.isascii():
            _check_text(element, where)
        if kind in (int, float) and isinstance(element, (int, float)):
            _check_range(element, rules["minimum"], rules["maximum"], where)


def _check_text(text: str, where: str) -> None:
    """Refuses the names of files that are no UTF-8: a config is kept as JSON, which cannot hold them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where} is {text!r}, expected text in UTF-8; rename the file or folder") from None


def _check_range(number: float, minimum: float | None, maximum: float | None, where: str) -> None:
    low = -math.inf if minimum is None else minimum
    high = math.inf if maximum is None else maximum
    if isinstance(number, int):
        # JAX and NumPy count in 32 bits; Python's own integers have no end and turn into no float.
        low, high = max(low, -_MOST_WHOLE), min(high, _MOST_WHOLE if maximum is None else maximum)
        if maximum is None and number > high:
            maximum = _MOST_WHOLE
    if not low <= number <= high or not math.isfinite(number):
        bounds = [f"at least {minimum}"] * (minimum is not None) + [f"at most {maximum}"] * (maximum is not None)
        raise InputError(f"{where} is {_short(number)}, expected {' and '.join(bounds) or 'a finite number'}")


def _short(number: float) -> str:
    """A number as text; of a whole one of many digits its first."""
    text = f"{number:.6e}" if isinstance(number, float) and abs(number) > 1e16 else ""
    if isinstance(number, int) and abs(number) >= 10**16:
        return f"a whole number of {int(math.log10(abs(number))) + 1} digits"
    return text or str(number)
