"""The histogram intersection kernel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

_BLOCK = 256  # rows of the kernel at a time, which stay in the caches


def intersection_kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The histogram intersection of every pair of rows: the sum of the smaller of their entries.

    Args:
      first: float32 [n, D], not negative.
      second: float32 [m, D], not negative.

    Returns:
      float32 [n, m].

    Example:
      >>> intersection_kernel(np.array([[0.5, 0.5]], np.float32), np.array([[1, 0], [0.5, 0.5]], np.float32)).tolist()
      [[0.5, 1.0]]
    """
    columns = jnp.asarray(np.ascontiguousarray(second.T))
    kernel = np.empty((len(first), len(second)), np.float32)
    for start in range(0, len(first), _BLOCK):
        rows = first[start : start + _BLOCK]
        filled = np.pad(rows, ((0, _BLOCK - len(rows)), (0, 0)))  # one shape, one program
        kernel[start : start + _BLOCK] = np.asarray(_intersections(filled.T, columns))[: len(rows)]
    return kernel


@jax.jit
def _intersections(first: jax.Array, second: jax.Array) -> jax.Array:
    """float32 [n, m] of [D, n] and [D, m], entry by entry: nothing of the size n x m x D is ever made."""

    def add(total: jax.Array, entries: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        one, other = entries
        return total + jnp.minimum(one[:, None], other[None, :]), None

    zeros = jnp.zeros((first.shape[1], second.shape[1]), jnp.float32)
    return jax.lax.scan(add, zeros, (first, second), unroll=8)[0]
