"""The linking rule fitted on half of the families, and measured on the other half, where patients are known."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.errors import InputError
from btjax.links import rule as link_rule
from btjax.links.candidates import Sides, near_pairs, neighbour_candidates
from btjax.links.links import Links, link_slices
from btjax.links.similarity import pair_features
from btjax.links.views import joined, make_views
from btjax.studies.link_truth import CHANGES, GroupScores, both, changed_copies, consecutive, group_scores, halves

if TYPE_CHECKING:
    from btjax.base.progress import ProgressCallback
    from btjax.readers.slices import Slices

FOLDS = 4
PRECISION = 0.97
"""The precision, on the families that choose, at which the threshold of neighbours is set."""


@dataclasses.dataclass(frozen=True)
class NearScores:
    """Near-duplicates made by known changes.

    Attributes:
      slices: real slices, each with one changed copy.
      recall: share of the copies that are linked to their slice as copy or near-duplicate.
      recall_by_change: the same for each of `CHANGES`.
      grouped: share of the copies that stand in their slice's group.
      pairs: linked pairs of these kinds.
      precision: share of these pairs that are of one slice.
      same_family: share of these pairs that are of one family.
    """

    slices: int
    recall: float
    recall_by_change: dict[str, float]
    grouped: float
    pairs: int
    precision: float
    same_family: float


@dataclasses.dataclass(frozen=True)
class NeighbourScores:
    """Neighbours by patient ids: see `btjax.studies.link_truth.consecutive`.

    Attributes:
      slices: number of slices.
      true_pairs: pairs of consecutive slices of one patient and plane.
      recall: share of these that are linked, by any kind.
      pairs: linked pairs, of any kind.
      precision: share of the linked pairs that are of one family.
      same_patient: share of the linked pairs that are of one patient.
      same_plane: share of the linked pairs that are of one family and plane; None where planes are unknown.
      near_pairs: linked pairs of kind copy or near: duplicates within the data set itself.
      seconds: that finding the links took.
      groups: how groups agree with families.
    """

    slices: int
    true_pairs: int
    recall: float
    pairs: int
    precision: float
    same_patient: float
    same_plane: float | None
    near_pairs: int
    seconds: float
    groups: GroupScores


@dataclasses.dataclass(frozen=True)
class Measured:
    """What experiments/results/links_cheng.json holds: of the half that nothing was chosen on, and of all slices."""

    families_measured: int
    near: NearScores
    neighbours: NeighbourScores
    neighbours_of_all: NeighbourScores


def measure(slices: Slices, progress: ProgressCallback | None = None) -> Measured:
    """Measures the rule on the half of the families that nothing was chosen on, and beside it on all slices.

    Raises:
      InputError: slices without patients, or whose ids are not numbers.
    """
    _, rows = known_halves(slices)
    half = slices.take(rows)
    return Measured(
        families_measured=len(np.unique(half.families)) if half.families is not None else 0,
        near=near_scores(half, progress),
        neighbours=measure_neighbours(half, progress),
        neighbours_of_all=measure_neighbours(slices, progress),
    )


def known_halves(slices: Slices) -> tuple[np.ndarray, np.ndarray]:
    """Rows to choose on and rows to measure on; InputError where patients are unknown or ids are not numbers."""
    families = slices.families
    if families is None or not all(name.isdecimal() for name in slices.ids):
        raise InputError("--data_dir: expected slices with patient ids, numbered in the order in which they were taken")
    return halves(families)


def near_scores(slices: Slices, progress: ProgressCallback | None = None) -> NearScores:
    """Adds a changed copy of every slice and scores what is linked."""
    copies, changes = changed_copies(slices)
    links = link_slices(both(slices, copies), progress)
    count, families = len(slices), slices.families
    one, other = links.pairs[links.kinds != "neighbour"].T
    right = one % count == other % count
    found = np.zeros(count, bool)
    found[one[right] % count] = True
    same = right if families is None else families[one % count] == families[other % count]
    return NearScores(
        slices=count,
        recall=float(found.mean()),
        recall_by_change={name: float(found[changes == name].mean()) for name in CHANGES if (changes == name).any()},
        grouped=float(np.mean(links.groups[:count] == links.groups[count:])),
        pairs=len(one),
        precision=float(right.mean()) if len(one) else 1.0,
        same_family=float(same.mean()) if len(one) else 1.0,
    )


def measure_neighbours(slices: Slices, progress: ProgressCallback | None = None) -> NeighbourScores:
    """Links slices whose patients are known, and scores pairs and groups."""
    families, patients, planes = slices.families, slices.patients, slices.planes
    if families is None or patients is None:
        raise ValueError("expected known patients")
    start = time.perf_counter()
    links = link_slices(slices, progress)
    seconds = time.perf_counter() - start
    true = consecutive(slices)
    one, other = links.pairs.T
    same = families[one] == families[other]
    return NeighbourScores(
        slices=len(slices),
        true_pairs=len(true),
        recall=float(_among(true, links).mean()),
        pairs=len(links),
        precision=float(same.mean()),
        same_patient=float(np.mean(patients[one] == patients[other])),
        same_plane=None if planes is None else float(np.mean(same & (planes[one] == planes[other]))),
        near_pairs=int(np.sum(links.kinds != "neighbour")),
        seconds=seconds,
        groups=group_scores(links.groups, families, planes),
    )


def _among(pairs: np.ndarray, links: Links) -> np.ndarray:
    """Which pairs are linked, bool [P]."""
    linked = set(map(tuple, links.pairs.tolist()))
    return np.array([tuple(pair) in linked for pair in pairs.tolist()], bool)


def fit(slices: Slices, progress: ProgressCallback | None = None) -> dict[str, Any]:
    """The numbers of `btjax.links.rule`, from the half of the families that rules are chosen on.

    A logistic regression of consecutive slices against slices of other families; what else is of one family is left
    out. Thresholds come from predictions on families that were held out (4 folds).

    Raises:
      InputError: see `known_halves`.
    """
    half = slices.take(known_halves(slices)[0])
    copies, _ = changed_copies(half)
    views, rows = make_views(half.images, progress), Sides(np.arange(len(half)))
    doubled = joined(views, make_views(copies.images, progress))
    near, agreement = near_pairs(doubled, Sides(np.arange(len(doubled))), progress)
    own = (agreement >= link_rule.NEAR) & (near < len(half)).all(axis=1)
    duplicates = {tuple(pair) for pair in near[own].tolist()}
    pairs = neighbour_candidates(views, rows, progress)
    pairs = pairs[[tuple(pair) not in duplicates for pair in pairs.tolist()]]
    features = pair_features(views, pairs, progress)
    return fit_rule(half, pairs, features) | {"near": near_table(near, agreement, len(half))}


def near_table(pairs: np.ndarray, agreement: np.ndarray, count: int) -> list[dict[str, float]]:
    """Recall and precision of near-duplicates for some values of `NEAR`.

    Args:
      pairs: int [P, 2] among `count` slices followed by a changed copy of each.
      agreement: float32 [P].
      count: number of slices.
    """
    right, rows = pairs[:, 0] % count == pairs[:, 1] % count, []
    for threshold in np.arange(0.80, 0.951, 0.01):
        linked = agreement >= threshold
        rows.append(
            {
                "NEAR": round(float(threshold), 2),
                "recall": float(right[linked].sum() / count),
                "precision": float(right[linked].mean()) if linked.any() else 1.0,
            }
        )
    return rows


def fit_rule(slices: Slices, pairs: np.ndarray, features: np.ndarray) -> dict[str, Any]:
    """See `fit`; pairs int [P, 2] are the candidates among `slices`, features float32 [P, F] theirs."""
    families = slices.families
    if families is None:
        raise ValueError("expected known patients")
    true = set(map(tuple, consecutive(slices).tolist()))
    positive = np.array([tuple(pair) in true for pair in pairs.tolist()], bool)
    same = families[pairs[:, 0]] == families[pairs[:, 1]]
    usual, highest = _level_bounds(features, pairs, len(slices))
    levels = link_rule.level_features(features, pairs, len(slices), usual=usual, highest=highest)
    inputs = np.concatenate([features, levels], axis=1).astype(np.float64)
    held_out = _held_out_scores(inputs, positive, same, families[pairs])
    coefficients, intercept = _regression(inputs, positive, positive | ~same)
    order = np.argsort(-held_out)
    precision = np.cumsum(same[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(precision >= PRECISION)
    threshold = float(held_out[order[enough[-1]]]) if len(enough) else 1.0
    return {
        "USUAL": usual,
        "HIGHEST": highest,
        "COEFFICIENTS": tuple(float(f"{value:.4g}") for value in coefficients),
        "INTERCEPT": float(f"{intercept:.4g}"),
        "NEIGHBOUR": round(threshold, 3),
        "held out": {
            "recall": float((held_out[positive] >= threshold).sum() / max(len(true), 1)),
            "strict": _strict_table(slices, pairs, held_out, threshold),
        },
    }


def _level_bounds(features: np.ndarray, pairs: np.ndarray, rows: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The median and the 95th percentile of each level among the slices."""
    none = (np.inf,) * len(link_rule.LEVELS)
    found = link_rule.level_features(features, pairs, rows, usual=(0.0,) * len(none), highest=none)
    values = [np.percentile(found[:, 2 * place], (50, 95)) for place in range(len(none))]
    return tuple(round(float(value[0]), 3) for value in values), tuple(round(float(value[1]), 3) for value in values)


