"""A search for hyper-parameters: the space of options, and what a trial of one point reaches on validation rows.

The test rows are not looked at. Optuna proposes the points, keeps what they reached, and stops trials that lag behind.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError, foreign
from btjax.base.files import expanded
from btjax.systems.presets import check_flags, with_flags

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from btjax.systems.config import Config

SAMPLERS = ("tpe", "random", "grid")
"""How points are proposed: tree-structured Parzen estimators, at random, or every one of a space of choices."""

PRUNERS = ("asha", "none")
"""Whether trials that lag behind are stopped early: by asynchronous successive halving, or not."""

_RANGE = re.compile(r"--(?P<name>\w+)=(?P<low>[-+.\deE]+)\.\.(?P<high>[-+.\deE]+)(?P<log>\s+log)?")


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One thing that varies.

    Attributes:
      name: the flag, or the flags that vary together.
      choices: flags, as in a flags file; or none for a range.
      low: of a range.
      high: of a range, included.
      log: whether the range is searched by ratios.
      whole: whether it is one of whole numbers.
    """

    name: str
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    whole: bool = False

    def flags(self, value: Any) -> str:
        """The flags of one of the values that Optuna proposes."""
        return str(value) if self.choices else f"--{self.name}={value!r}"


def read_space(path: pathlib.Path) -> tuple[Dimension, ...]:
    r"""Reads a space: a text file with one dimension a line.

    A line is a range, `--learning_rate=1e-4..1e-2 log` (of whole numbers where both ends are), or choices between bars,
    each one or more flags: `--widths=16,32 --pools=2 | --widths=16,32,64 --pools=3`; `--batch_size=16|32` is short for
    choices of one flag's values. Lines that begin with # are comments.

    Raises:
      InputError: a line that is neither, a dimension of one point, a flag in two dimensions, or nothing to search.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "space"
      >>> _ = path.write_text("--dropout=0.1..0.5\n--batch_size=16|32\n")
      >>> [(one.name, one.choices) for one in read_space(path)]
      [('dropout', ()), ('batch_size', ('--batch_size=16', '--batch_size=32'))]
    """
    with foreign(str(path), "a text file with one dimension a line"):
        lines = expanded(str(path)).read_text(encoding="utf-8").splitlines()
    space, seen = [], set()
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        one = _dimension(text, f"{path}: line {number}")
        names = set(re.findall(r"--(\w+)", " ".join(one.choices) or f"--{one.name}"))
        if both := names & seen:
            raise InputError(f"{path}: line {number}: --{min(both)} varies in an earlier line too")
        seen |= names
        space.append(one)
    if not space:
        raise InputError(f"{path}: no dimension, expected lines such as --dropout=0.1..0.5 or --batch_size=16|32")
    return tuple(space)


def _dimension(text: str, where: str) -> Dimension:
    if found := _RANGE.fullmatch(text):
        with foreign(f"{where}: {text!r}", "numbers"):
            low, high = float(found["low"]), float(found["high"])
        log = found["log"] is not None
        if not low < high or (log and low <= 0):
            raise InputError(f"{where}: {text!r}: expected a lower end below the upper one{', above 0' * log}")
        whole = all(re.fullmatch(r"[-+]?\d+", found[end]) for end in ("low", "high"))
        return Dimension(found["name"], low=low, high=high, log=log, whole=whole)
    parts = [part.strip() for part in text.split("|")]
    first = re.match(r"--(\w+)=", parts[0])
    if first and not any(part.startswith("--") for part in parts[1:]):
        parts = [parts[0], *(f"--{first[1]}={part}" for part in parts[1:])]
    good = all(re.fullmatch(r"(--\w+(=\S+)?\s*)+", part) for part in parts)
    if not good or len(set(parts)) < 2:
        raise InputError(f"{where} is {text!r}, expected a range --NAME=LOW..HIGH or two or more choices between bars")
    names = list(dict.fromkeys(re.findall(r"--(\w+)", " ".join(parts))))
    return Dimension("+".join(names), tuple(parts))


def propose(trial: Any, space: Sequence[Dimension]) -> list[str]:
    """The flags of the point that an Optuna trial proposes."""
    flags = []
    for one in space:
        if one.choices:
            value: Any = trial.suggest_categorical(one.name, one.choices)
        elif one.whole:
            value = trial.suggest_int(one.name, int(one.low), int(one.high), log=one.log)
        else:
            value = trial.suggest_float(one.name, one.low, one.high, log=one.log)
        flags += one.flags(value).split()
    return flags


def check_space(system: str, space: Sequence[Dimension]) -> None:
    """Checks every choice by itself, and both ends of every range.

    Raises:
      InputError: a flag that the system does not have, or a value that it does not take.
    """
    for one in space:
        kind = int if one.whole else float
        for flags in one.choices or (one.flags(kind(one.low)), one.flags(kind(one.high))):
            check_flags(system, flags.split(), "--space")


def config_of(config: Config, flags: Sequence[str]) -> Config:
    """The config of a point.

    Raises:
      InputError: options that do not go together.
    """
    changed = with_flags(config, flags, "--space")
    changed.model.check(changed.data.image_size)
    return changed


def best_value(history: Sequence[dict[str, float]], metric: str) -> float:
    """The best value that an epoch reached on the validation rows: the highest, of a loss the lowest times -1."""
    values = [row[f"validation_{metric}"] for row in history]
    return -min(values) if metric == "loss" else max(values)


@dataclasses.dataclass(frozen=True)
class TrialRow:
    """What became of a point.

    Attributes:
      number: of the trial.
      flags: the point.
      state: complete, pruned, or failed.
      value: what it reached on validation rows: its best epoch so far, see `best_value`; None where it failed.
      epochs: that were trained.
      reason: why it failed.
    """

    number: int
    flags: tuple[str, ...]
    state: str
    value: float | None
    epochs: int
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class SearchReport:
    """What search.json holds.

    Attributes:
      schema: `SCHEMA`.
      title: the system's.
      metric: what is searched for on validation rows, such as "validation_accuracy"; of a loss the value is times -1.
      sampler: of `SAMPLERS`.
      pruner: of `PRUNERS`.
      data: form of the data set in words.
      synthetic: whether a program drew it.
      counts: slices of each side of the split; those of the test side were not looked at.
      config: the options that the points change.
      trials: in their order.
      best: the number of the best complete trial.
      best_flags: lines of a flags file for its config.
      importance: share of the values' variance by dimension, by functional ANOVA; empty where that cannot be told.
    """

    schema: int
    title: str
    metric: str
    sampler: str
    pruner: str
    data: str
    synthetic: bool
    counts: dict[str, int]
    config: dict[str, Any]
    trials: tuple[TrialRow, ...]
    best: int
    best_flags: tuple[str, ...]
    importance: dict[str, float]


SCHEMA = 1
"""The version of search.json."""
