"""Logits of rows with their labels and patients: what calibration, conformal sets and abstaining are measured on."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from btjax.evaluation.intervals import Clusters


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """Rows of a classifier.

    Attributes:
      logits: float [N, C], finite, N at least 1.
      labels: int [N].
      patients: str [N], or None where no ids exist; then rows count as independent.
      groups: [N], what varies together where that is not the patient, such as the family of patient ids, or None.

    Raises:
      ValueError: shapes that disagree, no rows, or logits that are not finite.
    """

    logits: np.ndarray
    labels: np.ndarray
    patients: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __post_init__(self):
        shape = np.shape(self.logits)
        if len(shape) != 2 or shape[0] == 0:
            raise ValueError(f"logits must be [N, C] with N at least 1, found shape {shape}")
        for name in ("labels", "patients", "groups"):
            array = getattr(self, name)
            if array is not None and np.shape(array) != shape[:1]:
                raise ValueError(f"{name} must be [{shape[0]}], found {np.shape(array)}")
        if not np.isfinite(self.logits).all():
            raise ValueError("logits must be finite")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def probabilities(self) -> np.ndarray:
        """Float64 [N, C], the softmax of the logits."""
        from scipy.special import softmax

        return softmax(np.asarray(self.logits, np.float64), axis=1)

    @property
    def correct(self) -> np.ndarray:
        """Bool [N]: whether the highest logit, the first of equals, is the label's."""
        return np.argmax(self.logits, axis=1) == self.labels

    @functools.cached_property
    def clusters(self) -> Clusters:
        """What varies together: groups, else patients, else single rows."""
        names = self.patients if self.groups is None else self.groups
        return Clusters.of(np.arange(len(self)) if names is None else names)

    @functools.cached_property
    def voters(self) -> Clusters:
        """Patients, or single rows without ids."""
        return Clusters.of(np.arange(len(self)) if self.patients is None else self.patients)

    def by_patient(self) -> Labelled:
        """One row for each patient and class: the mean of its logits, as in `Scores.by_patient`.

        Its groups are those of the patients' first rows; without groups, the patients.
        """
        classes = np.shape(self.logits)[1]
        keys, first = np.unique(self.voters.numbers * classes + np.asarray(self.labels), return_index=True)
        rows = Clusters.of(self.voters.numbers * classes + np.asarray(self.labels))
        means = rows.sums(np.asarray(self.logits, np.float64)) / rows.sizes[:, None]
        voters = self.voters.numbers[first] if self.patients is None else np.asarray(self.patients)[first]
        groups = None if self.groups is None else np.asarray(self.groups)[first]
        return Labelled(means, keys % classes, voters, groups)
