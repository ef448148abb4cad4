"""What a bad input is, what became of one, and how bytes are damaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from btjax.base.errors import InputError

Random = np.random.Generator

READ, REFUSED, WRONG = "read", "refused", "wrong"


@dataclasses.dataclass(frozen=True)
class Attack:
    """One bad input.

    Attributes:
      kind: what it stands for.
      name: what was done, for a person who wants to do it again.
      act: gives it to btjax. It returns where that took the input for good and what came out is sound; it raises
        InputError where btjax refused, anything else where it went wrong.
    """

    kind: str
    name: str
    act: Callable[[], None]


def outcome(attack: Attack) -> tuple[str, str]:
    """What became of an input, READ, REFUSED or WRONG, and the message."""
    try:
        with np.errstate(all="ignore"):
            attack.act()
    except InputError as error:
        message = str(error)
        return (REFUSED, message) if message and "\n" not in message else (WRONG, f"{message!r} is no line")
    except BaseException as error:  # whatever else comes out is what is looked for
        if isinstance(error, KeyboardInterrupt):
            raise
        return WRONG, f"{type(error).__name__}: {error}"
    return READ, ""


def pick(random: Random, choices: Any) -> Any:
    """One of some choices, with its own type."""
    return list(choices)[random.integers(len(choices))]


def damage(data: bytes, random: Random) -> tuple[bytes, str]:
    """Some bytes changed as disks, networks and attackers change them, and how."""
    changed, length = bytearray(data), max(len(data), 1)
    place, size = int(random.integers(length)), int(random.integers(1, 1 + min(length, 512)))
    how = pick(random, ("flips", "cut", "zeros", "ones", "noise", "longer", "twice", "empty"))
    if how == "flips":
        for one in random.integers(length, size=random.integers(1, 9)):
            changed[int(one) % length] ^= 1 << int(random.integers(8))
    elif how == "cut":
        del changed[place:]
    elif how in ("zeros", "ones"):
        changed[place : place + size] = (b"\0" if how == "zeros" else b"\xff") * len(changed[place : place + size])
    elif how == "noise":
        changed[place : place + size] = random.bytes(len(changed[place : place + size]))
    elif how == "longer":
        changed += random.bytes(size)
    elif how == "twice":
        changed += bytes(changed)
    else:
        changed = bytearray()
    return bytes(changed), how
