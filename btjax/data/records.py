"""The records of a prepared copy, read from its files by row while a run is going on."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.errors import InputError, foreign
from btjax.base.rows import LazyRows

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Sequence

EXPECTED = "the prepared copy as it was when the run began; where it is damaged, delete its folder"


class RecordsLost(InputError):
    """A file of a prepared copy changed while it was read, is gone, or is cut off."""


class Records:
    """Records by row, from the array_record files of a copy in their order.

    Every read is refused where a file is not the one that was opened: no row of another preparation gets between.

    Args:
      paths: the files.
      decode: from a record's bytes to its fields.

    Raises:
      InputError: a file is missing, or is no array_record file.
    """

    def __init__(self, paths: Sequence[pathlib.Path], decode: Callable[[bytes], dict[str, Any]]) -> None:
        import grain  # takes a while, and only streams need it

        self._paths, self._decode, self._sources = paths, decode, []
        self._stamps = [self._stamp(path) for path in paths]
        for path in paths:
            with foreign(f"{path}: cannot be read", EXPECTED):
                self._sources.append(grain.sources.ArrayRecordDataSource(str(path)))
        self._ends = np.cumsum([len(source) for source in self._sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """The fields of some rows, int [n] in any order.

        Raises:
          RecordsLost: a file changed since it was opened, or cannot be read.
        """
        files, found = np.searchsorted(self._ends, rows, side="right"), [{}] * len(rows)
        for file in np.unique(files):
            (places,) = np.nonzero(files == file)
            first = int(self._ends[file - 1]) if file else 0
            for place, record in zip(places, self._of_file(int(file), rows[places] - first), strict=True):
                found[place] = record
        return found

    def _of_file(self, file: int, positions: np.ndarray) -> list[dict[str, Any]]:
        path = self._paths[file]
        self._check(file)
        try:
            found = [self._decode(record) for record in self._sources[file].__getitems__(positions.tolist())]
        except Exception as error:  # whatever the reader raises for a file that is cut off or changed under it
            self._check(file)
            reason = " ".join(str(error).split())[:120]
            raise RecordsLost(f"{path}: a record cannot be read ({reason}), expected {EXPECTED}") from error
        self._check(file)
        return found

    def _check(self, file: int) -> None:
        if self._stamp(self._paths[file]) != self._stamps[file]:
            raise RecordsLost(f"{self._paths[file]}: changed while it was read, expected {EXPECTED}")

    @staticmethod
    def _stamp(path: pathlib.Path) -> tuple[int, int, int]:
        """What tells a file from another of the same name."""
        try:
            found = os.stat(path)
        except OSError as error:
            raise RecordsLost(f"{path}: {error.strerror}, expected {EXPECTED}") from None
        return found.st_size, found.st_mtime_ns, found.st_ino


def lazy_images(records: Records, side: int) -> LazyRows:
    """The images of records: uint8 [N, side, side]."""
    return LazyRows(functools.partial(_images, records), (len(records), side, side), np.uint8)


def lazy_masks(records: Records, side: int) -> LazyRows:
    """The masks of records: bool [N, side, side]."""
    return LazyRows(functools.partial(_masks, records, side), (len(records), side, side), bool)


def _images(records: Records, rows: np.ndarray) -> np.ndarray:
    return np.stack([record["image"] for record in records.read(rows)])


def _masks(records: Records, side: int, rows: np.ndarray) -> np.ndarray:
    packed = np.stack([record["mask"] for record in records.read(rows)])
    return np.unpackbits(packed, axis=-1, count=side).astype(bool)
