"""Which parameters train, and how fast: patterns over their paths.

Every parameter must match a pattern, and every pattern must decide at least one parameter.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from typing import TYPE_CHECKING, Any

from flax import traverse_util

from btjax.base.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Rate:
    """One rule: parameters whose path matches `pattern` learn at `factor` times the learning rate, from `epoch` on.

    Attributes:
      pattern: as in a shell, against the path, such as `block5_conv1/kernel`; `block5_*` covers a block.
      factor: 0 freezes: no gradient, no optimizer state, no weight decay; the parameter keeps its bytes.
      epoch: epochs to wait before; until then the optimizer updates its moments and moves nothing.
    """

    pattern: str
    factor: float
    epoch: float

    @staticmethod
    def parse(text: str) -> Rate:
        """Reads PATTERN=FACTOR or PATTERN=FACTOR@EPOCH; InputError for anything else."""
        pattern, separator, rest = text.partition("=")
        factor, _, epoch = rest.partition("@")
        try:
            rate = Rate(pattern, float(factor), float(epoch or 0))
        except ValueError:
            rate = None
        if rate is None or not (pattern and separator) or not (0 <= rate.factor < 1e6 and 0 <= rate.epoch < 1e6):
            raise InputError(
                f"--layer_rates: found {text!r}, expected PATTERN=FACTOR or PATTERN=FACTOR@EPOCH, from 0 on"
            )
        return rate


def parse_rates(texts: Sequence[str]) -> list[Rate]:
    """The rules that `Rate.parse` reads from each text."""
    return [Rate.parse(text) for text in texts]


def rate_names(params: dict[str, Any], rates: Sequence[Rate]) -> dict[str, Any]:
    """For every parameter the index of the first rule that matches it, as "rate_0", "rate_1" and so on.

    Args:
      params: nested dicts of arrays.
      rates: the rules, the more specific ones first.

    Returns:
      Nested dicts of the same structure.

    Raises:
      InputError: a parameter that no rule covers.
    """

    def place(path):
        name = "/".join(path)
        for index, rate in enumerate(rates):
            if fnmatch.fnmatchcase(name, rate.pattern):
                return f"rate_{index}"
        raise InputError(f"--layer_rates: no pattern matches the parameter {name}; add *=1 or *=0 as the last")

    return traverse_util.unflatten_dict({path: place(path) for path in traverse_util.flatten_dict(params)})


def split_frozen(params: dict[str, Any], texts: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divides params into those that train and those that are frozen; `merge` joins them again.

    Args:
      params: nested dicts of arrays.
      texts: rules as `Rate.parse` reads them.

    Returns:
      (trained, frozen), nested dicts.

    Raises:
      InputError: a parameter that no rule covers, a rule that decides nothing, or nothing left to train.
    """
    rates, flat = parse_rates(texts), traverse_util.flatten_dict(params)
    names = traverse_util.flatten_dict(rate_names(params, rates))
    for index, rate in enumerate(rates):
        if f"rate_{index}" not in names.values():
            raise InputError(
                f"--layer_rates: {rate.pattern!r} is the first match for no parameter; there are {', '.join(params)}"
            )
    trains = {f"rate_{index}" for index, rate in enumerate(rates) if rate.factor}
    if trains.isdisjoint(names.values()):
        raise InputError(f"--layer_rates={','.join(texts)}: every parameter is frozen, expected one to train")
    sides = [{path: leaf for path, leaf in flat.items() if (names[path] in trains) == side} for side in (True, False)]
    trained, frozen = (traverse_util.unflatten_dict(side) for side in sides)
    return trained, frozen


def merge(trained: dict[str, Any], frozen: dict[str, Any]) -> dict[str, Any]:
    """One tree with the leaves of both; the inverse of `split_frozen`."""
    return traverse_util.unflatten_dict(traverse_util.flatten_dict(frozen) | traverse_util.flatten_dict(trained))
