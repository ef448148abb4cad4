"""95% intervals that hold when the slices of one patient resemble each other.

Slices of one patient are not independent, so the unit is the cluster: a patient, a family of patient ids, a group of
linked slices. Every metric gets its interval from its values with one cluster left out at a time (the jackknife over
clusters):

- Shares in [0, 1] (accuracy, recall, F1, the area under the ROC curve ...): Clopper and Pearson's interval with an
  effective number of rows, value * (1 - value) / variance, after Korn and Graubard. They take t with K - 1 degrees of
  freedom, which covers too little where a few patients hold all mistakes; here the degrees of freedom are
  Satterthwaite's, with the kurtosis of the clusters' influence, so that few patients with mistakes widen the interval.
  The effective number never falls below that of the clusters: a mean of values in [0, 1] varies most where all rows of
  a cluster agree.
  A classifier without mistakes gets the interval of K patients without mistakes, [0.025^(1/K), 1], and the interval of
  a share that counts mistakes never begins above that one: a mistake does not raise the lower bound.
- Anything else: value +- t standard errors, on the scale of the logarithm where it is positive.

`python -m experiments.coverage` measures how often these intervals hold the truth, beside the bootstrap's.

References: Korn and Graubard, Confidence intervals for proportions with small expected number of positive counts
estimated from survey data, Survey Methodology 24, 1998; Satterthwaite, An approximate distribution of estimates of
variance components, Biometrics Bulletin 2, 1946; Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter
11 (jackknife); Field and Welsh, Bootstrapping clustered data, J. R. Stat. Soc. B 69, 2007.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Interval = tuple[float, float]
"""The lower and the upper bound of a 95% interval."""

Scale = Literal["share", "positive", "real"]
"""What values are possible: [0, 1], above 0, or any; it decides the form of the interval."""

METHOD = "effective-sample Clopper-Pearson and jackknife t"
"""The name of these intervals in reports; earlier reports say 'percentile bootstrap'."""

_TAIL = 0.025
_LEAST_DEGREES = 5


@dataclasses.dataclass(frozen=True)
class IntervalSettings:
    """How the intervals of a report were computed.

    Attributes:
      method: of the interval, in words.
      unit: what varies together: 'patient', 'family' of patient ids, 'group' of linked slices, or 'slice'.
      units: how many of them there are.
    """

    method: str
    unit: str
    units: int


@dataclasses.dataclass(frozen=True)
class MeanInterval:
    """A mean with its 95% interval.

    Attributes:
      value: the mean over rows.
      ci95: its interval; None with fewer than two clusters, or if a row is not finite.
      rows: the number of rows.
      clusters: the number of clusters.
    """

    value: float
    ci95: Interval | None
    rows: int
    clusters: int


@dataclasses.dataclass(frozen=True, eq=False)
class Carriers:
    """How many rows and clusters a share rests on; each a number or float [...], for many shares at once.

    Attributes:
      rows: the largest effective number of rows that is believed.
      effective: (sum of sizes)^2 / sum of squared sizes, the number of clusters less what their unequal sizes cost.
      units: the number of clusters, those without rows left out.
    """

    rows: ArrayLike
    effective: ArrayLike
    units: ArrayLike

    @staticmethod
    def of(sizes: np.ndarray) -> Carriers:
        """Of the clusters' rows, float [..., K]."""
        sizes = np.asarray(sizes, np.float64)
        rows, squares = sizes.sum(axis=-1), (sizes**2).sum(axis=-1)
        return Carriers(rows, rows**2 / np.maximum(squares, 1e-300), (sizes > 0).sum(axis=-1))

    @staticmethod
    def of_mean(parts: list[Carriers]) -> Carriers:
        """Of the mean of C shares: C^2 over the sum of reciprocals, as the variance of the mean of C shares has it."""

        def together(values: list[ArrayLike]) -> np.ndarray:
            with np.errstate(divide="ignore"):
                return len(values) ** 2 / np.sum([1 / np.asarray(value, np.float64) for value in values], axis=0)

        return Carriers(*(together([getattr(one, name) for one in parts]) for name in ("rows", "effective", "units")))


