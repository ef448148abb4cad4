"""One system under several protocols, over folds and seeds: which cells there are, and what they say together."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from btjax.base.errors import InputError
from btjax.base.files import read_json, write_json
from btjax.data.splits import PROTOCOLS
from btjax.studies.data import split_of
from btjax.systems.config import Config
from btjax.systems.system import find_system

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping, Sequence

    from btjax.readers.slices import Slices

SCHEMA = 1
"""The version of plan.json."""

MATCHED = "slice_matched"
"""The rung that divides slices at random and trains on as many as the other protocols do."""

_FREE = ("data_dir", "weights", "devices")
_VARIED = ("protocol", "fold", "train_slices")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a ladder.

    Attributes:
      rung: name of a protocol, or `MATCHED`.
      fold: the fold that is held out.
      seed: of the run.
      train_slices: how many slices it trains on where the rung limits them, or 0.
    """

    rung: str
    fold: int
    seed: int
    train_slices: int = 0

    @property
    def name(self) -> str:
        """Its folder below the ladder's cells."""
        return f"{self.rung}/fold_{self.fold}/seed_{self.seed}"

    @property
    def protocol(self) -> str:
        """The protocol of its split."""
        return "slice" if self.rung == MATCHED else self.rung


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a ladder consists of; saved as plan.json.

    Attributes:
      schema: `SCHEMA`.
      config: the options that all cells share; see `config_of`.
      slices: `Slices.fingerprint` of the data set.
      cells: in the order in which they are run.
    """

    schema: int
    config: dict[str, Any]
    slices: str
    cells: tuple[Cell, ...]

    def config_of(self, cell: Cell, data_dir: str) -> Config:
        """The config of a cell, on a data set that stands in `data_dir`."""
        config = Config.from_json(self.config, "plan.json").replace("data.data_dir", data_dir)
        return cell_config(config, cell)

    @property
    def refit(self) -> bool:
        """Whether the cells train on their validation slices too."""
        return self.config["data"]["refit"]

    def named(self) -> dict[str, Cell]:
        """The cells by name."""
        return {cell.name: cell for cell in self.cells}

    @property
    def key(self) -> str:
        """A text that two plans share if their cells' results can stand together."""
        return json.dumps([_shared(self.config), self.slices], sort_keys=True)


def cell_config(config: Config, cell: Cell) -> Config:
    """A ladder's config with the protocol, fold and seed of a cell."""
    config = config.replace("seed", cell.seed).replace("data.protocol", cell.protocol).replace("data.fold", cell.fold)
    if cell.train_slices:
        config = config.replace("data.train_slices", cell.train_slices)
    # What is refitted has no validation slices to choose an epoch on.
    trains = not find_system(config.system).fitted
    return config.replace("training.select", "last_epoch") if config.data.refit and trains else config


def make_plan(config: Config, slices: Slices, protocols: Sequence[str], seeds: Sequence[int], *, matched: bool) -> Plan:
    """Plans every fold of some protocols with some seeds.

    Seeds are the outer loop, so that a ladder that is stopped early has whole folds of its first seed.

    Args:
      config: the options that all cells share; its protocol, fold and seed do not count.
      slices: the data set, with links where a protocol needs them.
      protocols: of `PROTOCOLS`.
      seeds: of the runs; of the splits too unless the config has a `split_seed`.
      matched: add the rung `MATCHED`, where `slice` and others are among the protocols: at each fold and seed it
        trains on as many slices as the others do on average, which tells the leak from the size.

    Raises:
      InputError: unknown or repeated protocols or seeds, or a protocol that does not fit the data set.
    """
    _check_names("protocols", protocols, PROTOCOLS)
    _check_names("seeds", seeds)
    if config.data.train_slices:
        raise InputError(f"--train_slices={config.data.train_slices}: a ladder sets it, expected 0")
    cells = []
    for seed in seeds:
        sizes: dict[int, list[int]] = {}
        for protocol in protocols:
            for fold in range(1 if protocol == "given" else config.data.folds):
                cell = Cell(protocol, fold, seed)
                split = split_of(slices, cell_config(config, cell))
                cells.append(cell)
                if protocol != "slice":
                    sizes.setdefault(fold, []).append(len(split.train))
        if matched and "slice" in protocols:
            cells += [Cell(MATCHED, fold, seed, round(np.mean(each))) for fold, each in sorted(sizes.items())]
    shared = config.replace("seed", 0).with_classes(slices.classes).to_json()
    return Plan(SCHEMA, shared, slices.fingerprint, tuple(cells))


def _check_names(flag: str, given: Sequence[Any], known: Sequence[Any] | None = None) -> None:
    if not given:
        raise InputError(f"--{flag}: names none, expected at least one")
    if len(set(given)) < len(given):
        raise InputError(f"--{flag}={','.join(map(str, given))}: names one twice, expected different ones")
    for name in given:
        if known is not None and name not in known:
            raise InputError(f"--{flag}: {name!r} is none, expected some of {', '.join(known)}")


def save_plan(path: pathlib.Path, plan: Plan) -> Plan:
    """Writes a plan, joined with the one that stands there: a ladder grows by protocols and seeds.

    Returns:
      The plan with the cells of both.

    Raises:
      InputError: the plan there is of other options, of another data set, or cannot be read.
    """
    if path.exists():
        before = load_plan(path)
        _check_same(path, before, plan)
        cells = {cell.name: cell for cell in (*plan.cells, *before.cells)}
        order = dict.fromkeys([*(cell.name for cell in before.cells), *(cell.name for cell in plan.cells)])
        # A matched rung keeps the size that it was begun with.
        plan = dataclasses.replace(plan, cells=tuple(cells[name] for name in order))
    write_json(path, msgspec.to_builtins(plan))
    return plan


def load_plan(path: pathlib.Path) -> Plan:
    """Reads plan.json; InputError where it is missing, damaged or of another version."""
    values = read_json(path, "the folder of a ladder")
    schema = values.get("schema") if isinstance(values, dict) else None
    if schema != SCHEMA:
        raise InputError(f"{path}: plan of schema {schema}, expected {SCHEMA}")
    try:
        return msgspec.convert(values, Plan)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: damaged, or not written by btjax: {error}") from None


def _check_same(path: pathlib.Path, before: Plan, now: Plan) -> None:
    """Raises InputError that names the first option in which two plans differ."""
    old, new = _shared(before.config), _shared(now.config)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            raise InputError(
                f"{path}: the ladder there has {name}={old.get(name)!r}, now {name}={new.get(name)!r}; "
                "go on with its own options, or name another folder"
            )
    _check_fingerprint(path, before, now.slices)


def check_slices(path: pathlib.Path, plan: Plan, slices: Slices) -> None:
    """Raises InputError where slices are not those of the plan in a file."""
    _check_fingerprint(path, plan, slices.fingerprint)


def _check_fingerprint(path: pathlib.Path, plan: Plan, found: str) -> None:
    if plan.slices != found:
        raise InputError(
            f"{path}: the ladder there is of slices of the fingerprint {plan.slices}, found {found}; "
            "expected the same data set"
        )


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the cells of a ladder share, flat."""
    flat = {"system": config["system"], "classes": list(config["classes"])}
    for group, values in config.items():
        if isinstance(values, dict):
            flat |= {f"{group}.{name}": value for name, value in values.items() if name not in (*_FREE, *_VARIED)}
    return flat
