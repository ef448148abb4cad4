"""What options gain: classifiers' runs beside those of the first run's options, row by row."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.errors import InputError
from btjax.evaluation.comparison import difference_interval
from btjax.evaluation.intervals import Clusters
from btjax.evaluation.labelled import Labelled
from btjax.readers.slices import families_of
from btjax.runs.run import Run
from experiments.tables.options import options_of, settings

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from btjax.runs.predictions import Predictions


def gains_of(folders: Sequence[pathlib.Path], runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How much more accurate other options are than the first run's, on the same rows.

    Args:
      folders: finished runs.
      runs: their reports, in the same order.

    Returns:
      For each setting of the options but the first, and each seed: `runs`, their places in the list, one for each fold;
      `validation` and `test`, the paired difference in accuracy over that side's rows of all these folds, in [-1, 1],
      with its interval by family of patients, or by slice where patients are not known. None for a side that some of
      the runs lack. Nothing where the runs are no classifiers.

    Raises:
      InputError: a run has no predictions, or the first options have no run of its fold and seed, or one on other rows.
    """
    if any(run["task"] != "classification" for run in runs):
        return []
    options = [options_of(run["config"]) for run in runs]
    first = {_place(run): number for number, run in enumerate(runs) if options[number] == options[0]}
    others = [group for group in settings(runs) if options[group[0]] != options[0]]
    held = [Run(folder).predictions for folder in folders] if others else []
    found = []
    for group in others:
        for number in group:
            if _place(runs[number]) not in first:
                folds, split_seed, fold, seed = _place(runs[number])
                raise InputError(
                    f"{folders[number]}: fold {fold} of {folds}, split seed {split_seed}, seed {seed}; no run of the "
                    f"options of {folders[0]} has these, expected one to compare with"
                )
        pairs = [(first[_place(runs[number])], number) for number in group]
        sides = {side: _gain(folders, held, pairs, side) for side in ("validation", "test")}
        found.append({"runs": group} | sides)
    return found


def _place(run: dict[str, Any]) -> tuple[int, int, int, int]:
    """Which rows are held out, and the seed."""
    split = run["split"]
    return split["folds"], split["seed"], split["fold"], run["config"]["seed"]


def _gain(
    folders: Sequence[pathlib.Path], held: Sequence[Predictions], pairs: Sequence[tuple[int, int]], side: str
) -> dict[str, Any] | None:
    """The difference over a side's rows of several folds; None where a run has no such rows."""
    sides = []
    for numbers in pairs:
        base, other = (held[number].side(side) for number in numbers)
        if not len(base) or not len(other):
            return None
        if _rows(base) != _rows(other):
            raise InputError(
                f"{folders[numbers[1]]}: its {side} rows are not those of {folders[numbers[0]]}, expected the same "
                "slices, labels and patients"
            )
        sides.append((_labelled(base), _labelled(other)))
    gains = np.concatenate([other.correct.astype(np.float64) - base.correct for base, other in sides])
    clusters = Clusters.of(np.concatenate([base.groups for base, _ in sides]))
    return dataclasses.asdict(difference_interval(gains, clusters))


def _labelled(side: Predictions) -> Labelled:
    """The rows for `btjax.evaluation`; families vary together, or a slice with itself in another fold."""
    groups = side.ids if side.patients is None else families_of(side.patients)
    return Labelled(side.logits, side.labels, side.patients, groups)


def _rows(predictions: Predictions) -> tuple[Any, ...]:
    """What two runs' rows must have in common to be compared."""
    patients = None if predictions.patients is None else predictions.patients.tolist()
    return predictions.ids.tolist(), predictions.labels.tolist(), patients, predictions.classes
