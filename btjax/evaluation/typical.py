"""Does a slice look like those that a classifier was trained on? What looks unlike them should get no answer.

Three measures of strangeness, each larger for stranger slices:

- distance: the squared Mahalanobis distance of the network's feature statistics (mean and deviation of every channel of
  every convolution, and the penultimate layer) from those of the training slices, with Ledoit and Wolf's covariance;
- neighbours: how far, by angle, the tenth nearest training slice is in the penultimate layer;
- energy: minus the logarithm of the summed exponentials of the logits.

Each is put on a scale of the validation slices, 0 at their median and 1 at their 95% quantile; the largest of the three
counts. The penultimate layer alone takes noise for a tumour, early layers alone take any head for one.

References: Lee et al., A simple unified framework for detecting out-of-distribution samples, NeurIPS 2018; Sun et al.,
Out-of-distribution detection with deep nearest neighbors, ICML 2022; Liu et al., Energy-based out-of-distribution
detection, NeurIPS 2020.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTS = ("distance", "neighbours", "energy")
"""The measures of strangeness, in the order of `Typical.parts`."""

ANSWERED = 0.95
"""The share of validation slices that get an answer."""

NEIGHBOURS = 10
"""Which of the nearest training slices counts."""

_FLOOR = 1e-6
"""Features that vary less over the training slices are constants: dead units, mostly."""


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What a network makes of N slices.

    Attributes:
      logits: float32 [N, C].
      deep: float32 [N, P], the penultimate layer.
      wide: float32 [N, W], statistics of all layers.
    """

    logits: np.ndarray
    deep: np.ndarray
    wide: np.ndarray

    def __len__(self) -> int:
        return len(self.logits)

    def take(self, rows: np.ndarray) -> Seen:
        """Some of the rows."""
        return Seen(self.logits[rows], self.deep[rows], self.wide[rows])


@dataclasses.dataclass(frozen=True, eq=False)
class Typical:
    """How the training slices of a network look to it, and how strange its validation slices are.

    Attributes:
      centre, spread: float32 [W], mean and deviation of the training slices' statistics.
      whitening: float32 [W, K], a square root of the inverse covariance of the K scaled statistics that vary.
      neighbours: float16 [N, P], unit vectors of the training slices' penultimate layer.
      low, high: float64 [3], median and 95% quantile of each part over the validation slices.
      known: float64 [V], strangeness of the validation slices, ascending.
    """

    centre: np.ndarray
    spread: np.ndarray
    whitening: np.ndarray
    neighbours: np.ndarray
    low: np.ndarray
    high: np.ndarray
    known: np.ndarray

    @staticmethod
    def fit(trained: Seen, validated: Seen) -> Typical:
        """Learns from the training rows what is usual, and from the validation rows where its end is.

        Args:
          trained: at least two rows.
          validated: at least one row, which trained nothing.

        Raises:
          ValueError: fewer rows.
        """
        from sklearn.covariance import LedoitWolf

        if len(trained) < 2 or not len(validated):
            raise ValueError(f"{len(trained)} training and {len(validated)} validation rows, expected 2 and 1 or more")
        wide = np.asarray(trained.wide, np.float64)
        spread = wide.std(axis=0)
        spread = np.where(spread > _FLOOR, spread, np.inf)  # what never varies counts for nothing
        varies = np.isfinite(spread)
        scaled = ((wide - wide.mean(axis=0)) / spread)[:, varies]
        values, vectors = np.linalg.eigh(LedoitWolf(assume_centered=True).fit(scaled).covariance_)
        whitening = np.zeros((len(spread), len(values)))
        whitening[varies] = vectors / np.sqrt(np.maximum(values, _FLOOR))
        fresh = Typical(
            centre=wide.mean(axis=0).astype(np.float32),
            spread=spread.astype(np.float32),
            whitening=whitening.astype(np.float32),
            neighbours=_unit(trained.deep).astype(np.float16),
            low=np.zeros(len(PARTS)),
            high=np.ones(len(PARTS)),
            known=np.zeros(0),
        )
        parts = fresh.parts(validated)
        low = np.median(parts, axis=0)
        high = np.maximum(np.quantile(parts, ANSWERED, axis=0), low + 1e-9)
        scored = dataclasses.replace(fresh, low=low, high=high)
        return dataclasses.replace(scored, known=np.sort(scored.strangeness(validated)))

    def parts(self, seen: Seen) -> np.ndarray:
        """float64 [N, 3]: the measures of `PARTS`, as they are."""
        from scipy.special import logsumexp

        white = ((seen.wide - self.centre) / self.spread) @ self.whitening
        nearest = min(NEIGHBOURS, len(self.neighbours)) - 1
        angles = np.partition(1 - _unit(seen.deep) @ self._directions, nearest, axis=1)[:, nearest]
        energy = -np.asarray(logsumexp(np.asarray(seen.logits, np.float64), axis=1))
        return np.stack([np.square(white, dtype=np.float64).sum(axis=1), angles.astype(np.float64), energy], axis=1)

    @functools.cached_property
    def _directions(self) -> np.ndarray:
        """float32 [P, N]: the neighbours as they are multiplied with, batch after batch."""
        return np.ascontiguousarray(self.neighbours.T, np.float32)

    def strangeness(self, seen: Seen) -> np.ndarray:
        """float64 [N]: the largest part on the scale of the validation slices."""
        return ((self.parts(seen) - self.low) / (self.high - self.low)).max(axis=1)

    def typicality(self, seen: Seen) -> np.ndarray:
        """float64 [N] in (0, 1]: the share of validation slices that are at least as strange, the slice among them.

        A slice below 1 - `ANSWERED` should get no answer.
        """
        above = len(self.known) - np.searchsorted(self.known, self.strangeness(seen), side="left")
        return (above + 1) / (len(self.known) + 1)

    @property
    def threshold(self) -> float:
        """The largest `strangeness` that is answered: exactly what is above has a typicality below 1 - `ANSWERED`."""
        count = len(self.known)
        answered = (np.arange(count + 1) + 1) / (count + 1) >= 1 - ANSWERED  # with so many as strange; see `typicality`
        above = int(answered.argmax())
        return float(self.known[count - above]) if above > 0 else math.inf

    def arrays(self) -> dict[str, np.ndarray]:
        """Every field by its name, for a file."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @staticmethod
    def of(arrays: Mapping[str, np.ndarray]) -> Typical:
        """What `arrays` gave; KeyError where one is missing."""
        return Typical(**{field.name: np.asarray(arrays[field.name]) for field in dataclasses.fields(Typical)})


def _unit(values: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32; a row of zeros stays one."""
    rows = np.asarray(values, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def auroc(usual: np.ndarray, strange: np.ndarray) -> float:
    """The chance that a strange slice scores above a usual one, ties half: 1 is perfect, 0.5 is chance.

    Example:
      >>> auroc(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
      0.875
    """
    from sklearn.metrics import roc_auc_score

    labels = np.repeat([0, 1], [len(usual), len(strange)])
    return float(roc_auc_score(labels, np.concatenate([usual, strange])))
