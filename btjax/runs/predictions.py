"""What a run predicts for every row of its data set: what every later question is asked of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.readers.slices import SIDES
from btjax.runs.arrays import load_arrays, save_arrays, side_names

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping

    from btjax.data.splits import Split
    from btjax.readers.slices import Slices

SCHEMA = 1
"""The version of predictions.npz."""


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Logits of every row, in the order of the data set.

    Attributes:
      ids: str [N], the slices' ids.
      labels: int32 [N], index into `classes`.
      sides: str [N], of `SIDES`, or "unused" of a slice that is on none.
      logits: float32 [N, C], of the checkpoint that validation chose.
      classes: C class names.
      patients: str [N], or None where the data set does not know them.
      flipped: float32 [N, C], the logits of the slices mirrored left to right, NaN for training rows; None where the
        model was not trained on mirrored slices.
    """

    ids: np.ndarray
    labels: np.ndarray
    sides: np.ndarray
    logits: np.ndarray
    classes: tuple[str, ...]
    patients: np.ndarray | None = None
    flipped: np.ndarray | None = None

    def __post_init__(self):
        rows = len(self.ids)
        for name in ("labels", "sides", "logits", "patients", "flipped"):
            array = getattr(self, name)
            if array is not None and len(array) != rows:
                raise ValueError(f"Predictions.{name} has {len(array)} rows, ids has {rows}")
        if self.logits.shape != (rows, len(self.classes)):
            raise ValueError(f"Predictions.logits is {self.logits.shape}, expected {(rows, len(self.classes))}")
        labels, count = self.labels, len(self.classes)
        if not np.issubdtype(labels.dtype, np.integer) or (rows and not 0 <= labels.min() <= labels.max() < count):
            raise ValueError(f"Predictions.labels must be integers from 0 to {count - 1}, found others")

    @staticmethod
    def of(slices: Slices, split: Split, logits: np.ndarray, flipped: np.ndarray | None = None) -> Predictions:
        """The predictions of a data set's rows, logits and flipped float [N, C] in its order."""
        if slices.labels is None:
            raise ValueError("predictions of a run are kept with their labels; these slices have none")
        return Predictions(
            ids=slices.ids,
            labels=slices.labels.astype(np.int32),
            sides=side_names(len(slices), split),
            logits=logits.astype(np.float32),
            classes=slices.classes,
            patients=slices.patients,
            flipped=None if flipped is None else flipped.astype(np.float32),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def side(self, name: str) -> Predictions:
        """The rows of one side: train, validation or test.

        Raises:
          ValueError: no side of that name.
        """
        if name not in SIDES:
            raise ValueError(f"side {name!r}, expected one of {', '.join(SIDES)}")
        rows = self.sides == name
        arrays = {key: getattr(self, key) for key in ("ids", "labels", "sides", "logits", "patients", "flipped")}
        kept: dict[str, Any] = {key: None if array is None else array[rows] for key, array in arrays.items()}
        return Predictions(**kept, classes=self.classes)

    @property
    def probabilities(self) -> np.ndarray:
        """float32 [N, C]: the softmax of the logits."""
        shifted = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    @property
    def accuracy(self) -> float:
        """The share of rows whose highest logit is their label's, 0 to 1."""
        return float(np.mean(self.logits.argmax(axis=1) == self.labels))

    def save(self, path: pathlib.Path) -> None:
        """Writes predictions.npz, complete or not at all; arrays and text only, nothing is pickled."""
        arrays = {
            "id": self.ids.astype(str),
            "label": self.labels,
            "side": self.sides,
            "logits": self.logits,
            "classes": np.array(self.classes),
        }
        if self.patients is not None:
            arrays["patient"] = self.patients.astype(str)
        if self.flipped is not None:
            arrays["flipped"] = self.flipped

        save_arrays(path, SCHEMA, arrays)

    @staticmethod
    def load(path: pathlib.Path) -> Predictions:
        """Reads predictions.npz.

        Raises:
          InputError: there is none, or it is damaged or of another version.
        """

        def build(held: Mapping[str, np.ndarray]) -> Predictions:
            return Predictions(
                ids=held["id"],
                labels=held["label"],
                sides=held["side"],
                logits=held["logits"],
                classes=tuple(str(name) for name in held["classes"]),
                patients=held.get("patient"),
                flipped=held.get("flipped"),
            )

        return load_arrays(path, SCHEMA, "predictions", build)