def _regression(inputs: np.ndarray, positive: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients and intercept of the raw inputs; the regression itself sees them standardised."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = inputs[used].mean(axis=0), np.maximum(inputs[used].std(axis=0), 1e-6)
    model = LogisticRegression(C=1.0, max_iter=5000).fit((inputs[used] - mean) / spread, positive[used])
    coefficients = model.coef_[0] / spread
    return coefficients, float(model.intercept_[0] - coefficients @ mean)


def _held_out_scores(inputs: np.ndarray, positive: np.ndarray, same: np.ndarray, families: np.ndarray) -> np.ndarray:
    """The probability of each pair by a rule that saw neither of its two families."""
    names = np.unique(families)
    fold = dict(zip(names.tolist(), (np.random.default_rng(1).permutation(len(names)) % FOLDS).tolist(), strict=True))
    folds = np.array([[fold[name] for name in pair] for pair in families.tolist()])
    scores = np.zeros(len(inputs))
    for one in range(FOLDS):
        for other in range(one, FOLDS):
            tested = (folds.min(axis=1) == one) & (folds.max(axis=1) == other)
            seen = ~np.isin(folds, (one, other)).any(axis=1) & (positive | ~same)
            coefficients, intercept = _regression(inputs, positive, seen)
            logits = inputs[tested] @ coefficients + intercept
            scores[tested] = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    return scores


def _strict_table(slices: Slices, pairs: np.ndarray, scores: np.ndarray, threshold: float) -> list[dict[str, Any]]:
    """How groups agree with families for some values of `STRICT`, by held-out probabilities."""
    kept = scores >= threshold
    kinds = np.full(int(kept.sum()), "neighbour")
    rows, families = [], slices.families
    if families is None:
        return rows
    for strict in (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.1):
        groups = link_rule.join(len(slices), pairs[kept], scores[kept], kinds, strict=strict)
        rows.append({"strict": strict} | dataclasses.asdict(group_scores(groups, families, slices.planes)))
    return rows
