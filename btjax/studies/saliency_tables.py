"""From scores of every slice to the rows of a table: means with intervals by patient, beside the best control."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from btjax.evaluation.intervals import Clusters, Scale
from btjax.saliency.scores import SCORES
from btjax.studies.saliency_rows import ComparisonRow, ScoreRow

SIZES = ("small", "medium", "large")
"""Names of the lesion sizes, by tumour area."""

Values = Mapping[str, Mapping[str, np.ndarray]]
"""Method -> score -> float64 [N], the output of `score_maps` for each method."""


def lesion_sizes(areas: np.ndarray, edges: Sequence[float] | None = None) -> tuple[np.ndarray, tuple[float, float]]:
    """The size of each tumour: small, medium or large.

    Args:
      areas: float [N], tumour areas, in any unit.
      edges: the largest small and the largest medium area; None for the terciles of `areas`.

    Returns:
      str [N], of `SIZES`, and the two edges.
    """
    low, high = np.quantile(areas, [1 / 3, 2 / 3]) if edges is None else edges
    return np.array(SIZES)[np.searchsorted([low, high], areas)], (float(low), float(high))


def score_rows(
    values: Values,
    patients: np.ndarray,
    groups: Mapping[str, np.ndarray] | None = None,
) -> list[ScoreRow]:
    """The mean of each score of each method, over all slices and over each group.

    Args:
      values: method -> score -> float64 [N].
      patients: str [N], by which the intervals go.
      groups: what divides the slices, such as {"class": str [N], "plane": str [N], "size": str [N]}.

    Raises:
      ValueError: no slices, or arrays of different lengths.
    """
    _check_lengths(values, patients, groups or {})
    rows = []
    for group, value, chosen in _parts(len(patients), groups or {}):
        clusters = Clusters.of(patients[chosen])
        for method, scores in values.items():
            for score, numbers in scores.items():
                found = clusters.mean(numbers[chosen], _scale(numbers[chosen]))
                rows.append(ScoreRow(group, value, method, score, found.rows, found.clusters, found.value, found.ci95))
    return rows


def comparison_rows(
    methods: Values,
    controls: Values,
    patients: np.ndarray,
    groups: Mapping[str, np.ndarray] | None = None,
) -> list[ComparisonRow]:
    """Each method less the best control, slice by slice, for each score of `btjax.saliency.scores.SCORES`.

    The best control is the one with the best mean over the same slices, chosen for each group and score: choosing it
    there favours the control, so the verdict errs on the careful side.

    Args:
      methods: method -> score -> float64 [N].
      controls: the same of the controls, on the same slices.
      patients: str [N].
      groups: as in `score_rows`.

    Raises:
      ValueError: no slices or no controls, arrays of different lengths, or a score that is not one of `SCORES`.
    """
    if not controls:
        raise ValueError("expected at least one control to compare with")
    for kind in (methods, controls):
        _check_lengths(kind, patients, groups or {})
    unknown = {score for scores in methods.values() for score in scores} - SCORES.keys()
    if unknown:
        raise ValueError(f"unknown scores: {', '.join(sorted(unknown))}; expected some of {', '.join(SCORES)}")
    rows = []
    for group, value, chosen in _parts(len(patients), groups or {}):
        clusters = Clusters.of(patients[chosen])
        for method, scores in methods.items():
            for score, numbers in scores.items():
                of_controls = {name: values[score][chosen] for name, values in controls.items()}
                name = {"group": group, "value": value, "method": method, "score": score}
                rows.append(_comparison(name, numbers[chosen], of_controls, clusters))
    return rows


def _comparison(
    name: dict[str, str], numbers: np.ndarray, controls: dict[str, np.ndarray], clusters: Clusters
) -> ComparisonRow:
    sign = 1 if SCORES[name["score"]].higher_is_better else -1
    best = max(controls, key=lambda control: sign * controls[control].mean())
    gain, mean = clusters.mean(sign * (numbers - controls[best])), clusters.mean(numbers, _scale(numbers))
    return ComparisonRow(
        **name,
        slices=gain.rows,
        patients=gain.clusters,
        mean=mean.value,
        mean_ci95=mean.ci95,
        best_control=best,
        control_mean=float(controls[best].mean()),
        difference=gain.value,
        difference_ci95=gain.ci95,
        beats_best_control=gain.ci95 is not None and gain.ci95[0] > 0,
    )


def _scale(numbers: np.ndarray) -> Scale:
    """Scores from 0 to 1 are shares: their interval stays there, and has a width even where every slice is a hit."""
    return "share" if ((numbers >= 0) & (numbers <= 1)).all() else "real"


def _parts(rows: int, groups: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str, np.ndarray]]:
    """(group, value, row numbers): all rows, then each group's values in order of their names."""
    yield "all", "all", np.arange(rows)
    for group, column in groups.items():
        for value in np.unique(column):
            yield group, str(value), np.flatnonzero(column == value)


def _check_lengths(values: Values, patients: np.ndarray, groups: Mapping[str, np.ndarray]) -> None:
    arrays = {f"{method}: {score}": numbers for method, scores in values.items() for score, numbers in scores.items()}
    for name, array in {**arrays, **groups}.items():
        if len(patients) == 0 or np.shape(array) != (len(patients),):
            raise ValueError(
                f"{name} has shape {np.shape(array)}, expected one value for each of {len(patients)} slices"
            )
