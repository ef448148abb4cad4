"""Split conformal prediction: sets of classes that hold the true one in a promised share of cases.

For each class, the probability that the model gives a new slice of the class is compared with what it gave calibration
slices of the class; a class stays in the set unless the new slice looks less like it than nearly all of those. Sets are
class-conditional: the promise holds for each class by itself (Mondrian conformal prediction, Vovk 2005).

Slices of a patient are not exchangeable with those of another, patients are. So a calibration patient counts once,
however many slices it has: p-values are the mean of those of calibration sets with one slice of each patient (Lee,
Barber and Willett, Distribution-free inference with hierarchical data, 2023: each slice weighs one over the patient's
slices). The promise is for a random slice of a new patient. A class of fewer than 1 / (1 - level) - 1 calibration
patients is in every set: 19 are needed at 95%.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from btjax.evaluation.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.evaluation.labelled import Labelled

LEVELS = (0.9, 0.95)
"""Shares of cases in which the set is to hold the true class."""

_DRAWS = 20
"""Calibration sets of one slice of each patient; exact for patients with a number of slices that divides this."""


@dataclasses.dataclass(frozen=True)
class ConformalScores:
    """How prediction sets of a level fare on rows that calibrated nothing.

    Attributes:
      level: the promised coverage of each class.
      coverage: the share of slices whose set holds the true class, with its 95% interval.
      coverage_by_patient: the mean over patients of their share; what is promised is this.
      coverage_by_class: class name -> share of its slices; None for a class without slices.
      mean_size: the mean number of classes in a set.
      single: the share of sets with one class.
      empty: the share of sets without any.
      calibration_patients: class name -> patients (slices where no ids exist) that calibrated it; of several models the
        fewest.
    """

    level: float
    coverage: float
    coverage_ci95: Interval | None
    coverage_by_patient: float
    coverage_by_class: dict[str, float | None]
    mean_size: float
    single: float
    empty: float
    calibration_patients: dict[str, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Calibrated:
    """What p-values are counted from; made once, it answers batch after batch.

    Attributes:
      pools: for each class, float64 [draws * K], ascending: how unlike the class its calibration slices look, one slice
        of each of K patients in every draw; None for a class without calibration rows.
      draws: for each class, how many draws its pool holds.
    """

    pools: tuple[np.ndarray | None, ...]
    draws: tuple[int, ...]

    @staticmethod
    def of(calibration: Labelled) -> Calibrated:
        """Draws from rows that neither trained the model nor are scored."""
        known, labels, pools, draws = calibration.probabilities, np.asarray(calibration.labels), [], []
        for index in range(known.shape[1]):
            rows = labels == index
            drawn = _one_of_each(1 - known[rows, index], calibration.voters.numbers[rows]) if rows.any() else None
            pools.append(None if drawn is None else np.sort(drawn, axis=None))
            draws.append(0 if drawn is None else len(drawn))
        return Calibrated(tuple(pools), tuple(draws))

    def p_values(self, logits: np.ndarray) -> np.ndarray:
        """See `conformal_p_values`.

        All draws are of one size, so the mean of their p-values is counted in their union.
        """
        from scipy.special import softmax

        scores = 1 - softmax(np.asarray(logits, np.float64), axis=1)
        found = np.ones_like(scores)
        for index, (pool, draws) in enumerate(zip(self.pools, self.draws, strict=True)):
            if pool is not None:
                above = len(pool) - np.searchsorted(pool, scores[:, index], side="left")
                found[:, index] = (above + draws) / (len(pool) + draws)
        return found


def conformal_p_values(calibration: Labelled, logits: np.ndarray) -> np.ndarray:
    """How usual each class's probability of each row would be, were the row of that class.

    Args:
      calibration: rows that neither trained the model nor are scored.
      logits: float [N, C].

    Returns:
      float64 [N, C] in (0, 1]; 1 for a class without calibration rows.

    Example:
      >>> import numpy as np
      >>> from btjax.evaluation.labelled import Labelled
      >>> calibration = Labelled(np.array([[2.0, 0], [1, 0], [0, 1]]), np.array([0, 0, 1]))
      >>> conformal_p_values(calibration, np.array([[1.5, 0]])).round(2).tolist()
      [[0.67, 0.5]]
    """
    return Calibrated.of(calibration).p_values(logits)


def _one_of_each(scores: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """float64 [draws, K]: one score of each patient, evenly spread over the patient's scores."""
    numbers, sizes = np.unique(patients, return_counts=True)
    if sizes.max() == 1:
        return scores[None]
    ordered = [np.sort(scores[patients == number]) for number in numbers]
    places = (np.arange(_DRAWS) + 0.5) / _DRAWS
    return np.stack([own[(places * len(own)).astype(np.int64)] for own in ordered], axis=1)


def conformal_report(
    calibration: Labelled, scored: Labelled, *, classes: Sequence[str], levels: Sequence[float] = LEVELS
) -> tuple[ConformalScores, ...]:
    """Calibrates prediction sets on some rows, and measures them on others: one `ConformalScores` for each level.

    Args:
      calibration: such as the validation rows. They chose the checkpoint, which flatters them a little.
      scored: such as the test rows; none of their patients should calibrate.
      classes: C names.
      levels: in (0, 1).
    """
    p_values = conformal_p_values(calibration, scored.logits)
    return tuple(conformal_scores(p_values, level, scored, [calibration], classes=classes) for level in levels)


def conformal_scores(
    p_values: np.ndarray, level: float, scored: Labelled, calibrations: Sequence[Labelled], *, classes: Sequence[str]
) -> ConformalScores:
    """Measures prediction sets.

    Args:
      p_values: float [N, C] of `conformal_p_values`, of the scored rows.
      level: in (0, 1).
      scored: N rows, of one model or of several one after another.
      calibrations: the rows that calibrated each model.
      classes: C names.
    """
    sets, labels = p_values > 1 - level + 1e-9, np.asarray(scored.labels)
    holds, sizes = sets[np.arange(len(labels)), labels], sets.sum(axis=1)
    mean, voters = scored.clusters.mean(holds, "share"), scored.voters
    patients = [
        [len(np.unique(one.voters.numbers[np.asarray(one.labels) == index])) for one in calibrations]
        for index in range(len(classes))
    ]
    return ConformalScores(
        level=level,
        coverage=mean.value,
        coverage_ci95=mean.ci95,
        coverage_by_patient=float(np.mean(voters.sums(holds) / voters.sizes)),
        coverage_by_class={
            name: float(holds[labels == index].mean()) if (labels == index).any() else None
            for index, name in enumerate(classes)
        },
        mean_size=float(sizes.mean()),
        single=float(np.mean(sizes == 1)),
        empty=float(np.mean(sizes == 0)),
        calibration_patients=dict(zip(classes, map(min, patients), strict=True)),
    )
