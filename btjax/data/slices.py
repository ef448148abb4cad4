"""What a slice is: `Slices`, the record that every reader returns and everything else takes."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

CLASSES = ("meningioma", "glioma", "pituitary")
"""Class names in the order of the labels 0, 1, 2; the dataset's own files say 1, 2, 3."""


@dataclasses.dataclass(frozen=True, eq=False)
class Slices:
    """MRI slices with what is known of each: arrays of equal length N, in the order of the slices' ids.

    A field that the source does not know is None.

    Attributes:
      images: uint8 [N, S, S], grey, each slice scaled to its own minimum and maximum.
      labels: int32 [N], index into `CLASSES`.
      ids: str [N], the slice's name in its source, unique.
      sizes: int32 [N, 2], height and width in pixels before resizing to S.
      patients: str [N], patient ids, or None.
      masks: bool [N, S, S], tumour masks, or None.
      folds: int32 [N], the dataset authors' fold 1 to 5, or None.
      planes: str [N], axial, coronal or sagittal, or None.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    sizes: np.ndarray
    patients: np.ndarray | None = None
    masks: np.ndarray | None = None
    folds: np.ndarray | None = None
    planes: np.ndarray | None = None

    def __post_init__(self):
        rows = len(self.images)
        for name, array in self.fields().items():
            if len(array) != rows:
                raise ValueError(f"Slices.{name} has {len(array)} rows, Slices.images has {rows}")
        if self.images.dtype != np.uint8 or self.images.ndim != 3:
            raise ValueError(f"Slices.images must be uint8 [N, S, S], found {self.images.dtype} {self.images.shape}")
        if self.masks is not None and self.masks.shape != self.images.shape:
            raise ValueError(f"Slices.masks has shape {self.masks.shape}, Slices.images has {self.images.shape}")
        if len(np.unique(self.ids)) != rows:
            raise ValueError("Slices.ids must be unique")

    def __len__(self) -> int:
        return len(self.images)

    def fields(self) -> dict[str, np.ndarray]:
        """The fields that are known, by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def take(self, rows: np.ndarray) -> Slices:
        """The slices of the given row numbers, in their order."""
        return Slices(**{name: array[rows] for name, array in self.fields().items()})

    @property
    def families(self) -> np.ndarray | None:
        """str [N], patient ids without their letter suffix (MR040240B -> MR040240), or None.

        In the published data 18 groups of ids differ in such a letter alone; near-duplicate slices within them
        suggest repeat examinations of one person.
        """
        if self.patients is None:
            return None
        return np.array([re.sub(r"(?<=\d)[A-Z]$", "", patient) for patient in self.patients])
