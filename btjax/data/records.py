"""The records of a prepared copy, read from its files by row while a run is going on."""

from __future__ import annotations

import os
import zlib
from functools import partial
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

    Raises:
      InputError: a file is missing, or is no array_record file.
    """

    def __init__(self, paths: Sequence[pathlib.Path]) -> None:
        import grain  # takes a while, and only streams need it

        self._paths, self._sources = paths, []
        self._stamps = [self._stamp(path) for path in paths]
        for path in paths:
            with foreign(f"{path}: cannot be read", EXPECTED):
                self._sources.append(grain.sources.ArrayRecordDataSource(str(path)))
        self._ends = np.cumsum([len(source) for source in self._sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, rows: np.ndarray, take: Callable[[int, bytes], None]) -> None:
        """Gives the bytes of the record of each row, int [n] in any order, with its place among them to `take`.

        Raises:
          RecordsLost: a file changed since it was opened, or a record cannot be read or taken.
        """
        files = np.searchsorted(self._ends, rows, side="right")
        for file in np.unique(files):
            (places,) = np.nonzero(files == file)
            first = int(self._ends[file - 1]) if file else 0
            self._check(int(file))
            try:
                # One by one: for a list of positions the reader starts a pool of threads each time.
                for place, position in zip(places.tolist(), (rows[places] - first).tolist(), strict=True):
                    take(place, self._sources[file][position])
            except Exception as error:  # whatever the reader raises for a file that is cut off or changed under it
                self._check(int(file))
                reason = " ".join(str(error).split())[:120]
                line = f"{self._paths[file]}: a record cannot be read ({reason}), expected {EXPECTED}"
                raise RecordsLost(line) from error
            self._check(int(file))

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
    return LazyRows(partial(_pixels, records, "image", (side, side)), (len(records), side, side), np.uint8)


def lazy_masks(records: Records, side: int) -> LazyRows:
    """The masks of records: bool [N, side, side]."""
    return LazyRows(partial(_masks, records, side), (len(records), side, side), bool)


def _masks(records: Records, side: int, rows: np.ndarray) -> np.ndarray:
    packed = _pixels(records, "mask", (side, -(-side // 8)), rows, zlib.decompress)
    return np.unpackbits(packed, axis=-1, count=side).view(bool)


def _pixels(
    records: Records,
    field: str,
    shape: tuple[int, int],
    rows: np.ndarray,
    unpack: Callable[[bytes], bytes] = bytes,
) -> np.ndarray:
    """One field of some rows, uint8 [n, *shape]: no other one is decoded, which would take most of the time."""
    from tensorflow_datasets.proto import tf_example_pb2

    example: Any = tf_example_pb2  # generated, without types
    found = np.empty((len(rows), *shape), np.uint8)

    def take(place: int, record: bytes) -> None:
        (content,) = example.Example.FromString(record).features.feature[field].bytes_list.value
        found[place] = np.frombuffer(unpack(content), np.uint8).reshape(shape)

    records.read(rows, take)
    return found
