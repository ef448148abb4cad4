"""The tables of what became of bad inputs, flipped bits, kills and full disks."""

from __future__ import annotations

from typing import Any

from experiments.tables.cells import table


def attack_tables(result: dict[str, Any]) -> str:
    """A table for each part of the attack that was run, under the command that makes it."""
    parts = result["attack"]
    lead = "Made by `scripts/attack`: what became of whatever should not happen."
    told = [write(parts[name]) for name, write in _PARTS.items() if parts.get(name)]
    return "\n\n".join([lead, *told])


def _inputs(part: dict[str, Any]) -> str:
    lead = (
        "Bad inputs, each read, refused in one line, or wrong: a traceback, an unsound result, no end. No input took "
        f"more than {part['peak_mib']} MiB of memory beyond what the process had; the limit is {part['limit_mib']} MiB."
    )
    return f"{lead}\n\n{_counted('kind of input', 'inputs', part['kinds'])}"


def _flips(part: dict[str, Any]) -> str:
    lead = (
        "One bit flipped in files of a finished run and of its caches, then the command that reads them: the damage is "
        "named in one line, a cache is made anew, the flip is harmless (the result is the same bit for bit), or what "
        "is damaged is used."
    )
    return f"{lead}\n\n{_counted('file', 'flips', part['kinds'])}"


def _kills(part: dict[str, Any]) -> str:
    lead = "Commands killed at random moments and begun again: other bits than those of an undisturbed one are wrong."
    rows = [[name, one["count"], one["kills"], one["count"] - one["wrong"], one["wrong"]] for name, one in part.items()]
    return f"{lead}\n\n{table(['command', 'runs', 'kills in each', 'same bits', 'wrong'], rows)}"


def _full_disks(part: dict[str, Any]) -> str:
    lead = (
        "Disks that fill up at each file that a command writes: it ends with one line, what was there stays readable, "
        "and with room again it comes to the same results; or it went wrong. `#` stands for numbers."
    )
    rows = []
    for name, one in part.items():
        survived, which = len(one["points"]) - one["wrong"], ", ".join(f"`{point}`" for point in one["points"])
        rows.append([name, len(one["points"]), survived, one["wrong"], which])
    return f"{lead}\n\n{table(['command', 'points of writing', 'survived', 'wrong', 'which'], rows)}"


_PARTS = {"inputs": _inputs, "flips": _flips, "kills": _kills, "full_disks": _full_disks}


def _counted(what: str, tried: str, kinds: dict[str, dict[str, int]]) -> str:
    """A row for each kind, with its counts, and one for all of them."""
    names = [*next(iter(kinds.values()))]
    total = {name: sum(counts[name] for counts in kinds.values()) for name in names}
    rows = [[kind, sum(counts.values()), *counts.values()] for kind, counts in (kinds | {"all": total}).items()]
    return table([what, tried, *names], rows)