def share_bounds(
    values: ArrayLike, left_out: np.ndarray, carriers: Carriers, *, counted: bool = True, independent: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of shares, see the head of this file.

    Args:
      values: float [...] in [0, 1].
      left_out: float [..., K], the same with each cluster left out.
      carriers: what they rest on.
      counted: whether the share counts mistakes, so that no lower bound lies above that of a share without any.
      independent: whether it counts rows, of which each cluster has one. Its variance then follows from the share:
        nothing is taken off for few mistakes, and a share of rows has Clopper and Pearson's interval itself.

    Returns:
      Lower and upper bounds, float64 [...].

    Example:
      >>> low, high = share_bounds(1.0, np.ones(46), Carriers(613, 40, 46))
      >>> round(float(low), 3), float(high)
      (0.923, 1.0)
    """
    from scipy.special import ndtri, stdtrit

    values = np.asarray(values, np.float64)
    deviations = left_out - values[..., None]
    variance = jackknife_variance(deviations)
    spread = values * (1 - values)
    effective = np.divide(spread, variance, out=np.full_like(spread, np.inf), where=variance > 0)
    if independent:
        # The variance of the rows that carry the share, without the jackknife's correction for estimating it.
        clusters, units = left_out.shape[-1], np.maximum(carriers.units, 1 + 1e-9)
        effective = effective * (clusters - 1) / clusters * (units / (units - 1)) ** 2
    else:
        # A larger quantile widens the interval as fewer rows do (Korn and Graubard, section 3).
        quantile = stdtrit(degrees_of_freedom(deviations, carriers.effective), 1 - _TAIL)
        effective = effective * (ndtri(1 - _TAIL) / quantile) ** 2
        effective = np.maximum(effective, carriers.effective)
    effective = np.minimum(effective, carriers.rows)
    sure = (values <= 0) | (values >= 1)
    effective = np.where(sure, np.minimum(carriers.units, carriers.rows), effective)
    low, high = clopper_pearson(values * effective, effective)
    if not counted:
        return low, high
    without_mistakes = _TAIL ** (1 / np.asarray(carriers.units, np.float64))
    return np.minimum(low, without_mistakes), np.maximum(high, 1 - without_mistakes)


def clopper_pearson(successes: ArrayLike, trials: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The exact binomial interval, also of numbers that are not whole: float64 [...] bounds.

    Example:
      >>> low, high = clopper_pearson(30, 32)
      >>> round(float(low), 4), round(float(high), 4)
      (0.7919, 0.9923)
    """
    from scipy.special import betaincinv

    successes, trials = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    failures = trials - successes
    none, every = successes <= 1e-12 * trials, failures <= 1e-12 * trials
    low = betaincinv(np.where(none, 1, successes), failures + 1, _TAIL)
    high = betaincinv(successes + 1, np.where(every, 1, failures), 1 - _TAIL)
    return np.where(none, 0, low), np.where(every, 1, high)


def jackknife_variance(deviations: np.ndarray) -> np.ndarray:
    """(K - 1) / K times the sum of squares of float [..., K]: values with a cluster left out, less the value."""
    clusters = deviations.shape[-1]
    return (clusters - 1) / clusters * (deviations**2).sum(axis=-1)


def degrees_of_freedom(deviations: np.ndarray, effective: ArrayLike) -> np.ndarray:
    """Satterthwaite's degrees of freedom of a jackknife variance, from the kurtosis of the deviations.

    A sum of K squares whose terms have kurtosis k varies as a chi-square of 2 (K - 1) / (k - 1) degrees: K - 1 where
    deviations are normal, 2 where one cluster alone deviates. Never more than the effective number of clusters less 1.

    Args:
      deviations: float [..., K].
      effective: of `Carriers`.

    Returns:
      float64 [...], at least 1.
    """
    clusters = deviations.shape[-1]
    scaled = deviations / np.maximum(np.abs(deviations).max(axis=-1, keepdims=True), 1e-300)
    squares, fourths = (scaled**2).sum(axis=-1), (scaled**4).sum(axis=-1)
    # The number of clusters that carry the variance: K over the kurtosis.
    carrying = np.divide(squares**2, fourths, out=np.full_like(squares, float(clusters)), where=fourths > 0)
    found = 2 * carrying * (clusters - 1) / np.maximum(clusters - carrying, 1e-9)
    return np.maximum(np.minimum(found, np.asarray(effective, np.float64) - 1), 1)


def interval(
    value: float,
    left_out: np.ndarray,
    carriers: Carriers,
    *,
    scale: Scale = "real",
    counted: bool = True,
    independent: bool = False,
) -> Interval | None:
    """The interval of one metric.

    Args:
      value: the metric of all rows.
      left_out: float [K], the metric with each cluster left out.
      carriers: what it rests on.
      scale: what values it can have.
      counted: of a share, as in `share_bounds`.
      independent: the same.

    Returns:
      The bounds, or None where the value is not finite, fewer than two clusters carry it, or one of them alone defines
      it.
    """
    from scipy.special import stdtrit

    if not np.isfinite(value) or not np.isfinite(left_out).all() or len(left_out) < 2 or float(carriers.units) < 2:  # type: ignore[arg-type]
        return None
    if scale == "share":
        low, high = share_bounds(value, left_out, carriers, counted=counted, independent=independent)
        return float(low), float(high)
    logarithm = scale == "positive" and value > 0 and bool(np.all(left_out > 0))
    middle, parts = (np.log(value), np.log(left_out)) if logarithm else (value, left_out)
    deviations = parts - middle
    degrees = degrees_of_freedom(deviations, carriers.effective)
    if logarithm:
        # The logarithm has much of the skewness already: with two degrees of freedom beside it bounds would be useless.
        degrees = np.maximum(degrees, _LEAST_DEGREES)
    half = stdtrit(degrees, 1 - _TAIL) * jackknife_variance(deviations) ** 0.5
    bounds = np.array([middle - half, middle + half])
    low, high = np.exp(bounds) if logarithm else np.maximum(bounds, 0) if scale == "positive" else bounds
    return float(low), float(high)


@dataclasses.dataclass(frozen=True, eq=False)
class Clusters:
    """Which rows belong together.

    Attributes:
      numbers: int [N] in [0, K), the cluster of each row.
    """

    numbers: np.ndarray

    @staticmethod
    def of(names: np.ndarray) -> Clusters:
        """From [N] patient ids, or any other values that can be sorted.

        Raises:
          ValueError: no rows.
        """
        names = np.asarray(names)
        if names.ndim != 1 or len(names) == 0:
            raise ValueError(f"clusters must be [N] with N at least 1, found shape {names.shape}")
        return Clusters(np.unique(names, return_inverse=True)[1])

    @functools.cached_property
    def units(self) -> int:
        """K, the number of clusters."""
        return int(self.numbers.max()) + 1

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """int64 [K], the rows of each cluster."""
        return np.bincount(self.numbers, minlength=self.units)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """float64 [K, ...]: the sum of `values` (bool, int or float [N, ...]) over the rows of each cluster."""
        order, starts = self._runs
        return np.add.reduceat(values[order].astype(np.float64), starts, axis=0)

    @functools.cached_property
    def _runs(self) -> tuple[np.ndarray, np.ndarray]:
        """An order of the rows in which clusters follow each other, and where each begins."""
        order = np.argsort(self.numbers, kind="stable")
        return order, np.searchsorted(self.numbers[order], np.arange(self.units))

    def totals(self, values: np.ndarray) -> np.ndarray:
        """float64 [1 + K, ...]: the sum of `values` over all rows, then over all but each cluster's."""
        parts = self.sums(values)
        every = parts.sum(axis=0, keepdims=True)
        return np.concatenate([every, every - parts])

    def means(self, values: np.ndarray) -> np.ndarray:
        """float64 [1 + K]: the mean of `values` (float [N]) over all rows, then over all but each cluster's.

        NaN where no row is left.
        """
        sums, rows = self.totals(values), self.totals(np.ones(len(self.numbers)))
        return np.divide(sums, rows, out=np.full(len(rows), np.nan), where=rows > 0)

    def mean(self, values: np.ndarray, scale: Scale = "real") -> MeanInterval:
        """The mean over rows of `values` (float [N]) with its interval.

        Raises:
          ValueError: not one value for each row.
        """
        values = self._checked(values)
        bounds, value = None, float(values.mean())
        if np.isfinite(values).all():
            shares = scale == "share" and bool(np.isin(values, (0, 1)).all())
            carriers = Carriers.of(self.sizes)
            kind = {"counted": shares, "independent": shares and self.single}
            bounds = interval(value, self.means(values)[1:], carriers, scale=scale, **kind)
        return MeanInterval(value, bounds, len(values), self.units)

    def ratio(self, numerators: np.ndarray, denominators: np.ndarray) -> Interval | None:
        """The interval of the mean of `numerators` over the mean of `denominators`, both float [N] and at least 0.

        None as in `MeanInterval.ci95`, or where the denominator is 0 without one of the clusters.

        Raises:
          ValueError: not one value for each row.
        """
        above, below = (self.totals(self._checked(values)) for values in (numerators, denominators))
        if not (np.isfinite(above).all() and np.isfinite(below).all()):
            return None
        ratios = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
        return interval(ratios[0], ratios[1:], Carriers.of(self.sizes), scale="positive")

    @property
    def single(self) -> bool:
        """Whether every cluster has one row."""
        return self.units == len(self.numbers)

    def _checked(self, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values, np.float64)
        if values.shape != self.numbers.shape:
            raise ValueError(f"expected one value for each of {len(self.numbers)} rows, found shape {values.shape}")
        return values


def mean_interval(values: np.ndarray, clusters: np.ndarray | None = None, *, scale: Scale = "real") -> MeanInterval:
    """A mean with its 95% interval by cluster. For many means of the same rows make `Clusters` once.

    Args:
      values: float [N], N at least 1.
      clusters: [N], such as the patient of each row, or None for independent rows.
      scale: what values are possible.

    Raises:
      ValueError: no rows, or not one value for each row.

    Example:
      >>> import numpy as np
      >>> found = mean_interval(np.array([0.0, 1.0, 1.0, 1.0]), np.array(["a", "a", "b", "b"]), scale="share")
      >>> found.value, found.rows, found.clusters
      (0.75, 4, 2)
    """
    return Clusters.of(np.arange(len(values)) if clusters is None else clusters).mean(values, scale)
