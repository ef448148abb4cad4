"""Finished runs and ladders side by side: what each scores, what it costs, and which differences are real."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base.errors import InputError
from btjax.evaluation.classification import Scores, classification_report
from btjax.evaluation.comparison import Comparison, compare, holm
from btjax.evaluation.labelled import Labelled
from btjax.readers.slices import families_of
from btjax.runs.report import SCHEMA, ClassifierReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.runs.predictions import Predictions
    from btjax.runs.run import Run
    from btjax.systems.config import Config


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
      seconds: of training, all runs together.
      device: that trained it.
      parameters: how many numbers it has; None of a system without a network.
      flops: floating-point operations of one slice's forward pass as XLA counts them here; None where it does not.
    """

    seconds: float
    device: str
    parameters: int | None
    flops: float | None


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row of the comparison: a run, or the runs of one rung of a ladder.

    Attributes:
      name: its folder, and the rung.
      title: of the system.
      protocol: of the split.
      folds: the folds that were held out.
      seeds: of the runs.
      selection: what chose the checkpoint.
      image_size: in pixels.
      synthetic: whether a program drew the slices.
      tested: how many different slices were tested.
      scores: of all test predictions.
      cost: see `Cost`.
    """

    name: str
    title: str
    protocol: str
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    selection: str
    image_size: int
    synthetic: bool
    tested: int
    scores: Scores
    cost: Cost


@dataclasses.dataclass(frozen=True, eq=False)
class Tested:
    """An entry's test predictions of its first seed, where each slice is tested once.

    Attributes:
      ids: str [N].
      labels: int64 [N].
      logits: float64 [N, C].
      patients: str [N], or None.
      histories: a run's rows of metrics.jsonl by its folder.
    """

    ids: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    patients: np.ndarray | None
    histories: dict[str, list[dict[str, float]]]

    def labelled(self, rows: np.ndarray | None = None) -> Labelled:
        """Some rows, or all, for `btjax.evaluation`; families of ids vary together."""
        rows = np.arange(len(self.ids)) if rows is None else rows
        patients = None if self.patients is None else self.patients[rows]
        return Labelled(
            self.logits[rows], self.labels[rows], patients, None if patients is None else families_of(patients)
        )


def entry_of(name: str, runs: Sequence[Run], protocol: str) -> tuple[Entry, Tested]:
    """A row of the comparison from runs that differ in fold and seed alone.

    Args:
      name: of the row.
      runs: one or more.
      protocol: how it is called.

    Raises:
      InputError: an autoencoder, or predictions or a report that cannot be read.
    """
    reports = [_report_of(run) for run in runs]
    sides = [run.predictions.side("test") for run in runs]
    seeds = [report.config["seed"] for report in reports]
    patients = None if sides[0].patients is None else np.concatenate([_known(side.patients) for side in sides])
    scores = classification_report(
        np.concatenate([side.logits for side in sides]),
        np.concatenate([side.labels for side in sides]),
        classes=runs[0].classes,
        patients=patients,
        groups=None if patients is None else families_of(patients),
    )
    first, config = reports[0], runs[0].config
    entry = Entry(
        name=name,
        title=first.title,
        protocol=protocol,
        folds=tuple(sorted({report.split.fold for report in reports})),
        seeds=tuple(sorted(set(seeds))),
        selection=first.checkpoint.criterion,
        image_size=config.data.image_size,
        synthetic=any(report.data.synthetic for report in reports),
        tested=len(np.unique(np.concatenate([side.ids for side in sides]))),
        scores=scores,
        cost=_cost(runs[0], sum(report.training.seconds for report in reports), first.training.device),
    )
    once = [(run, side) for run, side, seed in zip(runs, sides, seeds, strict=True) if seed == seeds[0]]
    return entry, _tested([run for run, _ in once], [side for _, side in once])


def _known(array: np.ndarray | None) -> np.ndarray:
    if array is None:
        raise ValueError("expected patients in the predictions of every run, or in none")
    return array


def _report_of(run: Run) -> ClassifierReport:
    report = run.report
    if not isinstance(report, ClassifierReport):
        raise InputError(f"{run.folder}: {run.config.task().trains}, expected a classifier's run")
    return report


def _tested(runs: Sequence[Run], sides: Sequence[Predictions]) -> Tested:
    patients = None if sides[0].patients is None else np.concatenate([_known(side.patients) for side in sides])
    return Tested(
        ids=np.concatenate([side.ids for side in sides]),
        labels=np.concatenate([side.labels for side in sides]).astype(np.int64),
        logits=np.concatenate([side.logits for side in sides]).astype(np.float64),
        patients=patients,
        histories={str(run.folder): run.history for run in runs if run.history},
    )


def _cost(run: Run, seconds: float, device: str) -> Cost:
    if run.kept is not None:
        return Cost(seconds, device, None, None)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(run.variables["params"]))
    return Cost(seconds, device, int(parameters), forward_flops(run.config, run.variables))


def forward_flops(config: Config, variables: dict[str, Any]) -> float | None:
    """Floating-point operations of one slice's forward pass, preprocessing included; None where XLA counts none."""
    size = config.data.image_size

    def forward(variables, images):
        return config.model.apply(variables, config.preprocessing(images))

    slices = jax.ShapeDtypeStruct((1, size, size), jnp.uint8)
    told = jax.jit(forward).lower(variables, slices).cost_analysis()
    return None if not told or "flops" not in told else float(told["flops"])


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two entries on the test slices that both have: the same id, label and patient.

    Attributes:
      first: name of one entry.
      second: name of the other.
      slices: how many slices both tested.
      strangers: how many ids they share whose label or patient differs, as in other data sets.
      comparison: on the shared slices, or None without any, or where the classes differ.
    """

    first: str
    second: str
    slices: int
    strangers: int
    comparison: Comparison | None


@dataclasses.dataclass(frozen=True)
class CompareReport:
    """What compare.json holds.

    Attributes:
      schema: `btjax.runs.report.SCHEMA`.
      entries: in the order given.
      pairs: every two of them, with Holm's correction over those that could be compared.
    """

    schema: int
    entries: tuple[Entry, ...]
    pairs: tuple[Pair, ...]


def compare_entries(entries: Sequence[tuple[Entry, Tested]]) -> CompareReport:
    """Compares every two entries on the test slices that they share."""
    pairs = [_pair(first, second) for first, second in itertools.combinations(entries, 2)]
    known = [pair.comparison.p_permutation for pair in pairs if pair.comparison is not None]
    corrected = iter(holm(known))
    for index, pair in enumerate(pairs):
        if pair.comparison is not None:
            comparison = dataclasses.replace(pair.comparison, p_holm=next(corrected))
            pairs[index] = dataclasses.replace(pair, comparison=comparison)
    return CompareReport(SCHEMA, tuple(entry for entry, _ in entries), tuple(pairs))


def _pair(first: tuple[Entry, Tested], second: tuple[Entry, Tested]) -> Pair:
    (one, own), (other, others) = first, second
    mine, theirs, strangers = shared_rows(own, others)
    comparison = None
    if len(mine) and tuple(one.scores.per_class) == tuple(other.scores.per_class):
        comparison = compare(own.labelled(mine), others.logits[theirs])
    return Pair(one.name, other.name, len(mine), strangers, comparison)


def shared_rows(first: Tested, second: Tested) -> tuple[np.ndarray, np.ndarray, int]:
    """Row numbers of the slices that two entries tested, int64 [n] each, and how many ids they share in name alone."""
    places = {name: row for row, name in enumerate(second.ids.tolist())}
    pairs = [(row, places[name]) for row, name in enumerate(first.ids.tolist()) if name in places]
    mine, theirs = np.array(pairs, np.int64).reshape(-1, 2).T
    same = first.labels[mine] == second.labels[theirs]
    if first.patients is not None and second.patients is not None:
        same &= first.patients[mine] == second.patients[theirs]
    return mine[same], theirs[same], int((~same).sum())
