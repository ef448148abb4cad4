"""Two classifiers on the same rows: is one better, or do they differ by chance?

References: McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12,
1947; Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 1979; Good, Permutation
tests, 2000.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.evaluation.intervals import Clusters, Interval, MeanInterval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from btjax.evaluation.labelled import Labelled

RESAMPLES = 9999


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The accuracies of two classifiers, and tests of their difference.

    Attributes:
      rows: how many both predicted.
      units: clusters of rows (patients, families, or rows where nothing is known).
      first, second: their accuracies.
      difference: second less first, with its 95% interval by cluster.
      p_permutation: of no difference, two-sided: the two predictions of a whole cluster are exchanged.
      first_only, second_only: patients (with one vote each) that this classifier alone has right; None without ids.
      p_mcnemar: of these, exact and two-sided.
      p_holm: `p_permutation` corrected for the number of comparisons of a table, or None outside of one.
    """

    rows: int
    units: int
    first: float
    second: float
    difference: float
    difference_ci95: Interval | None
    p_permutation: float
    first_only: int | None
    second_only: int | None
    p_mcnemar: float | None
    p_holm: float | None = None


def compare(first: Labelled, second: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Compares two classifiers on the same rows.

    Args:
      first: one of them.
      second: float [N, C], the other's logits of the same rows.
      resamples: of the permutation test; with few clusters all permutations are taken.
      seed: of these.

    Raises:
      ValueError: logits of other rows.

    Example:
      >>> import numpy as np
      >>> from btjax.evaluation.labelled import Labelled
      >>> labels, perfect = np.arange(30) % 3, np.eye(3)[np.arange(30) % 3]
      >>> found = compare(Labelled(np.roll(perfect, 1, axis=1), labels), perfect)
      >>> found.difference, found.p_permutation < 0.001
      (1.0, True)
    """
    if np.shape(second) != np.shape(first.logits):
        raise ValueError(f"the second has logits {np.shape(second)}, the first {np.shape(first.logits)}")
    other = dataclasses.replace(first, logits=second)
    gains = other.correct.astype(np.float64) - first.correct
    mean = difference_interval(gains, first.clusters)
    only, p_mcnemar = (None, None), None
    if first.patients is not None:
        votes = [one.by_patient().correct for one in (first, other)]
        only = int(np.sum(votes[0] & ~votes[1])), int(np.sum(votes[1] & ~votes[0]))
        p_mcnemar = _mcnemar(*only)
    return Comparison(
        rows=len(first),
        units=first.clusters.units,
        first=float(first.correct.mean()),
        second=float(other.correct.mean()),
        difference=mean.value,
        difference_ci95=mean.ci95,
        p_permutation=permutation_p_value(gains, first.clusters, resamples=resamples, seed=seed),
        first_only=only[0],
        second_only=only[1],
        p_mcnemar=p_mcnemar,
    )


def compare_all(
    systems: Mapping[str, np.ndarray], rows: Labelled, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[tuple[str, str], Comparison]:
    """Compares every pair of classifiers on the same rows, with Holm's correction over the pairs.

    Args:
      systems: name -> logits float [N, C].
      rows: labels, patients and groups of the rows; its logits are not used.
      resamples: as in `compare`.
      seed: as in `compare`.

    Returns:
      (first name, second name) -> comparison, in the order of the names.
    """
    pairs = list(itertools.combinations(systems, 2))
    found = [
        compare(dataclasses.replace(rows, logits=systems[a]), systems[b], resamples=resamples, seed=seed)
        for a, b in pairs
    ]
    corrected = holm([one.p_permutation for one in found])
    return {pair: dataclasses.replace(one, p_holm=p) for pair, one, p in zip(pairs, found, corrected, strict=True)}


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: p-values of which each may be compared with 0.05, whatever their number.

    Example:
      >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
      [0.03, 0.06, 0.06]
    """
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(p_values, method="holm")[1]).tolist()


def difference_interval(gains: np.ndarray, clusters: Clusters) -> MeanInterval:
    """The mean of paired differences with its interval by cluster.

    Where every row gains the same, the jackknife has no width. The bounds then allow for the largest share of clusters
    that could have been missed (97.5%), with gains of -1 or of 1. Where few clusters differ, they are narrower than
    that.

    Args:
      gains: float [N] in [-1, 1].
      clusters: of the rows.
    """
    mean = clusters.mean(gains)
    if mean.ci95 is None:
        return mean
    if np.ptp(gains) == 0:
        unseen, gain = 1 - 0.025 ** (1 / clusters.units), float(gains[0])
        return dataclasses.replace(mean, ci95=(gain - unseen * (1 + gain), gain + unseen * (1 - gain)))
    return dataclasses.replace(mean, ci95=(max(-1.0, mean.ci95[0]), min(1.0, mean.ci95[1])))


def permutation_p_value(gains: np.ndarray, clusters: Clusters, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """The two-sided p-value of no difference, with the signs of whole clusters exchanged.

    Args:
      gains: float [N], second less first.
      clusters: of the rows.
      resamples: random permutations; all of them where there are fewer.
      seed: of these.
    """
    from scipy.stats import permutation_test

    sums = clusters.sums(gains)
    sums = sums[sums != 0]
    if len(sums) < 2:
        return 1.0  # of a single cluster both signs are equally far from 0
    found = permutation_test(
        (sums, np.zeros_like(sums)),
        lambda one, other, axis: np.abs((one - other).sum(axis=axis)),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=resamples,
        batch=1000,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _mcnemar(first_only: int, second_only: int) -> float:
    from statsmodels.stats.contingency_tables import mcnemar

    found: Any = mcnemar([[0, first_only], [second_only, 0]], exact=True)
    return min(1.0, float(found.pvalue))
