"""Batches of one size, so that a compiled program meets one shape: the last batch is filled up with its last row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def whole_number(value: Any, name: str, minimum: int = 1) -> int:
    """A whole number that a caller gives; ValueError for text, None, a fraction, a bool, or one below `minimum`.

    Example:
      >>> whole_number(np.int64(3), "batch_size")
      3
      >>> whole_number("8", "batch_size")
      Traceback (most recent call last):
      ValueError: batch_size is '8', expected a whole number of at least 1
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < minimum:
        raise ValueError(f"{name} is {value!r}, expected a whole number of at least {minimum}")
    return int(value)


def padded_batches(batch_size: int, *arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Cuts arrays of N rows into batches of `batch_size` rows (of N, where that is fewer).

    Args:
      batch_size: rows in a batch, at least 1.
      arrays: [N, ...] each, N at least 1.

    Yields:
      First the row numbers, int64 [batch_size], where those past the end repeat the last row; then those rows of each
      array.

    Raises:
      ValueError: no rows, arrays of different lengths, or a batch size that is no whole number of at least 1.

    Example:
      >>> [rows.tolist() for rows, _ in padded_batches(2, np.zeros((3, 4)))]
      [[0, 1], [2, 2]]
    """
    total = len(arrays[0])
    batch_size = whole_number(batch_size, "batch_size")
    if total == 0 or any(len(array) != total for array in arrays):
        raise ValueError(f"expected arrays of one length of at least 1, found {[len(array) for array in arrays]}")
    size = min(batch_size, total)
    for first in range(0, total, size):
        rows = np.minimum(np.arange(first, first + size), total - 1)
        yield rows, *(array[rows] for array in arrays)


def in_batches(function: Callable[..., Any], batch_size: int, *arrays: np.ndarray) -> Any:
    """`function` of all rows, computed batch by batch.

    Args:
      function: from a batch of each array to a pytree of arrays with as many rows; jit it.
      batch_size: see `padded_batches`.
      arrays: see `padded_batches`.

    Returns:
      The pytree of `function` with N rows, on the host.

    Example:
      >>> in_batches(lambda values: 2 * values, 2, np.arange(3)).tolist()
      [0, 2, 4]
    """
    parts = [function(*batch) for _, *batch in padded_batches(batch_size, *arrays)]
    return jax.tree.map(lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves])[: len(arrays[0])], *parts)
