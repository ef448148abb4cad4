"""Options: fields of frozen dataclasses that document themselves, turn into JSON and come back."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

from btjax.errors import InputError


def option(default: Any, help: str, choices: tuple[str, ...] | None = None) -> Any:
    """A dataclass field with its meaning beside it; experiments make a flag of each.

    Args:
      default: the default value, immutable (a tuple, not a list).
      help: one sentence: meaning, unit or shape, range.
      choices: the accepted strings, if only some are.
    """
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


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


def from_dict(group: type, values: dict[str, Any], where: str) -> Any:
    """Builds a dataclass from `to_dict`'s output.

    Args:
      group: the dataclass.
      values: name -> value.
      where: the file that the values come from, named in an error.

    Raises:
      InputError: unknown or missing names, or values outside the choices.
    """
    known = options(group)
    for title, names in (("unknown", values.keys() - known.keys()), ("missing", known.keys() - values.keys())):
        if names:
            raise InputError(f"{where}: {title} options for {group.__name__}: {', '.join(sorted(names))}")
    for name, field in known.items():
        check_choice(name, values[name], field.metadata["choices"], where)
    return group(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def check_choice(name: str, value: Any, choices: tuple[str, ...] | None, where: str) -> None:
    """Raises InputError where `choices` are given and `value` is not one of them."""
    if choices is not None and value not in choices:
        raise InputError(f"{where}: {name} is {value!r}, expected one of {', '.join(choices)}")
