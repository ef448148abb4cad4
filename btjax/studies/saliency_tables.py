"""From scores per slice to the rows of a table: means with intervals by patient, and the verdict against controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from btjax.evaluation import bootstrap
from btjax.saliency.scores import SCORES

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
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> list[dict]:
    """The mean of each score of each method, over all slices and over each group.

    Args:
      values: method -> score -> float64 [N].
      patients: str [N], whose slices are resampled together.
      groups: what divides the slices, such as {"class": str [N], "plane": str [N], "size": str [N]}.
      resamples: of the bootstrap.
      seed: of the resampling.

    Returns:
      A dict of plain Python values for each group, method and score: `group` ("all", or as in "plane"), `value`
      ("all", or as in "axial"), `method`, `score`, `slices`, `patients`, `mean`, `ci95` ([low, high], a percentile
      interval by patient; None for fewer than two patients).

    Raises:
      ValueError: no slices, or arrays of different lengths.
    """
    _check_lengths(values, patients, groups or {})
    rows = []
    for group, value, chosen in _parts(len(patients), groups or {}):
        clusters, counts = _resampling(patients[chosen], resamples, seed)
        for method, scores in values.items():
            for score, numbers in scores.items():
                mean = _mean_with_interval(numbers[chosen], clusters, counts)
                rows.append({"group": group, "value": value, "method": method, "score": score, **mean})
    return rows


def comparison_rows(
    methods: Values,
    controls: Values,
    patients: np.ndarray,
    groups: Mapping[str, np.ndarray] | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> list[dict]:
    """Each method less the best control, slice by slice, for each score of `btjax.saliency.scores.SCORES`.

    The best control is the one with the best mean over the same slices, chosen for each group and score: choosing it
    there favours the control, so the verdict errs on the careful side.

    Args:
      methods: method -> score -> float64 [N].
      controls: the same of the controls, on the same slices.
      patients: str [N].
      groups: as in `score_rows`.
      resamples: of the bootstrap; a resample takes the same patients for the method and the control.
      seed: of the resampling.

    Returns:
      A dict of plain Python values for each group, method and score: `group`, `value`, `method`, `score`, `slices`,
      `patients`, `best_control`, `control_mean`, `mean` (of the method), `difference` (positive where the method is
      better, whatever the score's direction), `difference_ci95`, and `beats_best_control`, true where the interval
      lies above 0 (false without an interval).

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
        clusters, counts = _resampling(patients[chosen], resamples, seed)
        for method, scores in methods.items():
            for score, numbers in scores.items():
                of_controls = {name: values[score][chosen] for name, values in controls.items()}
                row = _comparison(score, numbers[chosen], of_controls, clusters, counts)
                rows.append({"group": group, "value": value, "method": method, "score": score, **row})
    return rows


def _comparison(
    score: str, numbers: np.ndarray, controls: dict[str, np.ndarray], clusters: np.ndarray, counts: np.ndarray | None
) -> dict:
    sign = 1 if SCORES[score].higher_is_better else -1
    best = max(controls, key=lambda name: sign * controls[name].mean())
    gain = _mean_with_interval(sign * (numbers - controls[best]), clusters, counts)
    return {
        "slices": gain["slices"],
        "patients": gain["patients"],
        "best_control": best,
        "control_mean": float(controls[best].mean()),
        "mean": float(numbers.mean()),
        "difference": gain["mean"],
        "difference_ci95": gain["ci95"],
        "beats_best_control": gain["ci95"] is not None and gain["ci95"][0] > 0,
    }


def _parts(rows: int, groups: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str, np.ndarray]]:
    """(group, value, row numbers): all rows, then each group's values in order of their names."""
    yield "all", "all", np.arange(rows)
    for group, column in groups.items():
        for value in np.unique(column):
            yield group, str(value), np.flatnonzero(column == value)


def _resampling(patients: np.ndarray, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The patient number of each row, and how often each resample draws each patient (None for a single patient)."""
    clusters = np.unique(patients, return_inverse=True)[1]
    units = int(clusters.max()) + 1
    # float64 runs through BLAS and is exact for counts.
    counts = bootstrap.resampled_counts(units, resamples, seed).astype(np.float64) if units > 1 else None
    return clusters, counts


def _mean_with_interval(values: np.ndarray, clusters: np.ndarray, counts: np.ndarray | None) -> dict:
    interval = None
    if counts is not None:
        interval = bootstrap.percentile_interval(bootstrap.resampled_mean(values, clusters, counts))
    patients = int(clusters.max()) + 1
    return {"slices": len(values), "patients": patients, "mean": float(values.mean()), "ci95": interval}


def _check_lengths(values: Values, patients: np.ndarray, groups: Mapping[str, np.ndarray]) -> None:
    arrays = {f"{method}: {score}": numbers for method, scores in values.items() for score, numbers in scores.items()}
    for name, array in {**arrays, **groups}.items():
        if len(patients) == 0 or np.shape(array) != (len(patients),):
            raise ValueError(
                f"{name} has shape {np.shape(array)}, expected one value for each of {len(patients)} slices"
            )
