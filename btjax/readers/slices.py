"""What a slice is: `Slices`, the record that every reader returns and everything else takes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from typing import Any

import numpy as np

from btjax.base.rows import parts, some_rows
from btjax.readers.classes import CLASSES

SIDES = ("train", "validation", "test")
"""The sides of a split."""


def digests_of(images: np.ndarray) -> np.ndarray:
    """Strings [N] of 32 hexadecimal digits, equal where two of `images`, uint8 [N, S, S], have the same pixels."""
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images], str)


@dataclasses.dataclass(frozen=True, eq=False)
class Slices:
    """MRI slices with what is known of each: arrays of equal length N, in the order of the slices' ids.

    A field that the source does not know is None. Images and masks may be a `btjax.base.rows.LazyRows`, which reads
    rows when they are asked for.

    Example:
      >>> slices = Slices(
      ...     images=np.zeros((2, 8, 8), np.uint8),
      ...     labels=np.array([1, 0], np.int32),
      ...     ids=np.array(["a", "b"]),
      ...     sizes=np.full((2, 2), 8, np.int32),
      ...     classes=("astrocytoma", "no_tumor"),
      ... )
      >>> [slices.classes[label] for label in slices.take(np.array([0])).labels]
      ['no_tumor']

    Attributes:
      images: uint8 [N, S, S], grey, each slice scaled by its own levels (`btjax.readers.raw.scale_to_uint8`).
      labels: int32 [N], index into `classes`, or None.
      ids: str [N], the slice's name in its source, unique.
      sizes: int32 [N, 2], height and width in pixels before resizing to S.
      patients: str [N], patient ids, or None.
      masks: bool [N, S, S], tumour masks, or None.
      folds: int32 [N], the dataset authors' fold 1 to 5, or None.
      planes: str [N], axial, coronal or sagittal, or None.
      sides: str [N], of `SIDES`, the data set's own division, or None.
      links: int32 [N], number of the group of slices that belong together by their pixels, or None.
      remarks: str [N], what reading had to change of a slice, empty for nothing, or None.
      classes: the classes' names in the order of their labels.

    Raises:
      ValueError: arrays of different lengths, of another dtype or shape, or labels that are not indices into `classes`.
    """

    images: np.ndarray
    labels: np.ndarray | None
    ids: np.ndarray
    sizes: np.ndarray
    patients: np.ndarray | None = None
    masks: np.ndarray | None = None
    folds: np.ndarray | None = None
    planes: np.ndarray | None = None
    sides: np.ndarray | None = None
    links: np.ndarray | None = None
    remarks: np.ndarray | None = None
    classes: tuple[str, ...] = dataclasses.field(default=CLASSES, kw_only=True)

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
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"Slices.classes must be different names, found {self.classes}")
        self._check_labels()

    def _check_labels(self) -> None:
        labels, count = self.labels, len(self.classes)
        if labels is None:
            return
        if labels.dtype != np.int32 or labels.ndim != 1:
            raise ValueError(f"Slices.labels must be int32 [N], found {labels.dtype} {labels.shape}")
        if labels.size and not 0 <= labels.min() <= labels.max() < count:
            raise ValueError(f"Slices.labels must be 0 to {count - 1}, found {labels.min()} to {labels.max()}")

    def __len__(self) -> int:
        return len(self.images)

    def fields(self) -> dict[str, np.ndarray]:
        """The arrays that are known, by name."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "classes"]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def take(self, rows: np.ndarray) -> Slices:
        """The slices of the given row numbers, in their order."""
        arrays: dict[str, Any] = {name: some_rows(array, rows) for name, array in self.fields().items()}
        return dataclasses.replace(self, **arrays)

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of what the slices are: their ids, classes, labels and pixels."""
        digest = hashlib.sha256(repr((self.classes, self.ids.tolist(), self.images.shape)).encode())
        digest.update(b"" if self.labels is None else self.labels.astype(np.int32).tobytes())
        for part in parts(self.images):
            digest.update(np.ravel(part).data)
        return digest.hexdigest()[:16]

    @functools.cached_property
    def masks_fingerprint(self) -> str:
        """16 hexadecimal digits of the masks; empty where there are none."""
        if self.masks is None:
            return ""
        digest = hashlib.sha256(repr(self.masks.shape).encode())
        for part in parts(self.masks):
            digest.update(np.packbits(part).data)
        return digest.hexdigest()[:16]

    @functools.cached_property
    def digests(self) -> np.ndarray:
        """Strings [N] of 32 hexadecimal digits, equal where two slices have the same pixels."""
        return digests_of(self.images)

    @property
    def families(self) -> np.ndarray | None:
        """Strings [N], see `families_of`, or None."""
        return None if self.patients is None else families_of(self.patients)


def families_of(patients: np.ndarray) -> np.ndarray:
    """Patient ids without their letter suffix, strings [N].

    In the published data 18 groups of ids differ in such a letter alone; near-duplicate slices within them suggest
    repeat examinations of one person.

    Example:
      >>> families_of(np.array(["MR040240B", "MR040240", "100360"])).tolist()
      ['MR040240', 'MR040240', '100360']
    """
    return np.array([re.sub(r"(?<=\d)[A-Z]$", "", patient) for patient in patients])
