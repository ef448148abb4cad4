"""What the cells of a ladder show together: each rung's scores, and how the rungs differ."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.errors import InputError
from btjax.evaluation.classification import Scores, classification_report
from btjax.runs.report import ClassifierReport
from btjax.runs.run import Run

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from btjax.readers.slices import Slices
    from btjax.studies.ladder import Cell, Plan

SCHEMA = 1
"""The version of ladder.json."""


@dataclasses.dataclass(frozen=True)
class CellScores:
    """One cell: a run of one fold and seed.

    Attributes:
      trained: how many slices it was trained on.
      slices: how many it was tested on.
      patients: of these slices, or None.
      accuracy: on them.
      seconds: of training.
    """

    fold: int
    seed: int
    trained: int
    slices: int
    patients: int | None
    accuracy: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class RungScores:
    """One rung of a ladder: the test rows of all its folds and seeds together.

    Attributes:
      name: a protocol, or `MATCHED`.
      planned: how many cells it has.
      cells: those that are done.
      tested: how many different slices they tested.
      total: how many slices there are.
      scores: of all test predictions; each seed's count. Intervals resample families, or what stands for them.
    """

    name: str
    planned: int
    cells: tuple[CellScores, ...]
    tested: int
    total: int
    scores: Scores

    @property
    def whole(self) -> bool:
        """Whether every planned cell is done."""
        return len(self.cells) == self.planned


@dataclasses.dataclass(frozen=True)
class LadderReport:
    """What ladder.json holds.

    Attributes:
      schema: `SCHEMA`.
      system: name of the system.
      title: its title.
      classes: class names.
      data: form of the data set in words.
      synthetic: whether a program drew it.
      refit: whether the cells trained on their validation slices too.
      config: the options that the cells share.
      rungs: in the order of the plan; those without a finished cell are missing.
    """

    schema: int
    system: str
    title: str
    classes: tuple[str, ...]
    data: str
    synthetic: bool
    refit: bool
    config: dict[str, Any]
    rungs: tuple[RungScores, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Pooled:
    """The test predictions of a rung's cells, one after another.

    Attributes:
      rows: int64 [N], which slice each is of.
      labels: int64 [N].
      logits: float64 [N, C].
      cells: int64 [N], which cell each is of, in the order of the rung's cells.
    """

    rows: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    cells: np.ndarray


def pool(folder: pathlib.Path, cells: Sequence[Cell], slices: Slices) -> tuple[Pooled, list[CellScores]]:
    """Gathers the test predictions of finished cells.

    Args:
      folder: of the cells.
      cells: of one rung.
      slices: the data set that they were run on.

    Raises:
      InputError: predictions that are damaged, of an earlier version, or of other slices.
    """
    places = {name: row for row, name in enumerate(slices.ids.tolist())}
    parts, scores = [], []
    for number, cell in enumerate(cells):
        run = Run(folder / cell.name)
        tested = run.predictions.side("test")
        unknown = [name for name in tested.ids.tolist() if name not in places]
        if unknown:
            raise InputError(f"{run.folder}: slice {unknown[0]} is not in the data set, expected the ladder's own")
        rows = np.array([places[name] for name in tested.ids.tolist()], np.int64)
        parts.append((rows, tested.labels, tested.logits, np.full(len(rows), number)))
        scores.append(_cell_scores(run, cell, tested.accuracy))
    rows, labels, logits, numbers = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Pooled(rows, labels.astype(np.int64), logits.astype(np.float64), numbers), scores


def _cell_scores(run: Run, cell: Cell, accuracy: float) -> CellScores:
    report = run.report
    if not isinstance(report, ClassifierReport):
        raise InputError(f"{run.folder}: the report of an autoencoder, expected a classifier's")
    counts = report.counts
    return CellScores(
        fold=cell.fold,
        seed=cell.seed,
        trained=counts["train"].slices,
        slices=counts["test"].slices,
        patients=counts["test"].patients,
        accuracy=accuracy,
        seconds=report.training.seconds,
    )


def clusters_of(slices: Slices) -> np.ndarray | None:
    """What an interval resamples: families, or linked slices where ids are unknown, or None for slices."""
    return slices.links if slices.patients is None else slices.families


def ladder_report(plan: Plan, folder: pathlib.Path, done: Sequence[str], slices: Slices, form: str) -> LadderReport:
    """Scores the finished cells of a ladder.

    Args:
      plan: the ladder.
      folder: of its cells.
      done: names of the finished ones.
      slices: the data set.
      form: its form in words.

    Raises:
      InputError: no cell is finished, or one cannot be read.
    """
    from btjax.data.dataset import PHANTOM
    from btjax.systems.system import find_system

    if not done:
        raise InputError(f"{folder}: no cell is finished, expected at least one")
    rungs = []
    for name in dict.fromkeys(cell.rung for cell in plan.cells):
        planned = [cell for cell in plan.cells if cell.rung == name]
        finished = [cell for cell in planned if cell.name in set(done)]
        if finished:
            pooled, scores = pool(folder, finished, slices)
            rungs.append(_rung(name, len(planned), pooled, scores, slices))
    system = find_system(plan.config["system"])
    return LadderReport(
        schema=SCHEMA,
        system=system.name,
        title=system.title,
        classes=slices.classes,
        data=form,
        synthetic=plan.config["data"]["data_dir"] == PHANTOM,
        refit=plan.refit,
        config=plan.config,
        rungs=tuple(rungs),
    )


def _rung(name: str, planned: int, pooled: Pooled, cells: Sequence[CellScores], slices: Slices) -> RungScores:
    clusters = clusters_of(slices)
    scores = classification_report(
        pooled.logits,
        pooled.labels,
        classes=slices.classes,
        patients=None if slices.patients is None else slices.patients[pooled.rows],
        groups=None if clusters is None else clusters[pooled.rows],
    )
    return RungScores(
        name=name,
        planned=planned,
        cells=tuple(cells),
        tested=len(np.unique(pooled.rows)),
        total=len(slices),
        scores=scores,
    )
