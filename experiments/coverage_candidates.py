"""95% intervals of a share of rows in clusters: the candidates that `experiments.coverage` compares.

Each takes `rows` and `hits`, float [S, K]: the rows of K clusters and how many are correct, in S simulated data sets.
All return the lower and the upper bounds, float [S]. The data sets of one call share their cluster sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm, t

from btjax.evaluation.intervals import Carriers, clopper_pearson, jackknife_variance, share_bounds

if TYPE_CHECKING:
    from collections.abc import Callable

Bounds = tuple[np.ndarray, np.ndarray]

RESAMPLES = 1000
_TAILS = (2.5, 97.5)


def _left_out(rows: np.ndarray, hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of each data set, and with each cluster left out."""
    return hits.sum(axis=1) / rows.sum(axis=1), (hits.sum(axis=1, keepdims=True) - hits) / (
        rows.sum(axis=1, keepdims=True) - rows
    )


def ours(rows: np.ndarray, hits: np.ndarray) -> Bounds:
    """`btjax.evaluation.intervals.share_bounds`, the intervals of every report."""
    shares, left_out = _left_out(rows, hits)
    return share_bounds(shares, left_out, Carriers.of(rows))


def korn_graubard(rows: np.ndarray, hits: np.ndarray) -> Bounds:
    """Clopper-Pearson of the effective number of rows, t with K - 1 degrees of freedom."""
    shares, left_out = _left_out(rows, hits)
    clusters = rows.shape[1]
    variance = jackknife_variance(left_out - shares[:, None])
    effective = np.full_like(shares, clusters)
    effective[variance > 0] = (shares * (1 - shares))[variance > 0] / variance[variance > 0]
    effective *= np.where(variance > 0, (norm.ppf(0.975) / t.ppf(0.975, clusters - 1)) ** 2, 1)
    effective = np.minimum(effective, rows.sum(axis=1))
    return clopper_pearson(shares * effective, effective)


def logit_t(rows: np.ndarray, hits: np.ndarray) -> Bounds:
    """The jackknife's standard error on the logit scale, t with K - 1 degrees of freedom; no width without mistakes."""
    shares, left_out = _left_out(rows, hits)
    errors = jackknife_variance(left_out - shares[:, None]) ** 0.5
    return _on_logits(shares, errors, [t.ppf(0.975, rows.shape[1] - 1)] * 2)


def _on_logits(shares: np.ndarray, errors: np.ndarray, quantiles: list) -> Bounds:
    inner = (shares > 0) & (shares < 1)
    bounds = []
    for sign, quantile in zip((-1, 1), quantiles, strict=True):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            logits = np.log(shares / (1 - shares)) + sign * quantile * errors / (shares * (1 - shares))
            bounds.append(np.where(inner, 1 / (1 + np.exp(-logits)), shares))
    return bounds[0], bounds[1]


def _resampled(rows: np.ndarray, hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of resampled clusters and their standard errors by linearisation, float [R, S]."""
    sizes, clusters = rows[0], rows.shape[1]
    counts = np.random.default_rng(0).multinomial(clusters, np.full(clusters, 1 / clusters), RESAMPLES).astype(float)
    total = (counts @ sizes)[:, None]
    shares = counts @ hits.T / total
    squares = counts @ (hits**2).T - 2 * shares * (counts @ (hits * sizes).T)
    squares += shares**2 * (counts @ sizes**2)[:, None]
    return shares, np.sqrt(np.maximum(squares, 0) * clusters / (clusters - 1)) / total


def percentile_bootstrap(rows: np.ndarray, hits: np.ndarray) -> Bounds:
    """The percentiles of resampled clusters' shares: the intervals of earlier reports."""
    low, high = np.percentile(_resampled(rows, hits)[0], _TAILS, axis=0)
    return low, high


def bca_bootstrap(rows: np.ndarray, hits: np.ndarray) -> Bounds:
    """Bias-corrected and accelerated percentiles of the same (Efron 1987)."""
    resampled, (shares, left_out) = _resampled(rows, hits)[0], _left_out(rows, hits)
    influence = left_out.mean(axis=1, keepdims=True) - left_out
    cubes, squares = (influence**3).sum(axis=1), (influence**2).sum(axis=1)
    acceleration = np.divide(cubes, 6 * squares**1.5, out=np.zeros_like(cubes), where=squares > 0)
    below = (resampled < shares).mean(axis=0) + (resampled == shares).mean(axis=0) / 2
    bias, ordered = norm.ppf(below.clip(1 / RESAMPLES, 1 - 1 / RESAMPLES)), np.sort(resampled, axis=0)
    bounds = []
    for tail in norm.ppf(np.array(_TAILS) / 100):
        places = norm.cdf(bias + (bias + tail) / (1 - acceleration * (bias + tail)))
        index = np.clip(np.round(places * (RESAMPLES - 1)).astype(int), 0, RESAMPLES - 1)
        bounds.append(ordered[index, np.arange(len(shares))])
    return bounds[0], bounds[1]


def studentised_bootstrap(rows: np.ndarray, hits: np.ndarray) -> Bounds:
    """Percentiles of the resampled t on the logit scale; no width without mistakes."""
    resampled, errors = _resampled(rows, hits)
    shares, left_out = _left_out(rows, hits)
    own = jackknife_variance(left_out - shares[:, None]) ** 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.log(resampled / (1 - resampled)) - np.log(shares / (1 - shares))
        ratios = away * resampled * (1 - resampled) / errors
    # A resample without mistakes lies beyond every other.
    ratios = np.where(np.isfinite(ratios), ratios, np.where(resampled >= shares, 1e3, -1e3))
    low, high = np.percentile(ratios, _TAILS, axis=0)
    return _on_logits(shares, own, [high, -low])


CANDIDATES: dict[str, Callable[[np.ndarray, np.ndarray], Bounds]] = {
    "effective-sample Clopper-Pearson": ours,
    "Korn-Graubard": korn_graubard,
    "logit t": logit_t,
    "percentile bootstrap": percentile_bootstrap,
    "BCa bootstrap": bca_bootstrap,
    "studentised bootstrap": studentised_bootstrap,
}
"""Name -> candidate, ours first."""
