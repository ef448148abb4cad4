"""The rule that says which pairs are linked, and which links join groups.

The coefficients were fitted on half of the families of Cheng's 3064 slices by `btjax.studies.link_measure.fit_rule`
(see `python -m experiments.measure_links --data_dir=DATA --fit`) and measured on the other half; `NEAR` and `STRICT`
were chosen from tables of the first half.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from btjax.links.similarity import FEATURES

if TYPE_CHECKING:
    from collections.abc import Sequence

NEAR = 0.89
"""Correlation after registration from which two slices are near-duplicates."""

NEIGHBOUR = 0.666
"""Probability from which two slices are neighbours."""

STRICT = 0.95
"""Probability from which a link between neighbours joins two groups that each have several slices."""

LEVELS = ("frame_still", "head_still")
"""Features whose usual height among a slice's candidates is a feature too: some slices look like every other one."""

RANKS = (8, 30)
"""The candidates, counted from the most alike, that say how alike slices are that are no neighbours."""

LINKS_TO_MERGE = 2
"""How many links between neighbours below `STRICT` join two groups that each have several slices."""

USUAL = (0.33, 0.385)
"""The level of a slice with fewer candidates than that, and the highest that is taken, for each of `LEVELS`."""
HIGHEST = (0.431, 0.47)

COEFFICIENTS = (
    10.83,
    -14.92,
    24.37,
    -1.433,
    20.82,
    2.726,
    -1.364,
    9.43,
    0.8849,
    14.67,
    -6.778,
    22.81,
    -14.08,
    -8.633,
    4.79,
    4.547,
    5.901,
    -6.696,
    -8.099,
    7.209,
    2.157,
    -9.352,
    -2.438,
    0.6572,
    -4.512,
    -10.39,
    3.914,
    -23.49,
    -18.4,
)  # fmt: skip
"""Of the logistic regression: the features, then the higher and the lower of the two slices' levels for each level."""

INTERCEPT = -19.06


def level_features(
    features: np.ndarray,
    pairs: np.ndarray,
    rows: int,
    *,
    usual: Sequence[float] = USUAL,
    highest: Sequence[float] = HIGHEST,
) -> np.ndarray:
    """How alike the two slices of a pair are to candidates that are no neighbours, float32 [P, 2 * len(LEVELS)].

    Args:
      features: of `pair_features`, float32 [P, F].
      pairs: int [P, 2], every candidate pair.
      rows: number of slices.
      usual: see `USUAL`.
      highest: see `HIGHEST`.
    """
    columns = []
    for name, middle, most in zip(LEVELS, usual, highest, strict=True):
        values = np.tile(features[:, FEATURES.index(name)].astype(np.float64), 2)
        level = _levels(pairs.T.ravel(), values, rows, middle)
        both = np.minimum(level[pairs], most)
        columns += [both.max(axis=1), both.min(axis=1)]
    return np.stack(columns, axis=1).astype(np.float32)


def _levels(owners: np.ndarray, values: np.ndarray, rows: int, usual: float) -> np.ndarray:
    """The mean of each owner's values at `RANKS`, float64 [rows]; `usual` for owners with fewer."""
    order = np.lexsort((-values, owners))
    owners, values = owners[order], values[order]
    starts = np.searchsorted(owners, np.arange(rows))
    rank = np.arange(len(owners)) - starts[owners]
    used = (rank >= RANKS[0]) & (rank < RANKS[1])
    count = np.bincount(owners[used], minlength=rows)
    total = np.bincount(owners[used], values[used], minlength=rows)
    # Few candidates in those ranks are filled up with the usual level, so that small sets are judged steadily.
    return (total + usual * (RANKS[1] - RANKS[0] - count)) / (RANKS[1] - RANKS[0])


def rule_inputs(features: np.ndarray, pairs: np.ndarray, rows: int) -> np.ndarray:
    """What the logistic regression sees: features and levels, float64 [P, len(COEFFICIENTS)]."""
    return np.concatenate([features, level_features(features, pairs, rows)], axis=1).astype(np.float64)


def neighbour_probabilities(features: np.ndarray, pairs: np.ndarray, rows: int) -> np.ndarray:
    """The probability that the slices of each pair are neighbours, float64 [P]; arguments as `level_features`."""
    if not len(pairs):
        return np.zeros(0)
    logits = rule_inputs(features, pairs, rows) @ np.array(COEFFICIENTS) + INTERCEPT
    return 1 / (1 + np.exp(-np.clip(logits, -50, 50)))


def join(rows: int, pairs: np.ndarray, scores: np.ndarray, kinds: np.ndarray, strict: float = STRICT) -> np.ndarray:
    """The groups of linked slices, int32 [rows], numbered in the order of their first slices.

    Copies and near-duplicates always join. Links between neighbours are taken from the strongest to the weakest; one
    below `strict` joins two groups that both have several slices only when a second link between them was met, so that
    no single wrong link chains two patients together.

    Args:
      rows: number of slices.
      pairs: int [P, 2].
      scores: float [P].
      kinds: str [P], as `Links.kinds`.
      strict: the probability from which one link suffices.
    """
    groups = _Groups(rows)
    neighbour = kinds == "neighbour"
    for one, other in pairs[~neighbour].tolist():
        groups.merge(groups.root(one), groups.root(other))
    weak = np.flatnonzero(neighbour)
    for place in weak[np.argsort(-scores[weak], kind="stable")].tolist():
        one, other = (groups.root(row) for row in pairs[place].tolist())
        if one == other:
            continue
        if scores[place] >= strict or 1 in (groups.size[one], groups.size[other]):
            groups.merge(one, other)
        else:
            groups.meet(one, other, 1)
    return np.unique([groups.root(row) for row in range(rows)], return_inverse=True)[1].ravel().astype(np.int32)


class _Groups:
    """Groups under merging: `parent` leads to the smallest row of a group, `met` counts single links between groups."""

    def __init__(self, rows: int) -> None:
        self.parent, self.size = list(range(rows)), [1] * rows
        self.met: dict[int, dict[int, int]] = {}

    def root(self, row: int) -> int:
        """The smallest row of a row's group."""
        while self.parent[row] != row:
            self.parent[row] = self.parent[self.parent[row]]
            row = self.parent[row]
        return row

    def meet(self, one: int, other: int, count: int) -> None:
        """Notes links between two roots; the second merges them."""
        total = self.met.get(one, {}).get(other, 0) + count
        if total >= LINKS_TO_MERGE:
            self.merge(one, other)
            return
        self.met.setdefault(one, {})[other] = self.met.setdefault(other, {})[one] = total

    def merge(self, one: int, other: int) -> None:
        """Makes one group of two roots, and of those that their links together now merge."""
        if one == other:
            return
        one, other = min(one, other), max(one, other)
        self.parent[other] = one
        self.size[one] += self.size[other]
        self.met.get(one, {}).pop(other, None)
        for third, count in self.met.pop(other, {}).items():
            self.met.get(third, {}).pop(other, None)
            if third != one:
                self.meet(self.root(one), self.root(third), count)
