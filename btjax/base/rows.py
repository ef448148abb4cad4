"""Arrays whose rows are read when they are asked for, so that they may be larger than memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PART_BYTES = 4 << 20


class LazyRows:
    """An array [N, ...] that is read row by row, in the place of a NumPy array.

    Rows that are asked for by number, slice, mask or array of numbers are a NumPy array; `np.asarray` reads all.

    Args:
      read: from row numbers int64 [n] to these rows [n, ...], of one dtype; of any number of threads at once.
      shape: (N, ...).
      dtype: of the rows.
      rows: int64 [N], the numbers that `read` knows the rows by; None for 0 to N - 1.

    Example:
      >>> squares = LazyRows(lambda rows: rows**2, (4,), np.int64)
      >>> squares[1:3].tolist(), squares[np.array([3, 0])].tolist(), int(squares[2])
      ([1, 4], [9, 0], 4)
      >>> squares.subset(np.array([3, 2]))[:].tolist()
      [9, 4]
    """

    def __init__(
        self,
        read: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int, ...],
        dtype: Any,
        rows: np.ndarray | None = None,
    ) -> None:
        self._read, self.shape, self.dtype = read, tuple(shape), np.dtype(dtype)
        self._rows = np.arange(shape[0]) if rows is None else rows

    @property
    def ndim(self) -> int:
        """Dimensions, the rows included."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        index, *inner = index if isinstance(index, tuple) else (index,)
        if any(one is Ellipsis or one is None for one in (index, *inner)):
            raise IndexError("found ... or None, expected an index of the rows, then of their axes")
        rows = self._rows[index]
        if np.ndim(rows) > 1:
            raise IndexError("row numbers of several dimensions, expected one row or rows in one dimension")
        found = self._read(np.atleast_1d(rows)) if np.size(rows) else np.empty((0, *self.shape[1:]), self.dtype)
        if not np.ndim(rows):
            if any(isinstance(one, np.ndarray | list) for one in inner) and any(
                isinstance(one, slice) for one in inner
            ):
                raise IndexError("found a row number with a slice and an array, expected one after the other")
            return found[0][tuple(inner)] if inner else found[0]
        # Arrays beside row numbers go with them, one by one, as NumPy has it.
        return found[(slice(None) if isinstance(index, slice) else np.arange(len(found)), *inner)] if inner else found

    def __iter__(self) -> Iterator[Any]:
        for part in parts(self):
            yield from part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy  # what is read is always new
        return np.asarray(self[:], dtype)

    def subset(self, rows: np.ndarray) -> LazyRows:
        """Some of the rows, by number or mask, not read yet."""
        chosen = self._rows[rows]
        return LazyRows(self._read, (len(chosen), *self.shape[1:]), self.dtype, chosen)

    def mapped(self, function: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...], dtype: Any) -> LazyRows:
        """What a function makes of the rows [n, ...]: rows of `shape`, each by itself."""
        return LazyRows(lambda rows: function(self._read(rows)), (len(self), *shape), dtype, self._rows)


def some_rows(array: np.ndarray | LazyRows, rows: np.ndarray) -> Any:
    """Some rows of an array, by number or mask; of one that is read lazily they are not read yet."""
    return array.subset(rows) if isinstance(array, LazyRows) else array[rows]


def parts(array: np.ndarray | LazyRows) -> Iterator[np.ndarray]:
    """Goes through an array in parts of some rows, one after the other.

    Example:
      >>> [len(part) for part in parts(np.zeros((600, 128, 128), np.uint8))]
      [256, 256, 88]
    """
    rows = rows_in_part(array)
    for first in range(0, len(array), rows):
        yield array[first : first + rows]


def rows_in_part(array: np.ndarray | LazyRows) -> int:
    """Rows of some megabytes; a multiple of 8, so that packed bits of parts are those of the whole."""
    size = int(np.prod(array.shape[1:])) * array.dtype.itemsize
    return max(8, _PART_BYTES // size // 8 * 8)
